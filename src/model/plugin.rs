//! How a policy plugin is doing.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use super::{Digest, Hook};

/// One plugin, as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Where it was taken from: `built in`, a file, or `oci: …`.
    pub module: String,
    /// Of its code, unpacked; none for the default plugins, which are part of the program.
    pub digest: Option<Digest>,
    /// The version of the plugin contract that it was built against, as `1.0.0`.
    pub contract: String,
    /// What it answers, in the order asked.
    pub hooks: Vec<Hook>,
    /// When it was loaded.
    pub loaded: SystemTime,
    /// Calls of its hooks since then.
    pub calls: u64,
    /// Those of them that failed, by kind (see [`super::Event::PluginCalled`]).
    pub failures: BTreeMap<&'static str, u64>,
    /// How many instances of it there are.
    pub instances: usize,
    /// The linear memory of all of them together, in bytes.
    pub memory: usize,
    /// It kept breaking down: how long it is left alone yet, at least.
    pub given_up_for: Option<Duration>,
}
