//! Speaks to registries, and to image layouts on disk.

mod artifact;
mod auth;
mod client;
mod ecr;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod host;
mod http;
mod layout;
mod limits;
mod manifest;
mod registries;
mod repository;
mod settings;
mod shared_cache;
mod store;
#[cfg(test)]
pub(crate) mod testing;

pub use artifact::{ComponentFacts, fetch_component, push_component};
pub use ecr::{Aws, AwsError, Caller, EcrRepositories};
pub use error::{Error, SetupError, UploadError};
pub use http::{retry::Backoff, transfer_rate::LeastRate};
pub use layout::{Layout, LayoutError, LayoutRepository, LayoutUploadError};
pub use limits::{connections::Room, pace::LONGEST_THROTTLING};
pub use manifest::{Contents, Descriptor, IndexEntry, Manifest, Selector};
pub use registries::Registries;
pub use repository::{BlobStream, Repository};
pub use settings::Settings;
pub use store::{Place, RemoteRepository, Store, StoreError, StoreRepository, StoreUploadError};
