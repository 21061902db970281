//! Access to registries, and to image layouts on disk.
//!
//! From the bottom up: `http` sends single requests and knows no credentials. `limits` bounds concurrent requests and the
//! request rate of a registry. `auth` chooses credentials and fetches tokens through `http`; `ecr` has those of AWS.
//! `host` is what was learned about a registry, and `client` sends requests to it with credentials and within its limits.
//! `repository` has the operations of the distribution specification: manifests, mounts, pulls and pushes of blobs.
//! `layout` has the same for a folder. `store` is either of both, as the target of copies.

mod auth;
mod client;
mod ecr;
mod error;
mod fault;
#[cfg(fuzzing)]
pub mod fuzzing;
mod host;
mod http;
mod layout;
mod limits;
mod login_hosts;
mod manifest;
mod plugin_artifact;
mod registries;
mod repository;
mod settings;
mod shared_cache;
mod store;
#[cfg(test)]
pub(crate) mod testing;
mod text;

pub use auth::{
    account::Account,
    clouds::{CloudEnvironment, CloudIdentities},
};
pub use ecr::{Aws, AwsError, CallerIdentity, EcrRepositories};
pub use error::{CertificateError, Error, UploadError};
pub use http::{
    reach::{access_to, is_listed_as_insecure},
    retry::Backoff,
    transfer_rate::MinTransferRate,
};
pub use layout::{Layout, LayoutEntry, LayoutError, LayoutRepository, LayoutSource, LayoutUploadError};
pub use limits::rate_limiter::MAX_THROTTLED_TIME;
pub use manifest::{
    Contents, Descriptor, Manifest, TagOrDigest,
    index::IndexEntry,
    referrers::{ReferrerDescriptor, ReferrerEntry},
};
pub use plugin_artifact::{ComponentInterfaces, fetch_component, push_component};
pub use registries::Registries;
pub use repository::{
    Repository,
    probe::{LoginAnswer, Probe, ProbeError, PullAnswer, PullQuota, PushAnswer, Resolved},
    pull::BlobStream,
    referrers::ReferrerList,
};
pub use settings::Settings;
pub use store::{
    ManifestRef, Store, StoreRepository,
    error::{StoreError, StoreUploadError},
    permit::TransferPermit,
    reader::DigestReader,
    referrers::StoredReferrers,
    remote::RemoteRepository,
};
