//! The types that all other modules share: workloads, image references, targets, decisions and outcomes. Plain data;
//! imports no other module.

mod access;
mod backoff;
mod copy_progress;
mod credential;
mod cut;
mod decision;
mod digest;
mod docker_logins;
mod ecr;
mod error_chain;
mod event;
mod image_state;
mod image_use;
mod mirror_status;
mod outcome;
mod platform;
mod plugin;
mod printable;
mod pull_secrets;
mod reference;
mod referrers;
mod registry_host;
mod retry;
mod seen;
mod target;
mod target_address;
mod token_verdict;
mod verification;
mod workload;

pub use access::{ClientCertificate, PemFile, RegistryAccess};
pub use backoff::doubled;
pub use copy_progress::CopyProgress;
pub use credential::{Credential, Login};
pub use cut::cut;
pub use decision::{Decision, Hook, TraceEntry, Verdict};
pub use digest::{Algorithm, Digest, DigestError, Hasher};
pub use docker_logins::{DockerConfig, DockerEntry, DockerHelper, DockerLogins};
pub use ecr::{EcrRegistry, NewRepositories, NotEcr, TagMutability};
pub use error_chain::error_chain;
pub use event::{Event, Observer};
pub use image_state::{ImageRecord, ImageState, Known, LastAttempt};
pub use image_use::{Container, ContainerKind, ImageUse, Running};
pub use mirror_status::{Activity, ImageStatus, MirrorPhase, MirrorStatus, UnmirroredUse};
pub use outcome::{Failure, FailureKind, Outcome, PassSummary, Status, StatusKind, TagMeaning};
pub use platform::{Platform, PlatformError};
pub use plugin::{OnFailure, PluginStatus};
pub use printable::{one_line, printable, printable_json};
pub use pull_secrets::{PullLogin, PullLogins, PullSecretRefs, PullSecretScope, PullSecrets};
pub use reference::{LONGEST_REFERENCE, Reference, ReferenceError, cut_image};
pub use referrers::{MAX_REFERRER_FAILURES, ReferrerFailure, ReferrerOutcome, ReferrerRecord, ReferrerScope};
pub use registry_host::canonical_registry;
pub use retry::Retry;
pub use seen::{AtTarget, Seen};
pub use target::{Destination, Target, TargetKind};
pub use target_address::TargetAddress;
pub use token_verdict::TokenVerdict;
pub use verification::{
    ImagePart, MAX_PART_PROBLEMS, NOT_VERIFIED, PartProblem, PartProblemKind, Unanswered, Verification, VerifiedImage,
    Wholeness,
};
pub use workload::{Owner, Workload, WorkloadId, WorkloadKind};
