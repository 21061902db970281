//! Skips images with the tag `latest`, explicit or implied. A reference that also has a digest is mirrored.

mod bindings {
    wit_bindgen::generate!({ path: "../../../../wit", world: "skip-hook" });

    #[cfg(target_family = "wasm")]
    export!(Component with_types_in self);

    pub struct Component;
}

use bindings::{
    Component,
    exports::k8s_copycat::policy::skip::{Answer, Error, Guest, ImageUse},
};

impl Guest for Component {
    fn decide(image_use: ImageUse) -> Result<Answer, Error> {
        let image = image_use.image;
        if image.tag.as_deref() == Some("latest") && image.digest.is_none() {
            return Ok(Answer::Skip(format!("{} has the tag latest", image.as_written)));
        }
        Ok(Answer::Pass)
    }
}
