//! The default plugin of the hook `repository-prefix`: expands the tokens of a target's configured prefix.

mod template;

#[allow(unsafe_code, reason = "generated: the exports of a component take raw pointers")]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "prefix-plugin" });

    #[cfg(target_family = "wasm")]
    export!(Component with_types_in self);

    pub struct Component;
}

use bindings::{
    Component,
    exports::k8s_copycat::policy::{
        lifecycle,
        repository_prefix::{Error, Guest, ImageUse, Target},
    },
};
use serde::Deserialize;

/// The prefixes of all targets, so that an unknown token is an error at startup and not at the first image.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Config {
    templates: Vec<String>,
}

impl lifecycle::Guest for Component {
    fn configure(config: String) -> Result<(), Error> {
        let config: Option<Config> =
            serde_json::from_str(&config).map_err(|error| Error::InvalidConfig(error.to_string()))?;
        let templates = config.unwrap_or_default().templates;
        let errors: Vec<String> = templates.iter().filter_map(|text| template::check(text).err()).collect();
        if errors.is_empty() { Ok(()) } else { Err(Error::InvalidConfig(errors.join("; "))) }
    }
}

impl Guest for Component {
    fn render(image_use: ImageUse, target: Target) -> Result<Option<String>, Error> {
        template::render(&target.prefix, &image_use).map(Some).map_err(Error::InvalidRequest)
    }
}
