//! The words that every room speaks: what a cluster runs, what an image is called, what was decided and what
//! came of it. Plain data; this room imports no other.

mod access;
mod credential;
mod cut;
mod decision;
mod digest;
mod ecr;
mod error_chain;
mod event;
mod image_use;
mod outcome;
mod platform;
mod plugin;
mod printable;
mod reference;
mod target;
mod workload;

pub use access::{ClientCertificate, PemFile, RegistryAccess};
pub use credential::{Credential, Login};
pub use cut::cut;
pub use decision::{Decision, Hook, TraceEntry, Verdict};
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use ecr::{EcrRegistry, NewRepositories, NotEcr, TagMutability};
pub use error_chain::error_chain;
pub use event::{Event, Observer};
pub use image_use::{Container, ContainerKind, ImageUse, Running};
pub use outcome::{Failure, FailureKind, Outcome, Retry, Status};
pub use platform::{Platform, PlatformError};
pub use plugin::PluginStatus;
pub use printable::{one_line, printable, printable_json};
pub use reference::{LONGEST_REFERENCE, Reference, ReferenceError, canonical_registry, cut_image};
pub use target::{Destination, Target, TargetKind};
pub use workload::{Owner, Workload, WorkloadId, WorkloadKind};
