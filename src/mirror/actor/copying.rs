//! Starting the work on a name, and what follows from how it ended.

use std::{panic::AssertUnwindSafe, time::Duration};

use futures::FutureExt;
use tokio::time::Instant;
use tracing::info;

use super::Actor;
use crate::{
    mirror::{claims::Name, defect, job::CopyJob},
    model::{Event, FailureKind, Outcome, Retry, Status},
};

/// The work on a name that has ended.
pub(super) struct Copied {
    name: Name,
    jobs: Vec<CopyJob>,
    outcomes: Vec<Outcome>,
}

impl Actor {
    pub(super) fn start(&mut self, name: Name) {
        let jobs = self.claims.jobs(&name);
        let copier = self.copier.clone();
        self.copying.spawn(async move {
            let mut outcomes = Vec::with_capacity(jobs.len());
            for job in &jobs {
                // A defect in one copy must not leave its name under way for ever.
                let outcome = AssertUnwindSafe(copier.copy(job)).catch_unwind().await;
                outcomes.push(outcome.unwrap_or_else(|_| defect::broken_off(job)));
            }
            Copied { name, jobs, outcomes }
        });
    }

    pub(super) fn copied(&mut self, copied: Copied) {
        let Copied { name, jobs, outcomes } = copied;
        for outcome in &outcomes {
            self.observer.observe(&Event::Finished(outcome));
        }
        let now_wanted = self.claims.jobs(&name);
        let outdated = now_wanted.len() != jobs.len()
            || now_wanted.iter().zip(&jobs).any(|(wanted, done)| !wanted.same_work(done));
        self.forget_told(&name, if now_wanted.is_empty() { &[] } else { &outcomes });
        match soonest(&outcomes) {
            _ if now_wanted.is_empty() => self.queue.succeeded(&name),
            Some((error, retry)) => {
                let pause = self.queue.failed(&name, error, retry, Instant::now());
                info!(target = %name, seconds = pause.as_secs(), "is left alone for a while");
            }
            None if outdated => {
                self.queue.again(&name);
                return;
            }
            None => self.queue.succeeded(&name),
        }
        for (pass, _) in &mut self.passes {
            pass.finished(&name, &outcomes);
        }
    }
}

/// The failure that is to be tried again first. A conflict costs a look only, and is looked at when somebody changes
/// something.
fn soonest(outcomes: &[Outcome]) -> Option<(String, Retry)> {
    let failures = outcomes.iter().filter_map(|outcome| match &outcome.status {
        Status::Failed(failure) if failure.kind != FailureKind::Conflict => Some(failure),
        _ => None,
    });
    let first = failures.min_by_key(|failure| match failure.retry {
        Retry::Soon => Duration::ZERO,
        Retry::After(asked) => asked,
        Retry::Later => Duration::MAX,
    })?;
    Some((first.message.clone(), first.retry))
}
