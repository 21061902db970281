//! How a plan names things.

use crate::model::ImageUse;

pub fn workload(image_use: &ImageUse) -> String {
    let id = &image_use.workload.id;
    format!("{}/{}/{}", id.namespace, id.kind.name().to_lowercase(), id.name)
}

/// The image as written.
pub fn image(image_use: &ImageUse) -> &str {
    if image_use.image.is_empty() { "(none)" } else { &image_use.image }
}
