//! Speaks to registries, and to image layouts on disk.

mod answer;
mod artifact;
mod auth;
mod blob;
mod challenge;
mod clients;
mod connections;
mod credentials;
mod ecr;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod host;
mod layout;
mod location;
mod manifest;
mod naming;
mod pace;
mod patience;
mod quota;
mod rate;
mod reach;
mod registries;
mod remote;
mod repository;
mod retry;
#[cfg(test)]
pub(crate) mod scripted;
mod settings;
mod shared;
mod store;
mod subset;
mod token;
mod upload;
mod ways;
mod wire;

pub use artifact::{ComponentFacts, fetch_component, push_component};
pub use blob::BlobStream;
pub use connections::Room;
pub use ecr::{Aws, AwsError, Caller, EcrRepositories};
pub use error::{Error, SetupError, UploadError};
pub use layout::{Layout, LayoutError, LayoutRepository, LayoutUploadError};
pub use manifest::{Contents, Descriptor, Manifest, Selector};
pub use pace::LONGEST_THROTTLING;
pub use rate::LeastRate;
pub use registries::Registries;
pub use remote::RemoteRepository;
pub use repository::Repository;
pub use retry::Backoff;
pub use settings::Settings;
pub use store::{Place, Store, StoreError, StoreRepository, StoreUploadError};
pub use subset::IndexEntry;
