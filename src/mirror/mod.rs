//! Brings decided images to their destinations, and is sure that they are there.

mod actor;
mod availability;
mod blobs;
mod bounds;
mod check;
mod claims;
mod conflicts;
mod copy;
mod decisions;
mod defect;
mod failure;
mod flight;
mod holder;
mod job;
mod lanes;
mod pass;
mod passes;
mod platforms;
mod push;
mod queue;
mod registries_in_use;
mod selection;
mod subsets;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod timers;
mod told;
mod transfer;
mod undecided;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use crate::{
    model::{ImageUse, Observer, WorkloadId},
    policy::Policy,
};

use actor::{Actor, Command, News};

pub use actor::Reconfiguration;
pub use conflicts::Conflicts;
pub use copy::{Copier, CopySettings};
pub use pass::{Left, PassReport};
pub use platforms::PlatformSettings;

/// How far the tellers may be ahead of the decisions.
const COMMANDS_AHEAD: usize = 1024;

/// The mirror at work; a clone speaks to the same one.
#[derive(Clone)]
pub struct Mirror {
    commands: mpsc::Sender<Command>,
    paused: Arc<AtomicBool>,
}

/// The mirror has stopped, and answers no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the mirror has stopped")]
pub struct Stopped;

impl Mirror {
    /// Starts it. Nothing is copied before [`Mirror::begin`] and [`Mirror::ready`].
    ///
    /// `cooldown` is how long a failed destination is left alone at most, `places` how many are worked on at once.
    pub fn start(
        policy: Arc<Policy>,
        copier: Copier,
        observer: Arc<dyn Observer>,
        cooldown: Option<Duration>,
        places: usize,
    ) -> Self {
        let (commands, receiver) = mpsc::channel(COMMANDS_AHEAD);
        let paused = Arc::new(AtomicBool::new(false));
        tokio::spawn(Actor::new(policy, copier, observer, cooldown, places, paused.clone()).run(receiver));
        Self { commands, paused }
    }

    /// These are all image uses of a workload from now on.
    ///
    /// # Errors
    /// When it has stopped.
    pub async fn set(&self, workload: WorkloadId, uses: Vec<ImageUse>) -> Result<(), Stopped> {
        self.tell(News::Set(workload, uses)).await
    }

    /// A workload is gone. What it used stays at the targets.
    ///
    /// # Errors
    /// When it has stopped.
    pub async fn removed(&self, workload: WorkloadId) -> Result<(), Stopped> {
        self.tell(News::Removed(workload)).await
    }

    /// Every workload that existed at the start has been told: equal images can now be seen to be equal.
    ///
    /// # Errors
    /// When it has stopped.
    pub async fn ready(&self) -> Result<(), Stopped> {
        self.tell(News::Ready).await
    }

    /// From now on images may be copied: this replica leads, or leads again after a [`Mirror::pause`].
    ///
    /// # Errors
    /// When it has stopped.
    pub async fn begin(&self) -> Result<(), Stopped> {
        self.paused.store(false, Ordering::Release);
        self.tell(News::Begin).await
    }

    /// Begins no copy any more before the next [`Mirror::begin`]: this replica may not be the one that leads. What is
    /// decided is kept, and what is under way may end; answers how much that is. Holds from the call on, not from the
    /// answer.
    ///
    /// # Errors
    /// When it has stopped.
    pub async fn pause(&self) -> Result<usize, Stopped> {
        self.paused.store(true, Ordering::Release);
        let (done, answer) = oneshot::channel();
        self.tell(News::Paused(done)).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// A single pass over all that was told: as [`Mirror::ready`], [`Mirror::begin`] and [`Mirror::pass`], but nothing
    /// is looked at twice, and what failed is not tried again. When it is stopped meanwhile the report says how far it
    /// came, and what is left.
    ///
    /// # Errors
    /// When it had stopped.
    pub async fn only_pass(&self) -> Result<Arc<PassReport>, Stopped> {
        let (done, answer) = oneshot::channel();
        self.tell(News::OnlyPass(done)).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Decides and looks at everything once more, and answers when that is done. What is in cooldown counts as failed.
    /// One pass is under way at a time; who asks meanwhile gets the answer of the next.
    ///
    /// # Errors
    /// When it has stopped.
    pub async fn pass(&self) -> Result<Arc<PassReport>, Stopped> {
        let (done, answer) = oneshot::channel();
        self.tell(News::Pass(done)).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Decides and copies otherwise from now on: takes all decisions again, and mirrors what has changed. Copies under
    /// way end as they began.
    ///
    /// # Errors
    /// When it has stopped.
    pub async fn reconfigure(&self, new: Reconfiguration) -> Result<(), Stopped> {
        self.tell(News::Reconfigured(Box::new(new))).await
    }

    /// Ends all cooldowns; answers how many there were, or nothing where none are kept.
    ///
    /// # Errors
    /// When it has stopped.
    pub async fn reset_cooldown(&self) -> Result<Option<usize>, Stopped> {
        let (done, answer) = oneshot::channel();
        self.tell(News::ResetCooldown(done)).await?;
        answer.await.map_err(|_| Stopped)
    }

    /// Starts nothing new, and waits for what is under way, but not longer than `grace`.
    pub async fn stop(&self, grace: Duration) {
        let (done, answer) = oneshot::channel();
        if self.commands.send(Command::Stop(grace, done)).await.is_ok() {
            let _ = answer.await;
        }
    }

    /// Waits until it has stopped, for whatever cause.
    pub async fn stopped(&self) {
        self.commands.closed().await;
    }

    async fn tell(&self, news: News) -> Result<(), Stopped> {
        self.commands.send(Command::Tell(news)).await.map_err(|_| Stopped)
    }
}
