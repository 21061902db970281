//! Deciding and copying otherwise from one event to the next.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::Actor;
use crate::{
    mirror::{Copier, claims::Name, queue::Cause},
    policy::PreparedPolicy,
};

/// What is other than before.
pub struct Reconfiguration {
    /// What decides.
    pub policy: PreparedPolicy,
    /// What copies; none where it goes on as it is.
    pub copier: Option<Copier>,
    /// How long a failed destination is left alone at most.
    pub cooldown: Option<Duration>,
    /// How many names are worked on at once.
    pub places: usize,
}

impl Actor {
    /// Nothing is started before all has been decided anew: what is queued may not be wanted there any more. With
    /// another copier everything is looked at again, and what failed is tried again, for the reason may be gone.
    pub(super) fn reconfigure(&mut self, new: Reconfiguration) {
        self.policy.replace(new.policy);
        self.queue.set_cooldown(new.cooldown);
        self.places = new.places;
        if let Some(copier) = new.copier {
            self.copier = Arc::new(copier);
            self.sources.reset();
            self.targets.reset();
            let claims = &self.claims;
            self.queue.reset_cooldown(|name| claims.source_registry(name).map(str::to_owned));
            let now = Instant::now();
            let names: Vec<Name> = self.claims.names().cloned().collect();
            for name in &names {
                let host = self.claims.source_registry(name).unwrap_or_default();
                for job in self.claims.jobs(name) {
                    self.queue.want(name, &job.source, host, Cause::Change, now);
                }
            }
        }
        self.queue.limits_changed();
        (self.settled, self.gathering_until) = (false, None);
        self.decisions.redo_all();
    }
}
