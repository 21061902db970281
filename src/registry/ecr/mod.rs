//! Amazon ECR: AWS credentials, service quotas, and repositories that have to be created first.

mod aws;
mod call;
mod login;
mod public;
mod quotas;
mod repositories;
mod session;

pub use aws::Aws;
pub use call::AwsError;
pub(super) use login::{EcrLogin, EcrToken};
pub(super) use public::{PUBLIC_HOST, PublicLogin};
pub(super) use quotas::EcrQuotas;
pub use repositories::EcrRepositories;
pub(super) use session::AwsSession;
pub use session::CallerIdentity;
