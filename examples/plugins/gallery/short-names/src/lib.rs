//! Truncates repository paths of more than `longest` characters, and appends 16 hexadecimal digits of the SHA-256 of the
//! whole path to keep them distinct. Amazon ECR allows 256 characters, prefix included:
//!
//! ```yaml
//! plugins:
//!   - module: /plugins/short-names.wasm
//!     config: { longest: 200 }
//! ```

mod bindings {
    wit_bindgen::generate!({ path: "../../../../wit", world: "path-plugin" });

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
use sha2::{Digest as _, Sha256};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    longest: usize,
}

static CONFIG: OnceLock<Config> = OnceLock::new();
/// The length of a dash and 16 digits.
const ENDING: usize = 17;

impl lifecycle::Guest for Component {
    fn configure(config: String) -> Result<(), Error> {
        let config: Config = serde_json::from_str(&config).map_err(|error| Error::InvalidConfig(error.to_string()))?;
        if config.longest <= ENDING {
            return Err(Error::InvalidConfig(format!("longest: more than {ENDING} is needed")));
        }
        CONFIG.set(config).map_err(|_| Error::Internal("configured twice".to_owned()))
    }
}

impl Guest for Component {
    fn rewrite(image_use: ImageUse, _: Target) -> Result<Option<String>, Error> {
        let path = image_use.image.repository;
        let Some(config) = CONFIG.get().filter(|config| path.len() > config.longest) else { return Ok(None) };
        let start: String = path.chars().take(config.longest - ENDING).collect();
        let hash: String = Sha256::digest(&path).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        // A repository name may not have two separators in a row.
        Ok(Some(format!("{}-{hash}", start.trim_end_matches(['/', '.', '_', '-']))))
    }
}
