//! Images go to the target of the region that their workload runs in: the label `topology.kubernetes.io/region` of the
//! workload, or else of its namespace, names it, and the targets are named `REGION` or `REGION-…`. Without a label, or
//! without a target there, the next plugin is asked.

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
        let is_near =
            |name: &str| name.strip_prefix(region).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        let near: Vec<String> = targets.into_iter().map(|target| target.name).filter(|name| is_near(name)).collect();
        Ok(if near.is_empty() { None } else { Some(near) })
    }
}
