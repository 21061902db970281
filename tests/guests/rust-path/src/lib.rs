//! Adds the `team` label of workloads in front of their repositories, and selects one target for the images of one
//! namespace:
//!
//! ```yaml
//! plugins:
//!   - name: teams
//!     module: /plugins/rust-path.wasm
//!     config: { namespace: payments, target: vault }
//! ```

#[allow(unsafe_code, reason = "generated: the exports of a component take raw pointers")]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../wit",
        inline: "
            package example:teams;

            world teams {
                include k8s-copycat:policy/path-plugin@1.0.0;
                include k8s-copycat:policy/target-selection-hook@1.0.0;
            }
        ",
        world: "example:teams/teams",
        generate_all,
    });

    #[cfg(target_family = "wasm")]
    export!(Component with_types_in self);

    pub struct Component;
}

use std::sync::OnceLock;

use bindings::{
    Component,
    exports::k8s_copycat::policy::{
        lifecycle,
        path_mapping::{self, Error, ImageUse, Target},
        target_selection,
    },
};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    namespace: String,
    target: String,
}

static CONFIG: OnceLock<Config> = OnceLock::new();

impl lifecycle::Guest for Component {
    fn configure(config: String) -> Result<(), Error> {
        let config = serde_json::from_str(&config).map_err(|error| Error::InvalidConfig(error.to_string()))?;
        CONFIG.set(config).map_err(|_| Error::Internal("configured twice".to_owned()))
    }
}

impl target_selection::Guest for Component {
    fn select(image_use: ImageUse, _: Vec<Target>) -> Result<Option<Vec<String>>, Error> {
        let config = CONFIG.get().filter(|config| config.namespace == image_use.workload.namespace);
        Ok(config.map(|config| vec![config.target.clone()]))
    }
}

impl path_mapping::Guest for Component {
    fn rewrite(image_use: ImageUse, _: Target) -> Result<Option<String>, Error> {
        let team = image_use.workload.labels.iter().find(|(key, _)| key == "team");
        Ok(team.map(|(_, team)| format!("{team}/{}", image_use.image.repository)))
    }
}
