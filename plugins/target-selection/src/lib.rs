//! The default plugin of the hook `target-selection`: copies every image to all targets.

#[allow(unsafe_code, reason = "generated: the exports of a component take raw pointers")]
mod bindings {
    wit_bindgen::generate!({ path: "../../wit", world: "target-selection-hook" });

    #[cfg(target_family = "wasm")]
    export!(Component with_types_in self);

    pub struct Component;
}

use bindings::{
    Component,
    exports::k8s_copycat::policy::target_selection::{Error, Guest, ImageUse, Target},
};

impl Guest for Component {
    fn select(_: ImageUse, targets: Vec<Target>) -> Result<Option<Vec<String>>, Error> {
        Ok(Some(targets.into_iter().map(|target| target.name).collect()))
    }
}
