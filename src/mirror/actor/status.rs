//! The state of everything, for operators.

use std::{
    sync::{Arc, atomic::Ordering},
    time::SystemTime,
};

use tokio::time::Instant;

use crate::{
    mirror::{claims::ClaimedImage, destination_key::DestinationKey, job::Role, queue::QueueActivity},
    model::{Activity, ImageRecord, ImageStatus, MirrorPhase, MirrorStatus},
};

use super::{
    phase::Phase,
    state::{Actor, as_system_time},
};

impl Actor {
    /// Takes time in proportion to the number of images: callers must not request it often.
    pub(super) fn status(&self) -> MirrorStatus {
        let now = Instant::now();
        let images = self.claims.images().map(|(key, image)| self.image_status(key, image, now));
        MirrorStatus {
            phase: self.mirror_phase(),
            images: images.collect(),
            unmirrored: self.unmirrored.values().flatten().cloned().collect(),
            workloads: self.decisions.count(),
            pass_began: self.passes.began(),
        }
    }

    fn mirror_phase(&self) -> MirrorPhase {
        match self.phase {
            Phase::Standby { .. } => MirrorPhase::Standby,
            _ if self.paused.load(Ordering::Acquire) => MirrorPhase::Paused,
            Phase::Listing => MirrorPhase::Listing,
            Phase::Deciding { .. } => MirrorPhase::Deciding,
            Phase::Copying => MirrorPhase::Mirroring,
        }
    }

    fn image_status(&self, key: &DestinationKey, image: ClaimedImage<'_>, now: Instant) -> ImageStatus {
        let ClaimedImage { image, source, destination, role, workloads } = image;
        let record = self.records.get(key, source).cloned();
        let activity = match self.queue.activity(key, source, now) {
            QueueActivity::Idle => Activity::Idle,
            QueueActivity::Waiting => Activity::Waiting,
            QueueActivity::Cooldown(until) => Activity::Cooldown { until: as_system_time(until) },
            QueueActivity::Active => {
                let active = self.active.get(key);
                let job = active
                    .and_then(|active| Some((active, active.jobs.iter().find(|(job, _)| job.source == *source)?)));
                match job {
                    Some((active, (_, progress))) => {
                        Activity::Copying { started: active.started, progress: Arc::clone(progress) }
                    }
                    // Another image of the destination is being copied.
                    None => Activity::Waiting,
                }
            }
        };
        ImageStatus {
            image: image.to_owned(),
            source: source.clone(),
            destination,
            record: record.unwrap_or_else(|| ImageRecord::new(SystemTime::now())),
            activity,
            owner: match role {
                Role::Conflict { owner } => Some(owner),
                Role::Owner | Role::ByDigest => None,
            },
            workloads,
        }
    }
}
