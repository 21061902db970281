//! The default plugin of the hook `path-mapping`: applies the first matching rule of an ordered list.

mod rules;

#[allow(unsafe_code, reason = "generated: the exports of a component take raw pointers")]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "path-plugin" });

    #[cfg(target_family = "wasm")]
    export!(Component with_types_in self);

    pub struct Component;
}

use std::sync::OnceLock;

use bindings::{
    Component,
    exports::k8s_copycat::policy::{
        lifecycle,
        path_mapping::{Error, Guest, ImageUse, Target},
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
    fn rewrite(image_use: ImageUse, _: Target) -> Result<Option<String>, Error> {
        let rules = RULES.get().ok_or_else(|| Error::Internal("not configured".to_owned()))?;
        rules.apply(&image_use.image.repository).map_err(Error::InvalidRequest)
    }
}
