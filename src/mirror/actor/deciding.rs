//! From the policy's decisions to claims.

use tokio::time::Instant;
use tracing::debug;

use crate::{
    mirror::{
        claims::{Claims, DesiredImage},
        decisions::Decided,
    },
    model::{Event, ImageUse, Observer, Reference, Verdict, WorkloadId},
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
                Verdict::Skip(reason) => debug!(
                    workload = %image_use.workload.id,
                    container = image_use.container.name,
                    image = image_use.image,
                    reason,
                    "skipped"
                ),
                Verdict::Error { reason, retry } => {
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
        let Verdicts { mirrored, undecided, desired } = Verdicts::of(decided, &self.claims);
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

    pub(super) fn set_undecided(&mut self, workload: &WorkloadId, count: usize) {
        if self.undecided.set(workload, count) {
            self.observer.observe(&Event::Decided { workload });
        }
    }
}

fn report_undecided(observer: &dyn Observer, workload: &WorkloadId, undecided: &[Undecided]) {
    for Undecided { image, reason, .. } in undecided {
        observer.observe(&Event::Undecided { workload, image, reason });
    }
}
