//! Images of workloads labelled `tier: prod` get the prefix of their label `team`; all other workloads may not use `latest`.

wit_bindgen::generate!({ path: "wit", world: "policy", generate_all });

use exports::k8s_copycat::policy::{
    repository_prefix::{self, Error, ImageUse, Target},
    skip::{self, Answer},
};

struct Policy;
export!(Policy);

fn label<'a>(image_use: &'a ImageUse, name: &str) -> Option<&'a str> {
    image_use.workload.labels.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
}

fn is_prod(image_use: &ImageUse) -> bool {
    label(image_use, "tier") == Some("prod")
}

impl skip::Guest for Policy {
    fn decide(image_use: ImageUse) -> Result<Answer, Error> {
        if image_use.image.tag.as_deref() == Some("latest") && !is_prod(&image_use) {
            return Ok(Answer::Skip("only tier prod may use the tag latest".to_owned()));
        }
        Ok(Answer::Pass)
    }
}

impl repository_prefix::Guest for Policy {
    fn render(image_use: ImageUse, target: Target) -> Result<Option<String>, Error> {
        let team = label(&image_use, "team").filter(|_| is_prod(&image_use));
        Ok(team.map(|team| match target.prefix.as_str() {
            "" => team.to_owned(),
            prefix => format!("{prefix}/{team}"),
        }))
    }
}
