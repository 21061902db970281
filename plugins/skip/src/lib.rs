//! The default plugin of the hook `skip`: skips namespaces, workloads and registries as configured.

mod rules;

#[allow(unsafe_code, reason = "generated: the exports of a component take raw pointers")]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "skip-plugin" });

    #[cfg(target_family = "wasm")]
    export!(Component with_types_in self);

    pub struct Component;
}

use std::sync::OnceLock;

use bindings::{
    Component,
    exports::k8s_copycat::policy::{
        lifecycle,
        skip::{Answer, Error, Guest, ImageUse},
    },
};
use rules::Rules;

static RULES: OnceLock<Rules> = OnceLock::new();

impl lifecycle::Guest for Component {
    fn configure(config: String) -> Result<(), Error> {
        let rules = Rules::from_json(&config).map_err(Error::InvalidConfig)?;
        RULES.set(rules).map_err(|_| Error::Internal("configured twice".to_owned()))
    }
}

impl Guest for Component {
    fn decide(image_use: ImageUse) -> Result<Answer, Error> {
        let rules = RULES.get().ok_or_else(|| Error::Internal("not configured".to_owned()))?;
        Ok(rules.reason_to_skip(&image_use.workload, &image_use.image).map_or(Answer::Pass, Answer::Skip))
    }
}
