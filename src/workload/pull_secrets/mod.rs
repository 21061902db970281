//! Pull secrets: what is in them, which logins belong to an image, and reading them.

mod docker_config;
#[cfg(fuzzing)]
pub mod fuzzing;
mod keyring;
mod needs;
mod reader;

pub use needs::{NamespaceNeeds, pull_secret_needs};
pub use reader::PullSecretReader;
