//! Sends images to the target named like the region of their workload: the value of the label
//! `topology.kubernetes.io/region` of the workload, or else of its namespace. Without the label or without such a target
//! the plugin passes.

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

fn region(labels: &[(String, String)]) -> Option<&str> {
    labels.iter().find(|(key, _)| key == "topology.kubernetes.io/region").map(|(_, region)| region.as_str())
}

impl Guest for Component {
    fn select(image_use: ImageUse, targets: Vec<Target>) -> Result<Option<Vec<String>>, Error> {
        let workload = &image_use.workload;
        let Some(region) = region(&workload.labels).or_else(|| region(&workload.namespace_labels)) else {
            return Ok(None);
        };
        let near = targets.into_iter().map(|target| target.name).find(|name| name == region);
        Ok(near.map(|name| vec![name]))
    }
}
