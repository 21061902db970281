//! The order of waiting destinations: a queue for each source registry, so that no registry delays the others. The registry
//! with the fewest active copies is next; within a queue, new requests precede those of a pass.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::mirror::destination_key::DestinationKey;

/// After so many new destinations of a queue in a row, another one follows, so that none waits forever.
const NEW_IN_A_ROW: u8 = 8;

/// Waiting destinations by source registry.
#[derive(Debug, Default)]
pub struct FairQueue {
    queues: HashMap<Arc<str>, RegistryQueue>,
    /// Queues with waiting destinations that are below their limit: ordered by active copies, then by when they were last
    /// next.
    ready: BTreeSet<(usize, u64, Arc<str>)>,
    /// Numbers tickets, and when queues were next.
    sequence: u64,
}

#[derive(Debug, Default)]
struct RegistryQueue {
    new: BTreeMap<u64, DestinationKey>,
    other: BTreeMap<u64, DestinationKey>,
    new_in_a_row: u8,
    active: usize,
    last_next: u64,
    /// Its entry in `ready`: active copies, and when it was last next.
    ranked: Option<(usize, u64)>,
}

/// A destination's position in a queue.
#[derive(Debug)]
pub struct Ticket {
    host: Arc<str>,
    number: u64,
    /// Whether it was requested by a new or changed claim.
    pub is_new: bool,
}

impl RegistryQueue {
    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.other.is_empty()
    }

    fn take(&mut self) -> Option<DestinationKey> {
        let is_others_turn = self.new_in_a_row >= NEW_IN_A_ROW && !self.other.is_empty();
        if let Some((_, key)) = (!is_others_turn).then(|| self.new.pop_first()).flatten() {
            self.new_in_a_row = self.new_in_a_row.saturating_add(1);
            return Some(key);
        }
        self.new_in_a_row = 0;
        self.other.pop_first().map(|(_, key)| key)
    }
}

impl FairQueue {
    /// Adds a destination to the queue of a registry.
    pub fn push(&mut self, host: &str, key: &DestinationKey, is_new: bool) -> Ticket {
        self.sequence += 1;
        let number = self.sequence;
        let host = match self.queues.get_key_value(host) {
            Some((host, _)) => Arc::clone(host),
            None => Arc::from(host),
        };
        let queue = self.queues.entry(Arc::clone(&host)).or_default();
        let positions = if is_new { &mut queue.new } else { &mut queue.other };
        positions.insert(number, key.clone());
        self.rank(&host);
        Ticket { host, number, is_new }
    }

    /// Removes a destination.
    pub fn remove(&mut self, ticket: &Ticket) {
        if let Some(queue) = self.queues.get_mut(&ticket.host) {
            queue.new.remove(&ticket.number);
            queue.other.remove(&ticket.number);
        }
        self.rank(&ticket.host);
    }

    /// The next destination, and its registry. `limit` is the maximum of active copies of a registry; the destination counts
    /// as active until [`Self::complete`].
    pub fn next(&mut self, limit: impl Fn(&str) -> usize) -> Option<(DestinationKey, Arc<str>)> {
        loop {
            let (.., host) = self.ready.pop_first()?;
            let Some(queue) = self.queues.get_mut(&host) else { continue };
            queue.ranked = None;
            if queue.active >= limit(&host) {
                // Ranked again when one of its copies ends.
                continue;
            }
            let Some(key) = queue.take() else { continue };
            queue.active += 1;
            self.sequence += 1;
            queue.last_next = self.sequence;
            self.rank(&host);
            return Some((key, host));
        }
    }

    /// Ends an active copy of this registry.
    pub fn complete(&mut self, host: &Arc<str>) {
        if let Some(queue) = self.queues.get_mut(host) {
            queue.active = queue.active.saturating_sub(1);
        }
        self.rank(host);
    }

    /// Must be called when limits have changed.
    pub fn rank_all(&mut self) {
        let hosts: Vec<Arc<str>> = self.queues.keys().cloned().collect();
        for host in &hosts {
            self.rank(host);
        }
    }

    fn rank(&mut self, host: &Arc<str>) {
        let Some(queue) = self.queues.get_mut(host) else { return };
        if let Some((active, last_next)) = queue.ranked.take() {
            self.ready.remove(&(active, last_next, Arc::clone(host)));
        }
        if !queue.is_empty() {
            queue.ranked = Some((queue.active, queue.last_next));
            self.ready.insert((queue.active, queue.last_next, Arc::clone(host)));
        } else if queue.active == 0 {
            self.queues.remove(host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::testing::key;

    fn push(fair_queue: &mut FairQueue, host: &str, count: usize, is_new: bool) {
        for number in 0..count {
            fair_queue.push(host, &key(&format!("{host}-{number}")), is_new);
        }
    }

    /// The registries of the next destinations; no copy ends meanwhile.
    fn next_hosts(fair_queue: &mut FairQueue, count: usize, limit: usize) -> Vec<String> {
        let next = (0..count).map_while(|_| fair_queue.next(|_| limit));
        next.map(|(_, host)| host.to_string()).collect()
    }

    #[test]
    fn registries_share_permits_however_many_destinations_they_have() {
        let mut fair_queue = FairQueue::default();
        push(&mut fair_queue, "a", 100, true);
        push(&mut fair_queue, "b", 2, true);
        push(&mut fair_queue, "c", 2, true);
        assert_eq!(next_hosts(&mut fair_queue, 8, 9), ["a", "b", "c", "a", "b", "c", "a", "a"]);
        fair_queue.push("b", &key("late"), true);
        assert_eq!(next_hosts(&mut fair_queue, 1, 9), ["b"], "it has the fewest active copies");
    }

    #[test]
    fn a_registry_stays_below_its_limit() {
        let mut fair_queue = FairQueue::default();
        push(&mut fair_queue, "a", 3, true);
        let ticket = fair_queue.push("a", &key("gone"), true);
        fair_queue.remove(&ticket);
        assert_eq!(next_hosts(&mut fair_queue, 9, 2), ["a", "a"]);
        fair_queue.complete(&"a".into());
        assert_eq!(next_hosts(&mut fair_queue, 9, 2), ["a"]);
        for _ in 0..3 {
            fair_queue.complete(&"a".into());
        }
        assert!(fair_queue.queues.is_empty() && fair_queue.ready.is_empty(), "empty queues are dropped");
    }

    #[test]
    fn new_requests_come_first_but_do_not_starve_the_others() {
        let mut fair_queue = FairQueue::default();
        push(&mut fair_queue, "a", 20, false);
        for _ in 0..20 {
            fair_queue.push("a", &key("new"), true);
        }
        let keys: Vec<String> = (0..12).map(|_| fair_queue.next(|_| 99).unwrap().0.to_string()).collect();
        let is_new: Vec<bool> = keys.iter().map(|key| key.contains("new")).collect();
        assert_eq!(is_new.iter().filter(|new| !**new).count(), 1, "{keys:?}");
        assert!(!is_new[8], "{keys:?}");
    }
}
