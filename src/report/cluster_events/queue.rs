//! The queue of events to write, and to repeat. It has no clock and no I/O.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    notice::{Notice, Topic},
    writer::WrittenEvent,
};
use crate::model::WorkloadId;

/// The largest number of topics; each costs some KiB, and simultaneous failures mostly have one cause.
pub(super) const MAX_TOPICS: usize = 4096;

/// A notice to write now.
#[derive(Clone, Debug)]
pub(super) struct DueNotice {
    pub topic: Arc<Topic>,
    pub notice: Notice,
    /// The last event about this topic for each workload.
    pub written: HashMap<WorkloadId, WrittenEvent>,
}

struct Entry {
    notice: Notice,
    written: HashMap<WorkloadId, WrittenEvent>,
    due: Option<u64>,
    timer: Option<(Instant, u64)>,
}

/// All topics with an event to write or to repeat.
pub(super) struct EventQueue {
    entries: HashMap<Arc<Topic>, Entry>,
    /// In the order of their first notice.
    due: BTreeMap<u64, Arc<Topic>>,
    timers: BTreeMap<(Instant, u64), Arc<Topic>>,
    counter: u64,
    repeat_interval: Duration,
}

impl EventQueue {
    /// Lasting notices are repeated every `repeat_interval`.
    pub fn new(repeat_interval: Duration) -> Self {
        Self { entries: HashMap::new(), due: BTreeMap::new(), timers: BTreeMap::new(), counter: 0, repeat_interval }
    }

    /// Sets the notice of a topic. False if there are too many topics.
    pub fn enqueue(&mut self, topic: Topic, notice: Notice) -> bool {
        let (topic, written, due) = match self.take_entry(&topic) {
            Some((topic, entry)) => (topic, entry.written, entry.due),
            None if self.entries.len() >= MAX_TOPICS => return false,
            None => (Arc::new(topic), HashMap::new(), None),
        };
        // A waiting topic keeps its position.
        let due = due.unwrap_or_else(|| self.next_number());
        self.due.insert(due, Arc::clone(&topic));
        self.entries.insert(topic, Entry { notice, written, due: Some(due), timer: None });
        true
    }

    /// Drops the notice of a topic.
    pub fn withdraw(&mut self, topic: &Topic) {
        self.take_entry(topic);
    }

    /// Whether the topic has a lasting notice.
    pub fn is_lasting(&self, topic: &Topic) -> bool {
        self.entries.get(topic).is_some_and(|entry| entry.notice.is_lasting)
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The next notice to write. The caller reports the result with [`Self::mark_written`] or [`Self::postpone`].
    pub fn next(&mut self, now: Instant) -> Option<DueNotice> {
        while let Some(timer) = self.timers.first_entry().filter(|timer| timer.key().0 <= now) {
            let topic = timer.remove();
            let due = self.next_number();
            if let Some(entry) = self.entries.get_mut(&topic) {
                (entry.timer, entry.due) = (None, Some(due));
                self.due.insert(due, topic);
            }
        }
        let (_, topic) = self.due.pop_first()?;
        let entry = self.entries.get_mut(&topic)?;
        entry.due = None;
        Some(DueNotice { topic, notice: entry.notice.clone(), written: entry.written.clone() })
    }

    /// When the next notice has to be repeated.
    pub fn next_timer(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    pub fn mark_written(&mut self, topic: &Topic, written: HashMap<WorkloadId, WrittenEvent>, now: Instant) {
        let is_lasting = self.is_lasting(topic);
        match self.entries.get_mut(topic) {
            Some(entry) if !is_lasting && entry.due.is_none() => self.withdraw(topic),
            Some(entry) => {
                entry.written = written;
                self.set_timer(topic, now + self.repeat_interval);
            }
            None => {}
        }
    }

    /// Writing has failed. A lasting notice is retried at `until`; any other is dropped, and false is returned.
    pub fn postpone(&mut self, topic: &Topic, written: HashMap<WorkloadId, WrittenEvent>, until: Instant) -> bool {
        let is_lasting = self.is_lasting(topic);
        match self.entries.get_mut(topic) {
            Some(entry) if !is_lasting && entry.due.is_none() => {
                self.withdraw(topic);
                false
            }
            Some(entry) => {
                entry.written = written;
                self.set_timer(topic, until);
                true
            }
            None => true,
        }
    }

    fn set_timer(&mut self, topic: &Topic, at: Instant) {
        let timer = (at, self.next_number());
        let Some((key, _)) = self.entries.get_key_value(topic) else { return };
        let key = Arc::clone(key);
        if let Some(entry) = self.entries.get_mut(topic).filter(|entry| entry.due.is_none()) {
            entry.timer = Some(timer);
            self.timers.insert(timer, key);
        }
    }

    fn take_entry(&mut self, topic: &Topic) -> Option<(Arc<Topic>, Entry)> {
        let (topic, entry) = self.entries.remove_entry(topic)?;
        if let Some(due) = entry.due {
            self.due.remove(&due);
        }
        if let Some(timer) = entry.timer {
            self.timers.remove(&timer);
        }
        Some((topic, entry))
    }

    fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::events::EventType;

    use super::*;
    use crate::model::WorkloadKind;

    const REPEAT_INTERVAL: Duration = Duration::from_secs(1800);

    fn topic(number: usize) -> Topic {
        let workload =
            WorkloadId { kind: WorkloadKind::Pod, namespace: "shop".to_owned(), name: format!("pod-{number}") };
        Topic::Undecided(workload, "Nginx".to_owned())
    }

    fn notice(note: &str, is_lasting: bool) -> Notice {
        let (kind, workloads) = (EventType::Warning, Vec::new());
        Notice { kind, reason: "MirrorFailed", note: note.into(), image: None, workloads, is_lasting }
    }

    /// The note that is written now.
    fn next(queue: &mut EventQueue, now: Instant) -> Option<String> {
        let due = queue.next(now)?;
        queue.mark_written(&due.topic, due.written, now);
        Some(due.notice.note.to_string())
    }

    #[test]
    fn the_last_notice_is_written_in_the_order_of_the_first() {
        let (now, mut queue) = (Instant::now(), EventQueue::new(REPEAT_INTERVAL));
        for (number, note) in [(1, "down"), (2, "denied"), (1, "missing")] {
            assert!(queue.enqueue(topic(number), notice(note, true)));
        }
        assert_eq!(next(&mut queue, now).as_deref(), Some("missing"));
        assert_eq!(next(&mut queue, now).as_deref(), Some("denied"));
        assert_eq!(next(&mut queue, now), None);
    }

    #[test]
    fn lasting_notices_are_repeated_until_withdrawn() {
        let (mut now, mut queue) = (Instant::now(), EventQueue::new(REPEAT_INTERVAL));
        queue.enqueue(topic(1), notice("down", true));
        queue.enqueue(topic(2), notice("done", false));
        assert_eq!(next(&mut queue, now).as_deref(), Some("down"));
        assert_eq!(next(&mut queue, now).as_deref(), Some("done"));
        assert!(!queue.is_lasting(&topic(2)) && queue.entries.len() == 1, "other notices are written once");
        for _ in 0..3 {
            assert_eq!((next(&mut queue, now), queue.next_timer()), (None, Some(now + REPEAT_INTERVAL)));
            now += REPEAT_INTERVAL;
            assert_eq!(next(&mut queue, now).as_deref(), Some("down"));
        }
        queue.withdraw(&topic(1));
        assert_eq!((next(&mut queue, now + REPEAT_INTERVAL), queue.next_timer()), (None, None));
        assert!(queue.is_empty() && queue.due.is_empty());
    }

    #[test]
    fn failed_notices_are_retried_if_they_last() {
        let (now, mut queue) = (Instant::now(), EventQueue::new(REPEAT_INTERVAL));
        let later = now + Duration::from_secs(60);
        for is_lasting in [true, false] {
            queue.enqueue(topic(1), notice("down", is_lasting));
            let due = queue.next(now).unwrap();
            assert_eq!(queue.postpone(&due.topic, due.written, later), is_lasting);
            assert_eq!(next(&mut queue, now), None);
            assert_eq!(next(&mut queue, later).is_some(), is_lasting);
        }
        assert!(queue.is_empty() && queue.timers.is_empty());
    }

    #[test]
    fn a_notice_enqueued_during_writing_is_written_next() {
        let (now, mut queue) = (Instant::now(), EventQueue::new(REPEAT_INTERVAL));
        queue.enqueue(topic(1), notice("down", true));
        let due = queue.next(now).unwrap();
        queue.enqueue(topic(1), notice("done", false));
        queue.mark_written(&due.topic, due.written, now);
        assert_eq!(next(&mut queue, now).as_deref(), Some("done"));
        assert!(queue.is_empty() && queue.timers.is_empty());
    }

    #[test]
    fn topics_are_limited_and_leave_no_state() {
        let (now, mut queue) = (Instant::now(), EventQueue::new(REPEAT_INTERVAL));
        for number in 0..MAX_TOPICS {
            assert!(queue.enqueue(topic(number), notice("down", true)));
        }
        assert!(!queue.enqueue(topic(MAX_TOPICS), notice("down", true)));
        assert!(queue.enqueue(topic(0), notice("denied", true)), "an existing topic may change");
        while next(&mut queue, now).is_some() {}
        for number in 0..MAX_TOPICS {
            queue.withdraw(&topic(number));
        }
        assert!(queue.entries.is_empty() && queue.due.is_empty() && queue.timers.is_empty());
    }
}
