//! Amazon ECR: AWS credentials, service quotas, and repositories that have to be created first.

mod api_rates;
mod aws;
mod call;
mod public;
mod repositories;
mod session;
mod token;

pub(super) use api_rates::EcrApiRates;
pub use aws::Aws;
pub use call::AwsError;
pub(super) use public::{PUBLIC_HOST, PublicLogin};
pub use repositories::EcrRepositories;
pub(super) use session::AwsSession;
pub use session::CallerIdentity;
pub(super) use token::{EcrLogin, EcrToken};
