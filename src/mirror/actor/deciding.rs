//! From the policy's decisions to claims.

use std::{sync::Arc, time::SystemTime};

use tokio::time::Instant;
use tracing::debug;

use crate::{
    mirror::{
        claims::{Claims, DesiredImage},
        decisions::Decided,
    },
    model::{Event, ImageUse, Observer, Reference, UnmirroredUse, Verdict, WorkloadId},
};

use super::state::Actor;

/// The decisions on a workload's image uses, sorted by verdict.
#[derive(Default)]
struct Verdicts {
    /// Image uses to mirror.
    mirrored: Vec<(ImageUse, Reference)>,
    undecided: Vec<Undecided>,
    /// What the workload claims from now on.
    desired: Vec<DesiredImage>,
    /// Skipped and undecided.
    unmirrored: Vec<UnmirroredUse>,
}

/// An image use without a decision.
pub(super) struct Undecided {
    pub image: String,
    pub reason: String,
    retry: bool,
}

impl Verdicts {
    fn of(decided: Decided, claims: &Claims) -> Self {
        let mut verdicts = Self::default();
        for (image_use, decision) in decided.uses.iter().zip(decided.decisions) {
            match decision.verdict {
                Verdict::Mirror { source, destinations } => {
                    verdicts.mirrored.push((image_use.clone(), source.clone()));
                    verdicts.desired.push(DesiredImage { image_use: image_use.clone(), source, destinations });
                }
                Verdict::Skip(reason) => {
                    debug!(
                        workload = %image_use.workload.id,
                        container = image_use.container.name,
                        image = image_use.image,
                        reason,
                        "skipped"
                    );
                    verdicts.unmirrored.push(unmirrored(image_use, reason, true));
                }
                Verdict::Error { reason, retry } => {
                    verdicts.unmirrored.push(unmirrored(image_use, reason.clone(), false));
                    verdicts.undecided.push(Undecided { image: image_use.image.clone(), reason, retry });
                    // Until a retry succeeds the last decision holds, so that no other image takes the destination.
                    verdicts.desired.extend(claims.desired_by(image_use).filter(|_| retry));
                }
            }
        }
        verdicts
    }
}

impl Actor {
    pub(super) fn apply_decisions(&mut self, decided: Decided) {
        if !self.decisions.are_current(&decided) {
            return;
        }
        let workload = decided.workload.clone();
        let Verdicts { mirrored, undecided, desired, unmirrored } = Verdicts::of(decided, &self.claims);
        self.set_unmirrored(&workload, unmirrored);
        report_undecided(self.observer.as_ref(), &workload, &undecided);
        self.set_undecided(&workload, undecided.len());
        if undecided.iter().any(|undecided| undecided.retry) && !self.is_single_pass {
            self.decisions.retry(&workload, Instant::now());
        } else {
            self.decisions.accept(&workload);
        }
        self.claim(&workload, desired);
        self.count_in_pass(&workload, undecided, mirrored);
    }

    /// An image use that stays unmirrored for the same reason keeps its time.
    fn set_unmirrored(&mut self, workload: &WorkloadId, unmirrored: Vec<UnmirroredUse>) {
        let before = self.unmirrored.remove(workload).unwrap_or_default();
        if unmirrored.is_empty() {
            return;
        }
        let unchanged = |new: &UnmirroredUse| {
            let is_same = |old: &&Arc<UnmirroredUse>| {
                (&old.container, &old.image, &old.reason) == (&new.container, &new.image, &new.reason)
            };
            before.iter().find(is_same).cloned()
        };
        let unmirrored = unmirrored.into_iter().map(|new| unchanged(&new).unwrap_or_else(|| Arc::new(new)));
        self.unmirrored.insert(workload.clone(), unmirrored.collect());
    }

    pub(super) fn set_undecided(&mut self, workload: &WorkloadId, count: usize) {
        if self.undecided.set(workload, count) {
            self.observer.observe(&Event::Decided { workload });
        }
    }
}

fn unmirrored(image_use: &ImageUse, reason: String, is_skipped: bool) -> UnmirroredUse {
    UnmirroredUse {
        workload: Arc::clone(&image_use.workload),
        container: image_use.container.name.clone(),
        image: image_use.image.clone(),
        reason,
        is_skipped,
        since: SystemTime::now(),
    }
}

fn report_undecided(observer: &dyn Observer, workload: &WorkloadId, undecided: &[Undecided]) {
    for Undecided { image, reason, .. } in undecided {
        observer.observe(&Event::Undecided { workload, image, reason });
    }
}
