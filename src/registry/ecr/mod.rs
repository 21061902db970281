//! Amazon ECR: who we are there, what it lets us ask how often, and repositories that have to be made first.

mod budget;
mod call;
mod login;
mod public;
mod remembered;
mod repositories;
mod session;

pub(super) use budget::Budgets;
pub use call::AwsError;
pub(super) use login::{EcrLogin, EcrToken};
pub(super) use public::{PUBLIC_HOST, PublicLogin};
pub use repositories::EcrRepositories;
pub use session::{Aws, Caller};
