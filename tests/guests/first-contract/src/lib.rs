//! A plugin with every hook, built against contract 1.0.0, of which a copy is kept beside the tests. It verifies that plugins
//! built against that version still work.

#[allow(unsafe_code, reason = "generated: the exports of a component take raw pointers")]
mod bindings {
    wit_bindgen::generate!({ path: "../../contract/1.0.0", world: "plugin" });

    #[cfg(target_family = "wasm")]
    export!(Component with_types_in self);

    pub struct Component;
}

use std::sync::OnceLock;

use bindings::{
    Component,
    exports::k8s_copycat::policy::{
        lifecycle, path_mapping, repository_prefix,
        skip::{self, Answer, Error, ImageUse},
        target_selection::{self, Target},
    },
    k8s_copycat::policy::log::{Level, log},
};

static CONFIG: OnceLock<String> = OnceLock::new();

impl lifecycle::Guest for Component {
    fn configure(config: String) -> Result<(), Error> {
        log(Level::Debug, "configured");
        CONFIG.set(config).map_err(|_| Error::Internal("configured twice".to_owned()))
    }
}

impl skip::Guest for Component {
    fn decide(image_use: ImageUse) -> Result<Answer, Error> {
        match image_use.container.kind.as_str() {
            "init" => {
                Ok(Answer::Skip(format!("{} is set up by {}", image_use.workload.name, image_use.container.name)))
            }
            "ephemeral" => Err(Error::InvalidRequest("nobody debugs here".to_owned())),
            _ => Ok(Answer::Keep),
        }
    }
}

impl target_selection::Guest for Component {
    fn select(_: ImageUse, targets: Vec<Target>) -> Result<Option<Vec<String>>, Error> {
        Ok(Some(targets.into_iter().map(|target| target.name).collect()))
    }
}

impl path_mapping::Guest for Component {
    fn rewrite(image_use: ImageUse, target: Target) -> Result<Option<String>, Error> {
        Ok(Some(format!("{}/{}", target.kind, image_use.image.repository)))
    }
}

impl repository_prefix::Guest for Component {
    fn render(image_use: ImageUse, _: Target) -> Result<Option<String>, Error> {
        Ok(CONFIG.get().map(|config| format!("{}-{}", config.trim_matches('"'), image_use.workload.namespace)))
    }
}
