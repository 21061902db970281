//! Speaks to registries, and to image layouts on disk.

mod blob;
mod error;
mod layout;
mod manifest;
mod registries;
mod repository;
mod settings;
mod store;
mod upload;

pub use blob::BlobStream;
pub use error::{Error, SetupError, UploadError};
pub use layout::{Layout, LayoutError, LayoutRepository, LayoutUploadError};
pub use manifest::{Contents, Descriptor, Manifest, Selector};
pub use registries::Registries;
pub use repository::Repository;
pub use settings::{Credential, Login, Settings};
pub use store::{Place, Store, StoreError, StoreRepository, StoreUploadError};
