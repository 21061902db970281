//! What is to be told about what, and when it is told again.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use kube::runtime::events::EventType;
use tokio::time::Instant;

use super::written::Written;
use crate::model::{Destination, Reference, WorkloadId};

/// How many topics are kept; each costs some KiB, and what fails together mostly has one cause.
pub(super) const MAX_TOPICS: usize = 4096;

/// What is told about. A further kind of news needs a further topic, and nothing else here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Topic {
    /// An image on its way to a destination.
    Image(Destination, Reference),
    /// An image of a workload that can't be decided.
    Undecided(WorkloadId, String),
    /// An image in cooldown that a workload wants.
    InCooldown(WorkloadId, Destination, Reference),
    /// A tag that may have been another source's.
    TagTaken(Destination),
    /// The program's own configuration.
    Configuration,
}

/// What there is to say about a topic.
#[derive(Clone, Debug)]
pub(super) struct Statement {
    pub kind: EventType,
    pub reason: &'static str,
    pub note: Arc<str>,
    /// The image that it is about besides the workloads.
    pub image: Option<String>,
    /// Whom it is told.
    pub workloads: Vec<WorkloadId>,
    /// Whether it holds until something else is said: then it is told again before the API server forgets it.
    pub lasts: bool,
}

/// What is to be told now.
#[derive(Clone, Debug)]
pub(super) struct Due {
    pub topic: Arc<Topic>,
    pub statement: Statement,
    /// What was written about this topic so far, the last for each workload.
    pub written: HashMap<WorkloadId, Written>,
}

struct Entry {
    statement: Statement,
    written: HashMap<WorkloadId, Written>,
    due: Option<u64>,
    timer: Option<(Instant, u64)>,
}

/// All topics about which something is to be told, or to be told again. What happens to one costs nothing for the
/// others.
pub(super) struct Board {
    entries: HashMap<Arc<Topic>, Entry>,
    /// In the order in which something was said.
    due: BTreeMap<u64, Arc<Topic>>,
    timers: BTreeMap<(Instant, u64), Arc<Topic>>,
    counter: u64,
    renewal: Duration,
}

impl Board {
    /// What lasts is told again every `renewal`.
    pub fn new(renewal: Duration) -> Self {
        Self { entries: HashMap::new(), due: BTreeMap::new(), timers: BTreeMap::new(), counter: 0, renewal }
    }

    /// This is to be told, and nothing else about that topic any more. Answers false when there are too many topics.
    pub fn say(&mut self, topic: Topic, statement: Statement) -> bool {
        let (topic, written, due) = match self.take_out(&topic) {
            Some((topic, entry)) => (topic, entry.written, entry.due),
            None if self.entries.len() >= MAX_TOPICS => return false,
            None => (Arc::new(topic), HashMap::new(), None),
        };
        // What waits keeps its turn.
        let due = due.unwrap_or_else(|| self.count());
        self.due.insert(due, Arc::clone(&topic));
        self.entries.insert(topic, Entry { statement, written, due: Some(due), timer: None });
        true
    }

    /// Nothing is to be told about that topic any more.
    pub fn withdraw(&mut self, topic: &Topic) {
        self.take_out(topic);
    }

    /// Whether something that lasts is told about that topic.
    pub fn lasts(&self, topic: &Topic) -> bool {
        self.entries.get(topic).is_some_and(|entry| entry.statement.lasts)
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What is to be told now, the longest waiting first. To be answered with [`Self::told`] or [`Self::put_off`].
    pub fn next(&mut self, now: Instant) -> Option<Due> {
        while let Some(timer) = self.timers.first_entry().filter(|timer| timer.key().0 <= now) {
            let topic = timer.remove();
            let due = self.count();
            if let Some(entry) = self.entries.get_mut(&topic) {
                (entry.timer, entry.due) = (None, Some(due));
                self.due.insert(due, topic);
            }
        }
        let (_, topic) = self.due.pop_first()?;
        let entry = self.entries.get_mut(&topic)?;
        entry.due = None;
        Some(Due { topic, statement: entry.statement.clone(), written: entry.written.clone() })
    }

    /// When there is something to be told again at the soonest.
    pub fn next_timer(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// It was told.
    pub fn told(&mut self, topic: &Topic, written: HashMap<WorkloadId, Written>, now: Instant) {
        let lasts = self.lasts(topic);
        match self.entries.get_mut(topic) {
            Some(entry) if !lasts && entry.due.is_none() => self.withdraw(topic),
            Some(entry) => {
                entry.written = written;
                self.set_timer(topic, now + self.renewal);
            }
            None => {}
        }
    }

    /// It could not be told. What lasts is tried again then; answers false for what does not, and is let go.
    pub fn put_off(&mut self, topic: &Topic, written: HashMap<WorkloadId, Written>, until: Instant) -> bool {
        let lasts = self.lasts(topic);
        match self.entries.get_mut(topic) {
            Some(entry) if !lasts && entry.due.is_none() => {
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
        let timer = (at, self.count());
        let Some((key, _)) = self.entries.get_key_value(topic) else { return };
        let key = Arc::clone(key);
        if let Some(entry) = self.entries.get_mut(topic).filter(|entry| entry.due.is_none()) {
            entry.timer = Some(timer);
            self.timers.insert(timer, key);
        }
    }

    fn take_out(&mut self, topic: &Topic) -> Option<(Arc<Topic>, Entry)> {
        let (topic, entry) = self.entries.remove_entry(topic)?;
        if let Some(due) = entry.due {
            self.due.remove(&due);
        }
        if let Some(timer) = entry.timer {
            self.timers.remove(&timer);
        }
        Some((topic, entry))
    }

    fn count(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WorkloadKind;

    const RENEWAL: Duration = Duration::from_secs(1800);

    fn topic(number: usize) -> Topic {
        let workload =
            WorkloadId { kind: WorkloadKind::Pod, namespace: "shop".to_owned(), name: format!("pod-{number}") };
        Topic::Undecided(workload, "Nginx".to_owned())
    }

    fn statement(note: &str, lasts: bool) -> Statement {
        let (kind, workloads) = (EventType::Warning, Vec::new());
        Statement { kind, reason: "MirrorFailed", note: note.into(), image: None, workloads, lasts }
    }

    /// What is told now.
    fn next(board: &mut Board, now: Instant) -> Option<String> {
        let due = board.next(now)?;
        board.told(&due.topic, due.written, now);
        Some(due.statement.note.to_string())
    }

    #[test]
    fn only_the_last_word_is_told_in_the_order_of_the_first() {
        let (now, mut board) = (Instant::now(), Board::new(RENEWAL));
        for (number, note) in [(1, "down"), (2, "denied"), (1, "missing")] {
            assert!(board.say(topic(number), statement(note, true)));
        }
        assert_eq!(next(&mut board, now).as_deref(), Some("missing"));
        assert_eq!(next(&mut board, now).as_deref(), Some("denied"));
        assert_eq!(next(&mut board, now), None);
    }

    #[test]
    fn what_lasts_is_told_again_until_it_is_withdrawn() {
        let (mut now, mut board) = (Instant::now(), Board::new(RENEWAL));
        board.say(topic(1), statement("down", true));
        board.say(topic(2), statement("done", false));
        assert_eq!(next(&mut board, now).as_deref(), Some("down"));
        assert_eq!(next(&mut board, now).as_deref(), Some("done"));
        assert!(!board.lasts(&topic(2)) && board.entries.len() == 1, "what is only news is told once");
        for _ in 0..3 {
            assert_eq!((next(&mut board, now), board.next_timer()), (None, Some(now + RENEWAL)));
            now += RENEWAL;
            assert_eq!(next(&mut board, now).as_deref(), Some("down"));
        }
        board.withdraw(&topic(1));
        assert_eq!((next(&mut board, now + RENEWAL), board.next_timer()), (None, None));
        assert!(board.is_empty() && board.due.is_empty());
    }

    #[test]
    fn what_could_not_be_told_is_tried_again_if_it_lasts() {
        let (now, mut board) = (Instant::now(), Board::new(RENEWAL));
        let later = now + Duration::from_secs(60);
        for lasts in [true, false] {
            board.say(topic(1), statement("down", lasts));
            let due = board.next(now).unwrap();
            assert_eq!(board.put_off(&due.topic, due.written, later), lasts);
            assert_eq!(next(&mut board, now), None);
            assert_eq!(next(&mut board, later).is_some(), lasts);
        }
        assert!(board.is_empty() && board.timers.is_empty());
    }

    #[test]
    fn what_is_said_while_it_is_told_is_told_next() {
        let (now, mut board) = (Instant::now(), Board::new(RENEWAL));
        board.say(topic(1), statement("down", true));
        let due = board.next(now).unwrap();
        board.say(topic(1), statement("done", false));
        board.told(&due.topic, due.written, now);
        assert_eq!(next(&mut board, now).as_deref(), Some("done"));
        assert!(board.is_empty() && board.timers.is_empty());
    }

    #[test]
    fn topics_are_bounded_and_come_and_go_without_a_trace() {
        let (now, mut board) = (Instant::now(), Board::new(RENEWAL));
        for number in 0..MAX_TOPICS {
            assert!(board.say(topic(number), statement("down", true)));
        }
        assert!(!board.say(topic(MAX_TOPICS), statement("down", true)));
        assert!(board.say(topic(0), statement("denied", true)), "a known one may change");
        while next(&mut board, now).is_some() {}
        for number in 0..MAX_TOPICS {
            board.withdraw(&topic(number));
        }
        assert!(board.entries.is_empty() && board.due.is_empty() && board.timers.is_empty());
    }
}
