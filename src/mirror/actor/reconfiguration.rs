//! Deciding and copying otherwise from one event to the next.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::Actor;
use crate::{mirror::Copier, policy::Successor};

/// What is other than before.
pub struct Reconfiguration {
    /// What decides.
    pub policy: Successor,
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
            self.queue.reset_cooldown();
            let now = Instant::now();
            for name in self.claims.names() {
                self.queue.want(name, now);
            }
        }
        (self.settled, self.gathering_until) = (false, None);
        self.decide_all();
    }
}
