//! Who is next: a line for each source registry, so that none of them keeps the others waiting. The registry with the
//! fewest copies under way is next; within one, what is new comes before what a pass looks at again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::claims::Name;

/// After so many new names of one registry one of its others has its turn, so that none waits for ever.
const NEW_IN_A_ROW: u8 = 8;

/// Names that wait, by the registry they come from.
#[derive(Debug, Default)]
pub struct Lanes {
    lanes: HashMap<Arc<str>, Lane>,
    /// Registries with waiting names, but for those that have as many copies under way as they may: first the one with
    /// the fewest, of several the one whose last turn is longest ago.
    ready: BTreeSet<(usize, u64, Arc<str>)>,
    /// Numbers turns and tickets.
    sequence: u64,
}

#[derive(Debug, Default)]
struct Lane {
    new: BTreeMap<u64, Name>,
    other: BTreeMap<u64, Name>,
    new_in_a_row: u8,
    active: usize,
    last_turn: u64,
    /// Under which copies and turn it stands in the order.
    ranked: Option<(usize, u64)>,
}

/// A name's place in a line.
#[derive(Debug)]
pub struct Ticket {
    host: Arc<str>,
    number: u64,
    /// Whether it is in the line for what is new.
    pub is_new: bool,
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.new.is_empty() && self.other.is_empty()
    }

    fn take(&mut self) -> Option<Name> {
        let others_turn = self.new_in_a_row >= NEW_IN_A_ROW && !self.other.is_empty();
        if let Some((_, name)) = (!others_turn).then(|| self.new.pop_first()).flatten() {
            self.new_in_a_row = self.new_in_a_row.saturating_add(1);
            return Some(name);
        }
        self.new_in_a_row = 0;
        self.other.pop_first().map(|(_, name)| name)
    }
}

impl Lanes {
    /// Lets a name wait for its turn at a registry.
    pub fn push(&mut self, host: &str, name: &Name, is_new: bool) -> Ticket {
        self.sequence += 1;
        let number = self.sequence;
        let host = match self.lanes.get_key_value(host) {
            Some((host, _)) => Arc::clone(host),
            None => Arc::from(host),
        };
        let lane = self.lanes.entry(Arc::clone(&host)).or_default();
        let line = if is_new { &mut lane.new } else { &mut lane.other };
        line.insert(number, name.clone());
        self.rank(&host);
        Ticket { host, number, is_new }
    }

    /// A name that does not wait any more.
    pub fn remove(&mut self, ticket: &Ticket) {
        if let Some(lane) = self.lanes.get_mut(&ticket.host) {
            lane.new.remove(&ticket.number);
            lane.other.remove(&ticket.number);
        }
        self.rank(&ticket.host);
    }

    /// The next name, and its registry, of which `limit` says how many copies may be under way. It counts as one until
    /// [`Self::ended`].
    pub fn next(&mut self, limit: impl Fn(&str) -> usize) -> Option<(Name, Arc<str>)> {
        loop {
            let (.., host) = self.ready.pop_first()?;
            let Some(lane) = self.lanes.get_mut(&host) else { continue };
            lane.ranked = None;
            if lane.active >= limit(&host) {
                // It is ranked again when one of its copies ends.
                continue;
            }
            let Some(name) = lane.take() else { continue };
            lane.active += 1;
            self.sequence += 1;
            lane.last_turn = self.sequence;
            self.rank(&host);
            return Some((name, host));
        }
    }

    /// The work on a name of this registry has ended.
    pub fn ended(&mut self, host: &Arc<str>) {
        if let Some(lane) = self.lanes.get_mut(host) {
            lane.active = lane.active.saturating_sub(1);
        }
        self.rank(host);
    }

    /// Limits have changed.
    pub fn rank_all(&mut self) {
        let hosts: Vec<Arc<str>> = self.lanes.keys().cloned().collect();
        for host in &hosts {
            self.rank(host);
        }
    }

    fn rank(&mut self, host: &Arc<str>) {
        let Some(lane) = self.lanes.get_mut(host) else { return };
        if let Some((active, turn)) = lane.ranked.take() {
            self.ready.remove(&(active, turn, Arc::clone(host)));
        }
        if !lane.is_empty() {
            lane.ranked = Some((lane.active, lane.last_turn));
            self.ready.insert((lane.active, lane.last_turn, Arc::clone(host)));
        } else if lane.active == 0 {
            self.lanes.remove(host);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::testing::name;

    fn push(lanes: &mut Lanes, host: &str, count: usize, is_new: bool) {
        for number in 0..count {
            lanes.push(host, &name(&format!("{host}-{number}")), is_new);
        }
    }

    /// The registries of the next names; nothing ends meanwhile.
    fn turns(lanes: &mut Lanes, count: usize, limit: usize) -> Vec<String> {
        let next = (0..count).map_while(|_| lanes.next(|_| limit));
        next.map(|(_, host)| host.to_string()).collect()
    }

    #[test]
    fn registries_share_places_however_many_names_they_have() {
        let mut lanes = Lanes::default();
        push(&mut lanes, "a", 100, true);
        push(&mut lanes, "b", 2, true);
        push(&mut lanes, "c", 2, true);
        assert_eq!(turns(&mut lanes, 8, 9), ["a", "b", "c", "a", "b", "c", "a", "a"]);
        lanes.push("b", &name("late"), true);
        assert_eq!(turns(&mut lanes, 1, 9), ["b"], "it has the fewest under way");
    }

    #[test]
    fn a_registry_gets_no_more_places_than_it_may() {
        let mut lanes = Lanes::default();
        push(&mut lanes, "a", 3, true);
        let ticket = lanes.push("a", &name("gone"), true);
        lanes.remove(&ticket);
        assert_eq!(turns(&mut lanes, 9, 2), ["a", "a"]);
        lanes.ended(&"a".into());
        assert_eq!(turns(&mut lanes, 9, 2), ["a"]);
        for _ in 0..3 {
            lanes.ended(&"a".into());
        }
        assert!(lanes.lanes.is_empty() && lanes.ready.is_empty(), "nothing is kept of who has no names");
    }

    #[test]
    fn what_is_new_comes_first_but_not_for_ever() {
        let mut lanes = Lanes::default();
        push(&mut lanes, "a", 20, false);
        for _ in 0..20 {
            lanes.push("a", &name("new"), true);
        }
        let names: Vec<String> = (0..12).map(|_| lanes.next(|_| 99).unwrap().0.to_string()).collect();
        let is_new: Vec<bool> = names.iter().map(|name| name.contains("new")).collect();
        assert_eq!(is_new.iter().filter(|new| !**new).count(), 1, "{names:?}");
        assert!(!is_new[8], "{names:?}");
    }
}
