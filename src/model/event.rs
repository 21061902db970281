//! What happens on the way, for whoever counts and tells it.

use std::time::SystemTime;

use super::{Destination, Digest, Hook, Outcome, PluginStatus, Reference, WorkloadId};

/// Something that happened. The four counters that the original has hang on the first four.
#[derive(Debug)]
pub enum Event<'a> {
    /// A manifest was read (GET) at the source; the image as written.
    PullSucceeded(&'a str),
    /// A digest could not be resolved or a manifest not be read at the source; the image as written.
    PullFailed(&'a str),
    /// An image was pushed; the full target reference.
    PushSucceeded(&'a str),
    /// The target's part failed, or a blob's download did; the full target reference.
    PushFailed(&'a str),
    /// So many bytes of a blob have reached a target.
    BytesCopied(u64),
    /// A copy ended, one way or another.
    Finished(&'a Outcome),
    /// Nothing is to be at this destination any more: no image use leads to it.
    Forgotten {
        /// Where something was to be.
        destination: &'a Destination,
        /// What was to be there.
        source: &'a Reference,
    },
    /// A workload wants an image that has failed before and is not tried now.
    InCooldown {
        /// Whose.
        workload: &'a WorkloadId,
        /// The image's fully qualified name.
        source: &'a Reference,
        /// Where it is to be.
        destination: &'a Destination,
        /// When it is tried again.
        until: SystemTime,
        /// How it failed.
        reason: &'a str,
    },
    /// A tag was moved to an image of this source, although what it pointed to is not known there: somebody else's image
    /// may have had it.
    TagTaken {
        /// Who uses the image, oldest first.
        workloads: &'a [WorkloadId],
        /// The image's fully qualified name.
        source: &'a Reference,
        /// The tag.
        destination: &'a Destination,
        /// What it pointed to.
        before: &'a Digest,
    },
    /// An image use could not be decided.
    Undecided {
        /// Whose.
        workload: &'a WorkloadId,
        /// The image as written.
        image: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// A workload has been decided anew, or is gone; told only where something of it could not be decided before, or can't
    /// be now. What can't be was told just before.
    Decided {
        /// Which.
        workload: &'a WorkloadId,
    },
    /// So many image uses can't be decided as things stand.
    UndecidedNow(usize),
    /// So many destinations wait, are being copied, or wait for the end of a cooldown.
    Queue {
        /// Due, and waiting for a free place.
        waiting: usize,
        /// Being copied.
        active: usize,
        /// Failed, and not due yet.
        cooling: usize,
    },
    /// A plugin was asked; `error` is the kind of its failure, from a closed list.
    PluginCalled {
        /// The plugin's name in the configuration.
        plugin: &'a str,
        /// The question.
        hook: Hook,
        /// How long the answer took.
        took: std::time::Duration,
        /// The kind of failure: `invalid-config`, `invalid-request`, `internal`, `trap`, `deadline`, `memory`, `output`,
        /// or `given-up` where it was not asked because it keeps breaking down.
        error: Option<&'static str>,
    },
    /// A plugin is asked from now on, perhaps in the place of an earlier one of its name.
    PluginLoaded(&'a PluginStatus),
    /// A plugin is not in the configuration any more.
    PluginGone {
        /// Its name.
        plugin: &'a str,
    },
    /// The instances of a plugin have another amount of linear memory than before.
    PluginMemory {
        /// The plugin's name.
        plugin: &'a str,
        /// All of them together, in bytes.
        bytes: usize,
    },
    /// A changed configuration, or a changed plugin, is in force.
    Reloaded,
    /// A changed configuration, or a changed plugin, can't be used; what was in force goes on.
    ReloadRefused {
        /// All that is wrong.
        reason: &'a str,
    },
    /// A registry said that we come too often, and everybody who asks it slows down.
    Throttled {
        /// Its host.
        registry: &'a str,
    },
    /// So many manifests may still be read at a registry that counts them.
    PullsLeft {
        /// Its host.
        registry: &'a str,
        /// How many.
        left: u64,
    },
    /// A watch broke and was started anew; the plural of its kind.
    WatchRestarted(&'static str),
}

/// Counts, logs or tells events. Called from many tasks; must not block.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn observe(&self, event: &Event<'_>);
}

/// For who wants nobody to watch.
impl Observer for () {
    fn observe(&self, _: &Event<'_>) {}
}
