//! Which names are due. A state machine without a clock of its own: whoever calls says what time it is. What an event
//! costs does not depend on how many names there are.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::model::{Reference, Retry};

use super::{
    claims::Name,
    lanes::{Lanes, Ticket},
    timers::Timers,
};

/// What an image rests for after a first failure that may pass by itself; it doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// The same after one that somebody has to mend: many images are pushed seconds after what runs them is deployed.
const FIRST_PAUSE_FOR_A_CHANGE: Duration = Duration::from_secs(15);
/// The longest pause where no cooldown is configured.
const LONGEST_PAUSE_WITHOUT_COOLDOWN: Duration = Duration::from_secs(16 * 60);
/// So long after it failed an image is tried again that somebody wants anew, whatever its cooldown: not at once, since
/// somebody may want it anew many times a second.
const PAUSE_BEFORE_A_NEW_WISH: Duration = Duration::from_secs(60);

/// The names that wait, are being worked on, or rest after a failure.
#[derive(Debug)]
pub struct Queue {
    cooldown: Option<Duration>,
    entries: HashMap<Name, Entry>,
    lanes: Lanes,
    timers: Timers<Name>,
    lengths: Lengths,
}

#[derive(Debug)]
struct Entry {
    phase: Phase,
    /// What failed under this name, by what was asked for.
    failed: HashMap<Reference, Failed>,
    /// Whether the source is to be asked what the tag means, the next time the name is worked on.
    resolve_tag: bool,
}

#[derive(Debug)]
enum Phase {
    Waiting(Ticket),
    Active {
        host: Arc<str>,
        /// Somebody wanted it anew meanwhile: what has made it fail may have been mended since it began.
        is_wanted_anew: bool,
        /// It has to be looked at once more.
        again: bool,
    },
    Resting,
    /// As resting, but nobody wants it: remembered for a moment, so that who makes the same object anew many times a
    /// second is no reason to ask a registry as often.
    Unwanted,
}

#[derive(Debug)]
struct Failed {
    failures: u32,
    at: Instant,
    until: Instant,
    error: Arc<str>,
}

/// How many names are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lengths {
    /// Due, and waiting for their turn.
    pub waiting: usize,
    /// Being worked on.
    pub active: usize,
    /// Failed, and not due yet.
    pub cooling: usize,
}

/// Why a name is to be worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Somebody asks for something new or changed.
    New,
    /// All is looked at once more, and the source asked.
    Pass,
    /// Something else has changed: what it gets, or what is copied with.
    Change,
}

/// What became of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It waits for its turn.
    Queued,
    /// It is being worked on just now.
    Active,
    /// It failed before, and is not due.
    Cooling {
        /// When it is.
        until: Instant,
        /// Why it failed.
        error: Arc<str>,
    },
}

/// A name to work on.
#[derive(Debug)]
pub struct Next {
    /// Which.
    pub name: Name,
    /// Whether the source is to be asked what the tag means.
    pub resolve_tag: bool,
}

impl Queue {
    /// `cooldown` is how long an image rests at most after a failure; none keeps no such state: then a new wish ends a
    /// pause, and pauses are not told or cleared as cooldowns.
    pub fn new(cooldown: Option<Duration>) -> Self {
        Self {
            cooldown,
            entries: HashMap::new(),
            lanes: Lanes::default(),
            timers: Timers::default(),
            lengths: Lengths::default(),
        }
    }

    /// Somebody wants `source` to be looked at under this name; its turn belongs to the registry `host`.
    pub fn want(&mut self, name: &Name, source: &Reference, host: &str, cause: Cause, now: Instant) -> Admission {
        let Some(entry) = self.entries.get_mut(name) else {
            self.wait(name, host, cause);
            return Admission::Queued;
        };
        let mut admission = None;
        if let Some(failed) = entry.failed.get_mut(source).filter(|failed| failed.until > now) {
            match self.cooldown {
                Some(_) if cause == Cause::Pass => {}
                Some(_) => failed.until = failed.until.min(failed.at + PAUSE_BEFORE_A_NEW_WISH).max(now),
                None => failed.until = now,
            }
            if failed.until > now {
                admission = Some(Admission::Cooling { until: failed.until, error: Arc::clone(&failed.error) });
            }
        }
        entry.resolve_tag |= cause == Cause::Pass && admission.is_none();
        match &mut entry.phase {
            Phase::Waiting(ticket) => {
                if cause == Cause::New && !ticket.is_new && admission.is_none() {
                    self.lanes.remove(ticket);
                    *ticket = self.lanes.push(host, name, true);
                }
                admission.unwrap_or(Admission::Queued)
            }
            Phase::Active { is_wanted_anew, again, .. } => {
                *is_wanted_anew |= admission.is_none();
                *again |= cause == Cause::Pass && admission.is_none();
                admission.unwrap_or(Admission::Active)
            }
            Phase::Resting | Phase::Unwanted => match admission {
                Some(admission) => {
                    self.rest(name);
                    admission
                }
                None => {
                    self.wait(name, host, cause);
                    Admission::Queued
                }
            },
        }
    }

    /// Whether it waits for its turn or is being worked on.
    pub fn is_due(&self, name: &Name) -> bool {
        matches!(self.entries.get(name).map(|entry| &entry.phase), Some(Phase::Waiting(_) | Phase::Active { .. }))
    }

    /// Until when `source` rests under this name, and why; none where it does not.
    pub fn resting(&self, name: &Name, source: &Reference, now: Instant) -> Option<(Instant, Arc<str>)> {
        let failed = self.entries.get(name)?.failed.get(source)?;
        (failed.until > now).then(|| (failed.until, Arc::clone(&failed.error)))
    }

    /// The next name to work on; `limit` says of how many of a registry's names this may be so at once.
    pub fn next(&mut self, limit: impl Fn(&str) -> usize) -> Option<Next> {
        let (name, host) = self.lanes.next(limit)?;
        let active = Phase::Active { host, is_wanted_anew: false, again: false };
        self.enter(&name, active);
        let entry = self.entries.get_mut(&name);
        let resolve_tag = entry.is_some_and(|entry| std::mem::take(&mut entry.resolve_tag));
        Some(Next { name, resolve_tag })
    }

    /// It is being worked on, and `source` is where it should be.
    pub fn succeeded(&mut self, name: &Name, source: &Reference) {
        if let Some(entry) = self.entries.get_mut(name) {
            entry.failed.remove(source);
        }
    }

    /// It is being worked on, and `source` could not be brought; answers how long it rests.
    pub fn failed(&mut self, name: &Name, source: &Reference, error: &str, retry: Retry, now: Instant) -> Duration {
        let longest = self.cooldown.unwrap_or(LONGEST_PAUSE_WITHOUT_COOLDOWN);
        let Some(entry) = self.entries.get_mut(name) else { return longest };
        let failures = match &entry.phase {
            Phase::Active { is_wanted_anew: true, .. } => 0,
            _ => entry.failed.get(source).map_or(0, |failed| failed.failures),
        };
        let doubled = |first: Duration| first.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX));
        let pause = match retry {
            Retry::Soon => doubled(FIRST_PAUSE),
            Retry::After(asked) => asked.max(FIRST_PAUSE),
            Retry::Later => doubled(FIRST_PAUSE_FOR_A_CHANGE),
        }
        .min(longest);
        let failed =
            Failed { failures: failures.saturating_add(1), at: now, until: now + pause, error: Arc::from(error) };
        entry.failed.insert(source.clone(), failed);
        pause
    }

    /// It is being worked on, but `source` was not tried and rests until then. Does not count as a failure of it.
    pub fn postpone(&mut self, name: &Name, source: &Reference, error: &str, until: Instant, now: Instant) {
        if let Some(entry) = self.entries.get_mut(name) {
            let failures = entry.failed.get(source).map_or(0, |failed| failed.failures);
            entry.failed.insert(source.clone(), Failed { failures, at: now, until, error: Arc::from(error) });
        }
    }

    /// The work on it is over. Answers whether it waits for its turn once more, as it does for `again`.
    pub fn ended(&mut self, name: &Name, host: &str, again: bool) -> bool {
        let Some(entry) = self.entries.get_mut(name) else { return false };
        let Phase::Active { again: asked_again, .. } = entry.phase else { return true };
        if again || asked_again {
            self.wait(name, host, Cause::Change);
            return true;
        }
        if entry.failed.is_empty() {
            self.leave(name);
        } else {
            self.rest(name);
        }
        false
    }

    /// Nobody wants it any more. What is being worked on ends first.
    pub fn forget(&mut self, name: &Name) {
        let Some(entry) = self.entries.get(name) else { return };
        if matches!(entry.phase, Phase::Active { .. }) {
            return;
        }
        let remembered = entry.failed.values().map(|failed| failed.at + PAUSE_BEFORE_A_NEW_WISH).max();
        match remembered {
            None => self.leave(name),
            Some(until) => {
                self.enter(name, Phase::Unwanted);
                self.timers.set(name, until);
            }
        }
    }

    /// Puts what has rested long enough back in line. `host` says to which registry a name's turn belongs; none of one
    /// that nobody wants.
    pub fn wake(&mut self, now: Instant, host: impl Fn(&Name) -> Option<String>) {
        while let Some(name) = self.timers.pop(now) {
            match host(&name) {
                Some(host) => self.wait(&name, &host, Cause::Change),
                None => self.leave(&name),
            }
        }
    }

    /// When [`Self::wake`] has something to do next.
    pub fn next_wake(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// How long an image rests at most, from the next failure on.
    pub fn set_cooldown(&mut self, cooldown: Option<Duration>) {
        self.cooldown = cooldown;
    }

    /// Ends all cooldowns; answers for how many names, or nothing where none are kept. What is being worked on counts
    /// from then on as if it had never failed.
    pub fn reset_cooldown(&mut self, host: impl Fn(&Name) -> Option<String>) -> Option<usize> {
        self.cooldown?;
        let mut resting = Vec::new();
        for (name, entry) in &mut self.entries {
            entry.failed.clear();
            match &mut entry.phase {
                Phase::Active { is_wanted_anew, .. } => *is_wanted_anew = true,
                Phase::Resting | Phase::Unwanted => resting.push(name.clone()),
                Phase::Waiting(_) => {}
            }
        }
        let mut cleared = 0;
        for name in resting {
            match host(&name) {
                Some(host) => {
                    cleared += 1;
                    self.wait(&name, &host, Cause::Change);
                }
                None => self.leave(&name),
            }
        }
        Some(cleared)
    }

    /// Registries have other limits than when they were last asked for their next name.
    pub fn limits_changed(&mut self) {
        self.lanes.rank_all();
    }

    /// How many names are in which state.
    pub fn lengths(&self) -> Lengths {
        self.lengths
    }

    fn wait(&mut self, name: &Name, host: &str, cause: Cause) {
        let ticket = self.lanes.push(host, name, cause == Cause::New);
        self.enter(name, Phase::Waiting(ticket));
        if let Some(entry) = self.entries.get_mut(name) {
            entry.resolve_tag |= cause == Cause::Pass;
        }
    }

    /// It rests until the first of what failed is due.
    fn rest(&mut self, name: &Name) {
        let Some(entry) = self.entries.get(name) else { return };
        if let Some(until) = entry.failed.values().map(|failed| failed.until).min() {
            self.enter(name, Phase::Resting);
            self.timers.set(name, until);
        }
    }

    fn enter(&mut self, name: &Name, phase: Phase) {
        self.timers.remove(name);
        count(&mut self.lengths, &phase, 1);
        let before = match self.entries.get_mut(name) {
            Some(entry) => Some(std::mem::replace(&mut entry.phase, phase)),
            None => {
                let entry = Entry { phase, failed: HashMap::new(), resolve_tag: false };
                self.entries.insert(name.clone(), entry);
                None
            }
        };
        self.left(before);
    }

    fn leave(&mut self, name: &Name) {
        self.timers.remove(name);
        let before = self.entries.remove(name).map(|entry| entry.phase);
        self.left(before);
    }

    fn left(&mut self, phase: Option<Phase>) {
        let Some(phase) = phase else { return };
        count(&mut self.lengths, &phase, -1);
        match phase {
            Phase::Waiting(ticket) => self.lanes.remove(&ticket),
            Phase::Active { host, .. } => self.lanes.ended(&host),
            Phase::Resting | Phase::Unwanted => {}
        }
    }
}

fn count(lengths: &mut Lengths, phase: &Phase, change: isize) {
    let length = match phase {
        Phase::Waiting(_) => &mut lengths.waiting,
        Phase::Active { .. } => &mut lengths.active,
        Phase::Resting => &mut lengths.cooling,
        Phase::Unwanted => return,
    };
    *length = length.saturating_add_signed(change);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mirror::testing::name;

    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);

    fn image(text: &str) -> Reference {
        text.parse().unwrap()
    }

    /// A name, a source, and a queue with that cooldown.
    fn queue(cooldown: Option<Duration>) -> (Queue, Name, Reference, Instant) {
        (Queue::new(cooldown), name("a"), image("app:1"), Instant::now())
    }

    fn next(queue: &mut Queue) -> Option<Name> {
        queue.next(|_| 99).map(|next| next.name)
    }

    fn woken(queue: &mut Queue, now: Instant) {
        queue.wake(now, |_| Some("docker.io".to_owned()));
    }

    /// Lets it fail once, from a wish on.
    fn fail(queue: &mut Queue, name: &Name, source: &Reference, retry: Retry, now: Instant) -> Duration {
        if !queue.is_due(name) {
            assert_eq!(queue.want(name, source, "docker.io", Cause::New, now), Admission::Queued);
        }
        assert_eq!(next(queue).as_ref(), Some(name));
        let pause = queue.failed(name, source, "no", retry, now);
        assert!(!queue.ended(name, "docker.io", false));
        pause
    }

    fn cooling(queue: &mut Queue, name: &Name, source: &Reference, cause: Cause, now: Instant) -> Option<Duration> {
        match queue.want(name, source, "docker.io", cause, now) {
            Admission::Cooling { until, .. } => Some(until - now),
            Admission::Queued => None,
            Admission::Active => panic!("it is being worked on"),
        }
    }

    #[test]
    fn a_name_is_worked_on_once_however_many_want_it() {
        let (mut queue, a, app, now) = queue(Some(60 * MINUTE));
        queue.want(&a, &app, "docker.io", Cause::New, now);
        queue.want(&a, &app, "docker.io", Cause::New, now);
        assert_eq!(next(&mut queue), Some(a.clone()));
        assert_eq!(queue.want(&a, &app, "docker.io", Cause::New, now), Admission::Active);
        assert_eq!(next(&mut queue), None);
        queue.succeeded(&a, &app);
        assert!(!queue.ended(&a, "docker.io", false));
        assert_eq!(queue.lengths(), Lengths::default());
        assert!(queue.entries.is_empty());
    }

    #[test]
    fn what_passes_by_itself_is_tried_after_a_minute_doubling_up_to_the_cooldown() {
        let (mut queue, a, app, mut now) = queue(Some(5 * MINUTE));
        for pause in [1, 2, 4, 5, 5] {
            assert_eq!(fail(&mut queue, &a, &app, Retry::Soon, now), pause * MINUTE);
            assert!(cooling(&mut queue, &a, &app, Cause::Pass, now).is_some(), "a pass does not end it");
            now = queue.next_wake().unwrap();
            woken(&mut queue, now);
        }
    }

    #[test]
    fn what_somebody_must_mend_is_tried_soon_and_ever_later_up_to_the_cooldown() {
        let (mut queue, a, app, mut now) = queue(Some(1440 * MINUTE));
        for seconds in [15, 30, 60, 120, 240, 480] {
            assert_eq!(fail(&mut queue, &a, &app, Retry::Later, now), seconds * SECOND);
            now = queue.next_wake().unwrap();
            woken(&mut queue, now);
        }
        for _ in 0..20 {
            fail(&mut queue, &a, &app, Retry::Later, now);
            now = queue.next_wake().unwrap();
            woken(&mut queue, now);
        }
        assert_eq!(fail(&mut queue, &a, &app, Retry::Later, now), 1440 * MINUTE);
        assert_eq!(queue.lengths(), Lengths { cooling: 1, ..Lengths::default() });
        let all = |_: &Name| Some("docker.io".to_owned());
        assert_eq!(queue.reset_cooldown(all), Some(1));
        assert_eq!(fail(&mut queue, &a, &app, Retry::Later, now), 15 * SECOND, "it starts over");
        assert_eq!(queue.reset_cooldown(all), Some(1));
        assert_eq!(queue.reset_cooldown(all), Some(0));
    }

    /// Fails so often that it rests for hours.
    fn worn_out(queue: &mut Queue, name: &Name, source: &Reference, now: &mut Instant) {
        for _ in 0..20 {
            fail(queue, name, source, Retry::Later, *now);
            *now = queue.next_wake().unwrap();
            woken(queue, *now);
        }
        fail(queue, name, source, Retry::Later, *now);
    }

    #[test]
    fn a_cooldown_belongs_to_what_was_asked_for() {
        let (mut queue, a, app, mut now) = queue(Some(1440 * MINUTE));
        worn_out(&mut queue, &a, &app, &mut now);
        let other = image(&format!("app:1@sha256:{}", "1".repeat(64)));
        assert_eq!(cooling(&mut queue, &a, &other, Cause::New, now), None, "another digest is tried at once");
        assert_eq!(next(&mut queue), Some(a.clone()));
        assert!(queue.resting(&a, &app, now).is_some() && queue.resting(&a, &other, now).is_none());
        queue.succeeded(&a, &other);
        assert!(!queue.ended(&a, "docker.io", false));
        assert_eq!(queue.lengths(), Lengths { cooling: 1, ..Lengths::default() }, "the first one rests on");
    }

    #[test]
    fn who_wants_it_anew_does_not_wait_a_cooldown_out() {
        let (mut queue, a, app, mut now) = queue(Some(1440 * MINUTE));
        worn_out(&mut queue, &a, &app, &mut now);
        now += 10 * SECOND;
        assert_eq!(cooling(&mut queue, &a, &app, Cause::New, now), Some(50 * SECOND), "but not many times a minute");
        assert_eq!(queue.next_wake(), Some(now + 50 * SECOND));
        now += 50 * SECOND;
        assert_eq!(cooling(&mut queue, &a, &app, Cause::New, now), None);
    }

    #[test]
    fn a_fix_while_it_is_tried_is_not_lost() {
        let (mut queue, a, app, mut now) = queue(Some(1440 * MINUTE));
        worn_out(&mut queue, &a, &app, &mut now);
        now = queue.next_wake().unwrap();
        woken(&mut queue, now);
        assert_eq!(next(&mut queue), Some(a.clone()));
        assert_eq!(queue.want(&a, &app, "docker.io", Cause::New, now), Admission::Active);
        assert_eq!(queue.failed(&a, &app, "no", Retry::Later, now), 15 * SECOND, "it began before the fix");
    }

    #[test]
    fn an_object_made_anew_again_and_again_is_no_reason_to_ask_as_often() {
        let (mut queue, a, app, now) = queue(Some(1440 * MINUTE));
        fail(&mut queue, &a, &app, Retry::Later, now);
        queue.forget(&a);
        assert_eq!(queue.lengths(), Lengths::default(), "nobody waits for it");
        assert_eq!(cooling(&mut queue, &a, &app, Cause::New, now), Some(15 * SECOND));
        queue.forget(&a);
        queue.wake(now + MINUTE, |_| None);
        assert!(queue.entries.is_empty() && queue.timers.is_empty());
    }

    #[test]
    fn a_pass_asks_the_source_even_where_the_name_is_being_worked_on() {
        let (mut queue, a, app, now) = queue(None);
        queue.want(&a, &app, "docker.io", Cause::New, now);
        assert!(!queue.next(|_| 1).unwrap().resolve_tag);
        assert_eq!(queue.want(&a, &app, "docker.io", Cause::Pass, now), Admission::Active);
        queue.succeeded(&a, &app);
        assert!(queue.ended(&a, "docker.io", false), "what has been under way did not ask");
        assert!(queue.next(|_| 1).unwrap().resolve_tag);
        assert!(!queue.ended(&a, "docker.io", false));
    }

    #[test]
    fn a_registry_may_ask_for_a_pause_within_the_cooldown() {
        let (mut queue, a, app, now) = queue(Some(60 * MINUTE));
        assert_eq!(fail(&mut queue, &a, &app, Retry::After(10 * MINUTE), now), 10 * MINUTE);
        let now = queue.next_wake().unwrap();
        woken(&mut queue, now);
        assert_eq!(fail(&mut queue, &a, &app, Retry::After(600 * MINUTE), now), 60 * MINUTE);
    }

    #[test]
    fn without_a_cooldown_a_new_wish_ends_a_pause_and_nothing_can_be_reset() {
        let (mut queue, a, app, now) = queue(None);
        assert_eq!(fail(&mut queue, &a, &app, Retry::Soon, now), MINUTE, "it still backs off");
        assert_eq!(queue.reset_cooldown(|_| None), None);
        assert_eq!(cooling(&mut queue, &a, &app, Cause::New, now), None);
    }

    #[test]
    fn a_forgotten_name_does_not_come_up() {
        let (mut queue, a, app, now) = queue(None);
        let b = name("b");
        queue.want(&a, &app, "docker.io", Cause::New, now);
        queue.want(&b, &app, "docker.io", Cause::New, now);
        queue.forget(&a);
        assert_eq!(next(&mut queue), Some(b));
        assert_eq!(queue.lengths(), Lengths { active: 1, ..Lengths::default() });
    }

    #[test]
    fn what_was_not_tried_has_not_failed_once_more() {
        let (mut queue, a, app, now) = queue(Some(1440 * MINUTE));
        queue.want(&a, &app, "docker.io", Cause::New, now);
        assert_eq!(next(&mut queue), Some(a.clone()));
        queue.postpone(&a, &app, "its registry does not answer", now + MINUTE, now);
        assert!(!queue.ended(&a, "docker.io", false));
        woken(&mut queue, now + MINUTE);
        assert_eq!(fail(&mut queue, &a, &app, Retry::Soon, now + MINUTE), MINUTE);
    }
}
