//! Copies the images of all workloads to their destinations, and keeps them there.

mod actor;
mod claims;
mod conflicts;
mod copying;
mod decisions;
mod destination_key;
mod job;
mod known_damage;
mod loading;
mod panic;
mod passes;
mod queue;
mod records;
mod referrer_looks;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod verification;
mod verification_rounds;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use crate::{
    model::{ImageUse, MirrorStatus, Observer, WorkloadId},
    policy::Policy,
};

use actor::{Actor, Command, Message};

pub use actor::Reconfiguration;
pub use claims::DesiredImage;
pub use conflicts::Conflicts;
pub use copying::{
    Copier, CopySettings, FurtherPlace, FurtherSource, PlatformSettings, ReferrerSelection, ReferrerSettings,
};
pub use loading::{LoadEvent, LoadSettings, Loaded, Loader};
pub use passes::{PassReport, Remaining};
pub use verification::{
    ContinualVerifier, DeepReading, NotRead, Pace, ReadBlobs, SourceQuestions, Verifier, VerifierSettings,
};

/// How many messages may wait for the actor; senders then wait.
const MAX_MESSAGES: usize = 1024;

/// A running mirror. Clones control the same one.
#[derive(Clone)]
pub struct Mirror {
    messages: mpsc::Sender<Message>,
    paused: Arc<AtomicBool>,
}

/// The mirror has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the mirror has stopped")]
pub struct Stopped;

impl Mirror {
    /// Starts it. It copies nothing before [`Mirror::begin`] and [`Mirror::inventory_complete`].
    ///
    /// `cooldown` is the longest pause after a failed copy, `max_concurrency` the number of destinations that are copied
    /// to at once. Without a `verifier` nothing is verified in the background.
    pub fn start(
        policy: Arc<Policy>,
        copier: Copier,
        verifier: Option<ContinualVerifier>,
        observer: Arc<dyn Observer>,
        cooldown: Option<Duration>,
        max_concurrency: usize,
    ) -> Self {
        let (messages, receiver) = mpsc::channel(MAX_MESSAGES);
        let paused = Arc::new(AtomicBool::new(false));
        tokio::spawn(
            Actor::new(policy, copier, verifier, observer, cooldown, max_concurrency, paused.clone()).run(receiver),
        );
        Self { messages, paused }
    }

    /// Replaces all image uses of a workload.
    ///
    /// # Errors
    /// If the mirror has stopped.
    pub async fn set(&self, workload: WorkloadId, uses: Vec<ImageUse>) -> Result<(), Stopped> {
        self.send(Command::Set(workload, uses)).await
    }

    /// Removes a deleted workload. Its images stay at the targets.
    ///
    /// # Errors
    /// If the mirror has stopped.
    pub async fn removed(&self, workload: WorkloadId) -> Result<(), Stopped> {
        self.send(Command::Remove(workload)).await
    }

    /// Every workload that existed at the start has been [set](Mirror::set), so that equal images can be found.
    ///
    /// # Errors
    /// If the mirror has stopped.
    pub async fn inventory_complete(&self) -> Result<(), Stopped> {
        self.send(Command::InventoryComplete).await
    }

    /// Begins to decide and copy, because this replica leads; also after a [`Mirror::pause`].
    ///
    /// # Errors
    /// If the mirror has stopped.
    pub async fn begin(&self) -> Result<(), Stopped> {
        self.paused.store(false, Ordering::Release);
        self.send(Command::Begin).await
    }

    /// Starts no copy before the next [`Mirror::begin`], because this replica may not lead any more. Keeps all decisions,
    /// lets active copies end, and returns their number. Takes effect at the call, not at the answer.
    ///
    /// # Errors
    /// If the mirror has stopped.
    pub async fn pause(&self) -> Result<usize, Stopped> {
        self.paused.store(true, Ordering::Release);
        self.request(Command::Pause).await
    }

    /// Runs a single pass over all workloads that have been set, and retries nothing: replaces
    /// [`Mirror::inventory_complete`], [`Mirror::begin`] and [`Mirror::pass`]. If the mirror is stopped meanwhile, the
    /// report says what remains.
    ///
    /// # Errors
    /// If the mirror has stopped before.
    pub async fn single_pass(&self) -> Result<Arc<PassReport>, Stopped> {
        self.request(Command::SinglePass).await
    }

    /// Decides and checks everything again, and returns when that is done. Referrers are looked for where that is due, or
    /// with `referrers` everywhere. Images in cooldown count as failed. One pass
    /// runs at a time; callers that come meanwhile share the next one.
    ///
    /// # Errors
    /// If the mirror has stopped.
    pub async fn pass(&self, referrers: bool) -> Result<Arc<PassReport>, Stopped> {
        self.request(|request| Command::Pass { request, referrers }).await
    }

    /// Replaces policy and settings: decides everything again, and mirrors what has changed. Active copies end with the
    /// old settings.
    ///
    /// # Errors
    /// If the mirror has stopped.
    pub async fn reconfigure(&self, new: Reconfiguration) -> Result<(), Stopped> {
        self.send(Command::Reconfigure(Box::new(new))).await
    }

    /// The state of everything. Takes time in proportion to the number of images: do not call it often.
    ///
    /// # Errors
    /// If the mirror has stopped.
    pub async fn status(&self) -> Result<MirrorStatus, Stopped> {
        self.request(Command::Status).await
    }

    /// The image uses of a workload; none if there is no such workload.
    ///
    /// # Errors
    /// If the mirror has stopped.
    pub async fn image_uses(&self, workload: WorkloadId) -> Result<Option<Arc<Vec<ImageUse>>>, Stopped> {
        self.request(|answer| Command::ImageUses(workload, answer)).await
    }

    /// Ends all cooldowns and returns their number; none if no cooldown is configured.
    ///
    /// # Errors
    /// If the mirror has stopped.
    pub async fn reset_cooldown(&self) -> Result<Option<usize>, Stopped> {
        self.request(Command::ResetCooldown).await
    }

    /// Stops it: waits at most `grace` for active copies.
    pub async fn stop(&self, grace: Duration) {
        let (done, answer) = oneshot::channel();
        if self.messages.send(Message::Stop(grace, done)).await.is_ok() {
            let _ = answer.await;
        }
    }

    /// Waits until it has stopped, for whatever reason.
    pub async fn stopped(&self) {
        self.messages.closed().await;
    }

    async fn send(&self, command: Command) -> Result<(), Stopped> {
        self.messages.send(Message::Command(command)).await.map_err(|_| Stopped)
    }

    async fn request<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, Stopped> {
        let (sender, answer) = oneshot::channel();
        self.send(command(sender)).await?;
        answer.await.map_err(|_| Stopped)
    }
}
