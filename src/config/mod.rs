//! The settings: flags over variables over the file over defaults, read to the end before anything is refused, so that
//! every mistake shows at once.

mod access;
mod copy;
mod credential;
mod ecr;
mod file;
mod flags;
#[cfg(fuzzing)]
pub mod fuzzing;
mod load;
mod mistake;
mod platforms;
mod plugin;
mod policy;
mod process;
mod reader;
mod scalar;
mod settings;
mod target;
mod target_name;
mod watch;
mod yaml;

#[cfg(test)]
mod tests;

pub use flags::Flags;
pub use load::{Loaded, load};
pub use mistake::{Mistake, Mistakes, Place};
pub use settings::{
    Config, CopyConfig, EcrConfig, LogFormat, OnFailure, PathMapRule, PlatformConfig, PluginConfig, PluginLimitsConfig,
    PluginModule, PolicyConfig, ProcessConfig, TargetConfig, WatchConfig,
};
