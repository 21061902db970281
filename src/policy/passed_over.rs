//! Tells that a plugin with `onFailure: pass` fails: once when it begins, and once when it is over. A line for each call
//! would be as many as the cluster has images.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{bindings::types, failure::CallError};
use crate::model::{Hook, cut_image};

/// A plugin that answers some calls and fails at others is told once, not at each turn: it is over when the plugin
/// answers and has not failed for so long.
const QUIET: Duration = Duration::from_secs(60);

/// Whether one plugin is being passed over.
#[derive(Debug)]
pub struct PassedOver {
    plugin: String,
    /// So that calls of a plugin that is well take no lock.
    is_failing: AtomicBool,
    spell: Mutex<Option<Spell>>,
}

/// From the first failure on.
#[derive(Debug)]
struct Spell {
    begun: Instant,
    last: Instant,
    asked: u64,
    failed: u64,
    example: Example,
}

/// The first failure.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Example {
    hook: Hook,
    image: String,
    workload: String,
    error: String,
}

impl PassedOver {
    /// Of a plugin that is well.
    pub fn new(plugin: &str) -> Self {
        Self { plugin: plugin.to_owned(), is_failing: AtomicBool::new(false), spell: Mutex::default() }
    }

    /// It failed, and the next plugin is asked.
    pub fn failed(&self, hook: Hook, about: &types::ImageUse, error: &CallError) {
        let example = || Example {
            hook,
            image: cut_image(&about.image.as_written).into_owned(),
            workload: workload(&about.workload),
            error: error.to_string(),
        };
        if let Some(Example { hook, image, workload, error }) = self.count_failure(Instant::now(), example) {
            let plugin = self.plugin.as_str();
            tracing::warn!(
                plugin, %hook, image, workload, error,
                "the plugin fails, and is passed over; it is told again when that is over"
            );
        }
    }

    /// It answered.
    pub fn answered(&self) {
        if let Some(spell) = self.count_answer(Instant::now()) {
            self.tell_end(&spell, "the plugin answers again, and is passed over no more");
        }
    }

    /// What is to be told, where it is the first.
    fn count_failure(&self, now: Instant, example: impl FnOnce() -> Example) -> Option<Example> {
        let mut spell = self.spell.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(spell) = spell.as_mut() {
            spell.last = now;
            spell.asked += 1;
            spell.failed += 1;
            return None;
        }
        let example = example();
        *spell = Some(Spell { begun: now, last: now, asked: 1, failed: 1, example: example.clone() });
        self.is_failing.store(true, Ordering::Relaxed);
        Some(example)
    }

    /// What is over with this answer.
    fn count_answer(&self, now: Instant) -> Option<Spell> {
        if !self.is_failing.load(Ordering::Relaxed) {
            return None;
        }
        let mut spell = self.spell.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = spell.as_mut()?;
        under_way.asked += 1;
        if now.saturating_duration_since(under_way.last) < QUIET {
            return None;
        }
        self.is_failing.store(false, Ordering::Relaxed);
        spell.take()
    }

    fn tell_end(&self, spell: &Spell, message: &str) {
        let Spell { begun, last, asked, failed, example: Example { hook, image, workload, error } } = spell;
        let (plugin, seconds) = (self.plugin.as_str(), last.saturating_duration_since(*begun).as_secs());
        tracing::warn!(plugin, asked, failed, seconds, %hook, image, workload, error, "{message}");
    }
}

/// A plugin that is replaced, and one whose command has ended, is asked no more.
impl Drop for PassedOver {
    fn drop(&mut self) {
        if let Some(spell) = self.spell.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            self.tell_end(&spell, "the plugin is not in use any more, and is passed over no more");
        }
    }
}

/// As `model::WorkloadId` is shown.
fn workload(workload: &types::Workload) -> String {
    format!("{} {}/{}", workload.kind.to_ascii_lowercase(), workload.namespace, workload.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(image: &str) -> Example {
        Example { hook: Hook::Skip, image: image.to_owned(), workload: String::new(), error: String::new() }
    }

    #[test]
    fn a_plugin_that_fails_now_and_then_is_told_once_and_once_when_it_is_over() {
        let (mut now, passed_over) = (Instant::now(), PassedOver::new("teams"));
        assert!(passed_over.count_answer(now).is_none(), "it is well");
        assert_eq!(passed_over.count_failure(now, || example("first")), Some(example("first")));
        for _ in 0..1000 {
            now += QUIET - Duration::from_secs(1);
            assert!(passed_over.count_answer(now).is_none());
            assert_eq!(passed_over.count_failure(now, || panic!("it is told already")), None);
        }
        now += QUIET;
        let spell = passed_over.count_answer(now).unwrap();
        assert_eq!((spell.asked, spell.failed, spell.example), (2002, 1001, example("first")));
        assert_eq!((spell.last - spell.begun).as_secs(), 59_000);
        assert!(passed_over.count_answer(now + QUIET).is_none());
        assert_eq!(passed_over.count_failure(now, || example("second")), Some(example("second")), "it begins anew");
    }
}
