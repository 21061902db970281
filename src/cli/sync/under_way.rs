//! What is under way, for people.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::Arc,
    time::{Duration, Instant},
};

use super::rate::Rate;
use crate::{
    cli::terminal::{bytes, duration, shorten, text_width},
    model::{CopyProgress, Destination, printable},
};

/// Copies that a terminal shows by name.
const NAMES_ON_TERMINAL: usize = 8;
/// Copies that a line names.
const NAMES_IN_LINE: usize = 3;
/// Shorter pauses of a transfer are not worth a word.
const NOTABLE_PAUSE: Duration = Duration::from_secs(5);
/// A name is not shortened to less.
const MIN_NAME: usize = 20;

/// The copies that have begun and not ended.
#[derive(Debug, Default)]
pub struct UnderWay {
    copies: BTreeMap<Key, Copy>,
    /// Destinations that wait for a permit.
    waiting: usize,
    done: usize,
    bytes: u64,
    rate: Rate,
}

/// Target, repository, tag and source: a copy by digest learns its digest on the way.
type Key = (String, String, Option<String>, String);

#[derive(Debug)]
struct Copy {
    name: String,
    progress: Arc<CopyProgress>,
    started: Instant,
    rate: Rate,
}

fn key(source: &impl Display, destination: &Destination) -> Key {
    (destination.target.name.clone(), destination.repository.clone(), destination.tag.clone(), source.to_string())
}

impl UnderWay {
    /// `source` is the name that is shown.
    pub fn start(&mut self, source: &impl Display, destination: &Destination, progress: &Arc<CopyProgress>) {
        let name = printable(&source.to_string()).into_owned();
        let copy = Copy { name, progress: Arc::clone(progress), started: Instant::now(), rate: Rate::default() };
        self.copies.insert(key(source, destination), copy);
    }

    pub fn finish(&mut self, source: &impl Display, destination: &Destination) {
        self.copies.remove(&key(source, destination));
        self.done += 1;
    }

    pub fn set_waiting(&mut self, waiting: usize) {
        self.waiting = waiting;
    }

    pub fn add_bytes(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub fn is_empty(&self) -> bool {
        self.copies.is_empty()
    }

    /// Measures the rates.
    pub fn measure(&mut self, now: Instant) {
        self.rate.record(now, self.bytes);
        for copy in self.copies.values_mut().filter(|copy| copy.progress.total().is_some()) {
            copy.rate.record(now, copy.progress.done());
        }
    }

    /// The lines for a terminal, each of at most `width` columns.
    pub fn lines(&self, now: Instant, width: usize) -> Vec<String> {
        let mut lines = vec![shorten(&self.totals(), width)];
        let shown = self.shown();
        for copy in shown.iter().take(NAMES_ON_TERMINAL) {
            let state = copy.state(now);
            let space = width.saturating_sub(4 + text_width(&state)).max(MIN_NAME);
            let name = shorten(&copy.name, space);
            let padding = space.saturating_sub(text_width(&name));
            lines.push(shorten(&format!("  {name}{:padding$}  {state}", ""), width));
        }
        if shown.len() > NAMES_ON_TERMINAL {
            lines.push(format!("  and {} more", shown.len() - NAMES_ON_TERMINAL));
        }
        lines
    }

    /// The same in one line.
    pub fn line(&self, now: Instant) -> String {
        let shown = self.shown();
        let mut named: Vec<_> =
            shown.iter().take(NAMES_IN_LINE).map(|copy| format!("{}: {}", copy.name, copy.state(now))).collect();
        if shown.len() > NAMES_IN_LINE {
            named.push(format!("and {} more", shown.len() - NAMES_IN_LINE));
        }
        format!("{}; {}", self.totals(), named.join("; "))
    }

    fn totals(&self) -> String {
        let mut totals = format!("{} done, {} under way, {} waiting", self.done, self.copies.len(), self.waiting);
        if self.bytes > 0 {
            totals += &format!(", {} sent", bytes(self.bytes));
        }
        if let Some(rate) = self.rate.per_second().filter(|rate| *rate > 0) {
            totals += &format!(", {}/s", bytes(rate));
            if let Some(left) = self.bytes_left() {
                totals += &format!(", {} left", time_left(left, rate));
            }
        }
        totals
    }

    /// None while more may come: other images wait, or a manifest is not read yet.
    fn bytes_left(&self) -> Option<u64> {
        let is_known = self.waiting == 0 && self.copies.values().all(|copy| copy.progress.is_total_final());
        let left = |copy: &Copy| copy.progress.total().unwrap_or_default().saturating_sub(copy.progress.done());
        is_known.then(|| self.copies.values().map(left).sum()).filter(|left| *left > 0)
    }

    /// Transfers first, then the oldest first.
    fn shown(&self) -> Vec<&Copy> {
        let mut copies: Vec<&Copy> = self.copies.values().collect();
        copies.sort_by_key(|copy| (copy.progress.total().is_none(), copy.started));
        copies
    }
}

impl Copy {
    fn state(&self, now: Instant) -> String {
        let (done, Some(total)) = (self.progress.done(), self.progress.total()) else {
            let time = now.duration_since(self.started);
            let time = if time > NOTABLE_PAUSE { format!(" for {}", duration(time)) } else { String::new() };
            return format!("inspecting{time}");
        };
        let is_final = self.progress.is_total_final();
        if done >= total && is_final {
            return format!("{} sent, finishing", bytes(done));
        }
        let at_least = if is_final { "" } else { "at least " };
        let mut state = format!("{} of {at_least}{}", bytes(done), bytes(total.max(done)));
        let pause = self.rate.unchanged_for(now);
        if pause > NOTABLE_PAUSE {
            state += &format!(", nothing for {}", duration(pause));
        } else if let Some(rate) = self.rate.per_second().filter(|rate| *rate > 0) {
            state += &format!(", {}/s", bytes(rate));
            if is_final {
                state += &format!(", {} left", time_left(total.saturating_sub(done), rate));
            }
        }
        state
    }
}

fn time_left(bytes: u64, rate: u64) -> String {
    duration(Duration::from_secs(bytes.div_ceil(rate.max(1))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Reference, Target, TargetKind};

    fn destination(repository: &str) -> Destination {
        let target = Target {
            name: "default".into(),
            kind: TargetKind::Docker,
            registry: "mirror.test".into(),
            repo_prefix: String::new(),
        };
        Destination { target: Arc::new(target), repository: repository.into(), tag: Some("1".into()), digest: None }
    }

    fn started(under_way: &mut UnderWay, image: &str) -> Arc<CopyProgress> {
        let progress = Arc::new(CopyProgress::default());
        under_way.start(&image.parse::<Reference>().unwrap(), &destination(image), &progress);
        progress
    }

    #[test]
    fn tells_bytes_rate_time_left_and_names() {
        let mut under_way = UnderWay::default();
        let large = started(&mut under_way, "ghcr.io/team/large:1");
        started(&mut under_way, "quay.io/team/other:1");
        let now = Instant::now();
        large.begin();
        large.add_total(600_000_000);
        under_way.set_waiting(25);
        for second in 0..=4 {
            under_way.measure(now + Duration::from_secs(second));
            large.add_done(50_000_000);
            under_way.add_bytes(50_000_000);
        }
        let now = now + Duration::from_secs(4);
        assert_eq!(
            under_way.lines(now, 80),
            [
                "0 done, 2 under way, 25 waiting, 250.0 MB sent, 50.0 MB/s",
                "  ghcr.io/team/large:1               250.0 MB of 600.0 MB, 50.0 MB/s, 7.0 s left",
                "  quay.io/team/other:1                                                inspecting",
            ]
        );
        assert!(under_way.line(now).ends_with(
            "50.0 MB/s; ghcr.io/team/large:1: 250.0 MB of 600.0 MB, 50.0 MB/s, 7.0 s left; quay.io/team/other:1: inspecting"
        ));
        let later = now + Duration::from_secs(30);
        assert!(
            under_way.line(later).contains("250.0 MB of 600.0 MB, nothing for 30 s; "),
            "{}",
            under_way.line(later)
        );
        assert!(under_way.line(later).ends_with("inspecting for 34 s"), "{}", under_way.line(later));

        under_way.finish(&"quay.io/team/other:1".parse::<Reference>().unwrap(), &destination("quay.io/team/other:1"));
        under_way.set_waiting(0);
        assert!(under_way.lines(now, 80)[0].ends_with(", 7.0 s left"), "nothing else is to come");
        large.add_done(350_000_000);
        assert!(under_way.line(now).ends_with("600.0 MB sent, finishing"));
    }

    #[test]
    fn a_narrow_terminal_shortens_names_and_many_copies_are_counted() {
        let mut under_way = UnderWay::default();
        for number in 0..20 {
            started(&mut under_way, &format!("registry.example.com/a/very/long/repository/app-{number}:1"));
        }
        let lines = under_way.lines(Instant::now(), 40);
        assert_eq!(lines.len(), 10);
        assert!(lines.iter().all(|line| text_width(line) <= 40), "{lines:?}");
        assert!(lines[1].contains("/app-0:1") && lines[9] == "  and 12 more", "{lines:?}");
        assert!(under_way.line(Instant::now()).ends_with("; and 17 more"));
    }
}
