//! Speaks to registries, and to image layouts on disk.

mod answer;
mod auth;
mod blob;
mod challenge;
mod clients;
mod credentials;
mod ecr;
mod error;
mod host;
mod layout;
mod location;
mod manifest;
mod pace;
mod patience;
mod quota;
mod registries;
mod remote;
mod repository;
mod retry;
#[cfg(test)]
mod scripted;
mod settings;
mod store;
mod subset;
mod token;
mod upload;
mod wire;

pub use blob::BlobStream;
pub use ecr::{Aws, AwsError, Caller, EcrRepositories};
pub use error::{Error, SetupError, UploadError};
pub use layout::{Layout, LayoutError, LayoutRepository, LayoutUploadError};
pub use manifest::{Contents, Descriptor, Manifest, Selector};
pub use registries::Registries;
pub use remote::RemoteRepository;
pub use repository::Repository;
pub use retry::Backoff;
pub use settings::Settings;
pub use store::{Place, Store, StoreError, StoreRepository, StoreUploadError};
pub use subset::IndexEntry;
