//! Sends images to the target named like the workload's label `team`. Without the label or without such a target the plugin
//! passes.

mod bindings {
    wit_bindgen::generate!({ path: "../../../../wit", world: "target-selection-hook" });

    #[cfg(target_family = "wasm")]
    export!(Component with_types_in self);

    pub struct Component;
}

use bindings::{
    Component,
    exports::k8s_copycat::policy::target_selection::{Error, Guest, ImageUse, Target},
};

impl Guest for Component {
    fn select(image_use: ImageUse, targets: Vec<Target>) -> Result<Option<Vec<String>>, Error> {
        let team = image_use.workload.labels.into_iter().find(|(key, _)| key == "team").map(|(_, team)| team);
        Ok(team.filter(|team| targets.iter().any(|target| target.name == *team)).map(|team| vec![team]))
    }
}
