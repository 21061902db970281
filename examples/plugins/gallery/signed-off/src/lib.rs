//! Mirrors only images whose workload or namespace has the label `signed-off: "true"`. The workload's label takes precedence
//! over the namespace's.

mod bindings {
    wit_bindgen::generate!({ path: "../../../../wit", world: "skip-hook" });

    #[cfg(target_family = "wasm")]
    export!(Component with_types_in self);

    pub struct Component;
}

use bindings::{
    Component,
    exports::k8s_copycat::policy::skip::{Answer, Error, Guest, ImageUse},
};

fn signed_off(labels: &[(String, String)]) -> Option<bool> {
    labels.iter().find(|(key, _)| key == "signed-off").map(|(_, value)| value == "true")
}

impl Guest for Component {
    fn decide(image_use: ImageUse) -> Result<Answer, Error> {
        let workload = &image_use.workload;
        match signed_off(&workload.labels).or_else(|| signed_off(&workload.namespace_labels)) {
            Some(true) => Ok(Answer::Pass),
            Some(false) | None => Ok(Answer::Skip("not signed off".to_owned())),
        }
    }
}
