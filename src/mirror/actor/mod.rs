//! One task owns all state of the mirror. Decisions and copies run in tasks beside it and report back.

mod claiming;
mod completing;
mod deciding;
mod message;
mod pass_progress;
mod phase;
mod reconfigure;
mod referrers;
mod start_copies;
mod state;
mod status;
mod unavailable;
mod verifying;

use std::{sync::atomic::Ordering, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout, timeout_at},
};
use tracing::{error, info, warn};

use crate::model::Event;

use super::{
    passes::Pass,
    queue::{Cause, Lengths},
};

pub use message::{Command, Message, Reconfiguration};
pub use state::Actor;

/// How long to wait at the end for aborted uploads to be cancelled at the targets.
const LONGEST_CLEANUP: Duration = Duration::from_secs(5);

impl Actor {
    /// Runs until it is stopped, or no sender is left.
    pub async fn run(mut self, mut messages: mpsc::Receiver<Message>) {
        let mut has_more = false;
        loop {
            let wake = if has_more { Some(Instant::now()) } else { self.next_wake() };
            tokio::select! {
                message = messages.recv() => match message {
                    Some(Message::Stop(grace, done)) => {
                        self.stop(grace).await;
                        let _ = done.send(());
                        return;
                    }
                    Some(Message::Command(command)) => self.handle(command),
                    None => return,
                },
                Some(decided) = self.decisions.next_completed() => self.apply_decisions(decided),
                Some(host) = self.answers.recv() => self.source_answered(&host),
                Some(completed) = self.tasks.join_next() => match completed {
                    Ok(completed) => self.complete(completed),
                    Err(error) => error!(%error, "a copy was aborted"),
                },
                Some(verified) = self.verifications.join_next() => self.verified(verified),
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
            has_more = self.step();
        }
    }

    fn next_wake(&self) -> Option<Instant> {
        let cooldown = self.queue.next_wake().filter(|_| !self.is_single_pass);
        let look = self.referrer_looks.next_wake().filter(|_| !self.is_single_pass);
        let (verification, late) = (self.next_verification(), self.verification_is_late());
        let (decision, phase, pass) = (self.decisions.next_wake(), self.phase.deadline(), self.passes.deadline());
        [decision, phase, cooldown, look, verification, late, pass].into_iter().flatten().min()
    }

    fn handle(&mut self, command: Command) {
        let now = Instant::now();
        match command {
            Command::Set(workload, uses) => self.decisions.set(workload, uses),
            Command::Remove(workload) => {
                self.decisions.remove(&workload);
                self.set_undecided(&workload, 0);
                self.unmirrored.remove(&workload);
                self.claim(&workload, Vec::new());
                if let Some(pass) = self.passes.current() {
                    pass.decided(&workload, now);
                }
            }
            Command::InventoryComplete => self.phase = self.phase.complete_inventory(now),
            Command::Begin => self.phase = self.phase.begin(now),
            Command::Pause(active) => {
                let _ = active.send(self.tasks.len());
            }
            Command::Pass { request, referrers } => self.passes.request(request, referrers),
            Command::SinglePass(request) => {
                self.phase = self.phase.complete_inventory(now).begin(now);
                self.is_single_pass = true;
                self.passes.request(request, true);
            }
            Command::Reconfigure(new) => self.reconfigure(*new),
            Command::Status(status) => {
                let _ = status.send(self.status());
            }
            Command::ImageUses(workload, uses) => {
                let _ = uses.send(self.decisions.uses(&workload));
            }
            Command::ResetCooldown(ended) => {
                self.copier.end_waits();
                let count = self.reset_cooldown();
                for (key, source) in self.damage.end_pauses() {
                    self.request(&key, &source, Cause::Change, now);
                }
                let _ = ended.send(count);
                self.queue.limits_changed();
            }
        }
    }

    /// Ends cooldowns of images and registries.
    fn reset_cooldown(&mut self) -> Option<usize> {
        self.sources.reset();
        self.targets.reset();
        self.records.forget_asked_elsewhere();
        let claims = &self.claims;
        self.queue.reset_cooldown(|key| claims.source_registry(key).map(str::to_owned))
    }

    /// Does what has become due. Returns whether there is more to do at once.
    fn step(&mut self) -> bool {
        let now = Instant::now();
        if !self.is_single_pass {
            let claims = &self.claims;
            self.queue.wake(now, |key| claims.source_registry(key).map(str::to_owned));
            self.request_due_looks(now);
        }
        if self.passes.is_due() {
            self.passes.begin(|referrers| Pass::over(self.decisions.workloads().cloned(), referrers, now));
            self.decisions.repeat_all();
        }
        self.decisions.wake(now);
        if self.phase.decides() {
            self.decisions.start(&self.policy);
        }
        self.phase = self.phase.advance(self.decisions.are_complete(), now);
        let has_more = self.start_copies();
        self.verify_next(now);
        self.report_oldest_verification(now);
        if let Some(ended) = self.passes.step(now) {
            self.observer.observe(&Event::PassEnded(ended));
        }
        let oldest = self.records.oldest_to_be_copied();
        if oldest != self.oldest_to_be_copied {
            self.oldest_to_be_copied = oldest;
            self.observer.observe(&Event::OldestToBeCopied(oldest));
        }
        if let Some(count) = self.undecided.change() {
            self.observer.observe(&Event::UndecidedNow(count));
        }
        let lengths = self.queue.lengths();
        if lengths != self.lengths {
            self.lengths = lengths;
            let Lengths { waiting, active, cooling } = lengths;
            self.observer.observe(&Event::Queue { waiting, active, cooling });
        }
        has_more || self.passes.is_due()
    }

    async fn stop(&mut self, grace: Duration) {
        if !self.tasks.is_empty() {
            info!(
                active = self.tasks.len(),
                seconds = grace.as_secs(),
                "stopping: active copies continue until the grace period ends"
            );
        }
        self.paused.store(true, Ordering::Release);
        let deadline = Instant::now() + grace;
        while let Ok(Some(completed)) = timeout_at(deadline, self.tasks.join_next()).await {
            if let Ok(completed) = completed {
                self.complete(completed);
            }
        }
        if !self.tasks.is_empty() {
            warn!(
                aborted = self.tasks.len(),
                "aborting active copies: the grace period is over; they restart at the next start"
            );
        }
        self.passes.end("the program was stopped");
        self.decisions.stop();
        self.verifications.shutdown().await;
        self.tasks.shutdown().await;
        if timeout(LONGEST_CLEANUP, self.copier.cancel_uploads()).await.is_err() {
            warn!("not all aborted uploads were cancelled at the targets in time; the registries expire them");
        }
    }
}
