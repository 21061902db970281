//! Events for metrics, logs, Kubernetes events and progress.

use std::{sync::Arc, time::SystemTime};

use super::{
    CopyProgress, Destination, Digest, Hook, ImageRecord, Known, Outcome, PassSummary, PluginStatus, Reference,
    VerifiedImage, WorkloadId,
};

/// Something that happened. The first four feed the four `…_total` counters of pulls and pushes.
#[derive(Debug)]
pub enum Event<'a> {
    /// A manifest was read (GET) at the source; with the image as written.
    PullSucceeded(&'a str),
    /// A digest could not be resolved or a manifest not be read at the source; with the image as written.
    PullFailed(&'a str),
    /// An image was pushed; with the full target reference.
    PushSucceeded(&'a str),
    /// The target failed, or the download of a blob did; with the full target reference.
    PushFailed(&'a str),
    /// This many further bytes of a blob were uploaded.
    BytesCopied(u64),
    /// A copy has begun: it inspects source and target first. An [`Event::TransferStarted`] follows if something is
    /// missing at the target, and an [`Event::Finished`] at the end, unless the image is not to be at the destination any
    /// more. Images of one destination begin together, but are copied one after another.
    CopyStarted {
        /// The fully qualified source.
        source: &'a Reference,
        /// The destination.
        destination: &'a Destination,
        /// The workloads that use the image, at most the ten oldest, oldest first.
        workloads: &'a [WorkloadId],
        /// How far it is, from now on to its end.
        progress: &'a Arc<CopyProgress>,
    },
    /// A copy found that something is missing at the target, and begins to transfer it. The total of `progress` is known
    /// soon after.
    TransferStarted {
        /// The fully qualified source.
        source: &'a Reference,
        /// The destination.
        destination: &'a Destination,
        /// The workloads that use the image, at most the ten oldest, oldest first.
        workloads: &'a [WorkloadId],
        /// How far the copy is.
        progress: &'a Arc<CopyProgress>,
    },
    /// An attempt to mirror an image ended; with what is known of the image now.
    Finished(&'a Outcome, &'a ImageRecord),
    /// What is known of an image at a destination has changed: it was claimed, an attempt changed it (this follows
    /// [`Event::Finished`]), or no image use has the image at the destination any more.
    ImageChanged {
        /// The destination.
        destination: &'a Destination,
        /// The image.
        source: &'a Reference,
        /// What was known; none of a new image.
        before: Option<Known>,
        /// What is known now; none if the image is not to be at the destination any more.
        after: Option<Known>,
    },
    /// Since when the image that has waited longest has had to be copied; none if every image is at its destination.
    OldestToBeCopied(Option<SystemTime>),
    /// An image at a destination was verified in the background; an [`Event::ImageChanged`] follows if that changed what is
    /// known.
    Verified {
        /// The result.
        image: &'a VerifiedImage,
        /// Whether the verification before had found parts missing or wrong.
        was_damaged: bool,
    },
    /// Which verification of an image is the oldest.
    OldestVerification {
        /// The last verification of the image that has waited longest for one, or when this process found it at its target;
        /// none if nothing is to be verified.
        time: Option<SystemTime>,
        /// Whether it has waited for more than twice the period in which each image is to be verified.
        is_late: bool,
    },
    /// A pass over all workloads ended.
    PassEnded(PassSummary),
    /// A workload uses an image that has failed and is in cooldown.
    InCooldown {
        /// The workload.
        workload: &'a WorkloadId,
        /// The fully qualified source.
        source: &'a Reference,
        /// The destination.
        destination: &'a Destination,
        /// What is known of the image.
        record: &'a ImageRecord,
        /// When the cooldown ends.
        until: SystemTime,
        /// The last failure.
        reason: &'a str,
    },
    /// A tag was moved to an image of this source although the source's repository does not have the previous digest:
    /// another image may have owned the tag.
    TagTaken {
        /// The workloads that use the image, oldest first.
        workloads: &'a [WorkloadId],
        /// The fully qualified source.
        source: &'a Reference,
        /// The tag.
        destination: &'a Destination,
        /// The previous digest.
        before: &'a Digest,
    },
    /// The policy could not decide an image use.
    Undecided {
        /// The workload.
        workload: &'a WorkloadId,
        /// The image as written.
        image: &'a str,
        /// The reason.
        reason: &'a str,
    },
    /// A workload was decided, or deleted, that has or had undecided image uses. An [`Event::Undecided`] for each that
    /// is still undecided precedes this.
    Decided {
        /// The workload.
        workload: &'a WorkloadId,
    },
    /// How many image uses are undecided now.
    UndecidedNow(usize),
    /// How many destinations are in which state of the queue.
    Queue {
        /// Due, and waiting for a free permit.
        waiting: usize,
        /// Being copied.
        active: usize,
        /// In cooldown.
        cooling: usize,
    },
    /// A plugin's hook was called; `error` is the kind of its failure, from a closed list.
    PluginCalled {
        /// The plugin's name in the configuration.
        plugin: &'a str,
        /// The hook.
        hook: Hook,
        /// The call's duration.
        took: std::time::Duration,
        /// The kind of failure: `invalid-config`, `invalid-request`, `internal`, `trap`, `deadline`, `memory`, `output`,
        /// or `given-up` if it was not called because it keeps failing.
        error: Option<&'static str>,
    },
    /// A plugin became active, possibly replacing another of its name.
    PluginLoaded(&'a PluginStatus),
    /// A plugin was removed from the configuration.
    PluginGone {
        /// Its name.
        plugin: &'a str,
    },
    /// The linear memory of a plugin's instances has changed.
    PluginMemory {
        /// The plugin's name.
        plugin: &'a str,
        /// The sum over all instances, in bytes.
        bytes: usize,
    },
    /// A changed configuration or plugin became active.
    Reloaded,
    /// A changed configuration or plugin is invalid; the active one is kept.
    ReloadRefused {
        /// Every error.
        reason: &'a str,
    },
    /// A registry answered a request, or did not.
    Requested {
        /// Its host, as in image references.
        registry: &'a str,
        /// The request's method.
        method: &'a str,
        /// The response's status; none if there was no response.
        status: Option<u16>,
    },
    /// A failed request to a registry, or a failed transfer, is repeated.
    Retried {
        /// Its host.
        registry: &'a str,
    },
    /// A registry rate-limited a request; all requests to it slow down.
    Throttled {
        /// Its host.
        registry: &'a str,
    },
    /// The pulls that a registry's quota has left.
    PullsLeft {
        /// Its host.
        registry: &'a str,
        /// The number.
        left: u64,
        /// Of so many in all; none if the registry does not say.
        limit: Option<u64>,
    },
    /// A watch failed and was restarted; with the plural of its kind.
    WatchRestarted(&'static str),
}

/// Receives events. Called from many tasks; must not block.
pub trait Observer: Send + Sync {
    /// Handles one event.
    fn observe(&self, event: &Event<'_>);
}

/// Ignores all events.
impl Observer for () {
    fn observe(&self, _: &Event<'_>) {}
}
