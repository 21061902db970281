//! Replacing policy and settings between two events.

use std::sync::Arc;

use tokio::time::Instant;

use crate::mirror::destination_key::DestinationKey;

use super::{message::Reconfiguration, state::Actor};

impl Actor {
    /// Starts no copy before everything is decided again: the new policy may not want what is queued. With another copier
    /// everything is checked and every failure retried, because its cause may be gone.
    pub(super) fn reconfigure(&mut self, new: Reconfiguration) {
        let now = Instant::now();
        self.policy.replace(new.policy);
        self.queue.set_cooldown(new.cooldown);
        self.max_concurrency = new.max_concurrency;
        if let Some(copier) = new.copier {
            self.copier = Arc::new(copier);
            self.referrer_looks.reset();
            self.verifier = new.verifier;
            self.verifications.abort_all();
            match self.verifier {
                Some(_) => self.rounds.reset(),
                None => {
                    self.rounds.clear();
                    let changes = self.records.forget_verifications();
                    self.report_changes(changes);
                }
            }
            self.reset_cooldown();
            self.damage.start_over();
            let keys: Vec<DestinationKey> = self.claims.keys().cloned().collect();
            for key in &keys {
                self.request_all(key, now);
            }
        }
        self.queue.limits_changed();
        self.phase = self.phase.decide_again(now);
        self.decisions.repeat_all();
    }
}
