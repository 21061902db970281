//! The configuration: flags take precedence over environment variables, over the file, over defaults. All errors are
//! reported at once.

mod access;
mod copy;
mod credential;
mod docker_config;
mod ecr;
mod error;
mod file;
mod flags;
mod further_sources;
#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(test)]
mod known_keys;
mod load;
mod platforms;
mod plugin;
mod policy;
mod process;
mod pull_secrets;
mod reader;
mod referrers;
mod registry_name;
mod schema;
mod secret_file;
mod settings;
mod target;
mod value;
mod verification;
mod watch;
mod yaml;

#[cfg(test)]
mod tests;

pub use docker_config::user_docker_logins;
pub use error::{ConfigError, ConfigErrors, SourceLocation};
pub use flags::Flags;
pub use load::{Loaded, load};
pub use schema::schema;
pub use settings::{
    Config, CopyConfig, EcrConfig, FurtherSourceConfig, FurtherSourcePlace, LogFormat, OperationsAuthorization,
    PathMapRule, PlatformConfig, PluginConfig, PluginLimitsConfig, PluginModule, PolicyConfig, ProcessConfig,
    ReferrersConfig, TargetConfig, VerificationConfig, WatchConfig,
};
