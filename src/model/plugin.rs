//! The state of policy plugins.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use super::{Digest, Hook};

/// The effect of a failed call of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// The image use fails.
    Fail,
    /// The next plugin of the chain is called.
    Pass,
}

/// One plugin, as shown to operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginStatus {
    /// Its name in the configuration.
    pub name: String,
    /// Where it was loaded from: `built in`, a file, or `oci: …`.
    pub module: String,
    /// The digest of its uncompressed code; none for the default plugins, which are part of the program.
    pub digest: Option<Digest>,
    /// The version of the plugin contract that it was built against, as `1.0.0`.
    pub contract: String,
    /// The hooks it implements, in call order.
    pub hooks: Vec<Hook>,
    /// When it was loaded.
    pub loaded: SystemTime,
    /// Calls of its hooks since then.
    pub calls: u64,
    /// Failed calls, by kind (see [`super::Event::PluginCalled`]).
    pub failures: BTreeMap<&'static str, u64>,
    /// The number of its instances.
    pub instances: usize,
    /// The linear memory of all of them together, in bytes.
    pub memory: usize,
    /// How long it is not called any more at least, because it kept failing.
    pub given_up_for: Option<Duration>,
}
