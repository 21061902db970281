//! Copying one image: inspects what is missing at the target, selects platforms, uploads, and verifies.

mod attempt;
mod blob_locks;
mod copier;
mod endpoints;
mod failure;
mod image_upload;
mod inspection;
mod inspector;
mod limits;
mod owner;
mod platforms;
mod push;
mod selector;
mod settings;
mod subsets;
mod target;
mod transfer;

pub use copier::Copier;
pub use platforms::PlatformSettings;
pub use settings::CopySettings;
