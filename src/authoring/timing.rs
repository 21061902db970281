//! How long a plugin takes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::cases::{self, Case};
use crate::{
    model::{Hook, ReferenceError, Target},
    policy::{CallError, LoadFault, Probe, ProbedPlugin, Question},
};

/// Instances that are made and thrown away.
const STARTS: usize = 200;
/// Calls of each hook; the interpreters of some languages are slow at first.
const CALLS: usize = 5_000;
const WARM_UP: usize = 100;

/// Why a plugin can't be timed.
#[derive(Debug, thiserror::Error)]
pub enum TimingError {
    /// It can't be started.
    #[error(transparent)]
    Start(#[from] LoadFault),
    /// A call fails.
    #[error("hook {hook}: {error}")]
    Call {
        /// The question.
        hook: Hook,
        /// How the call failed.
        error: CallError,
    },
    /// No case can be used: in each of them the plugin is to refuse its configuration.
    #[error("there is no case whose configuration is to be accepted")]
    NoCase,
    /// The built-in image use is malformed.
    #[error(transparent)]
    Image(#[from] ReferenceError),
}

/// What many runs of the same took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Half of them took longer.
    pub median: Duration,
    /// One in a hundred took longer.
    pub p99: Duration,
}

/// How long a plugin takes.
#[derive(Clone, Debug)]
pub struct Timing {
    /// To make an instance.
    pub instantiate: Spread,
    /// To make an instance and configure it.
    pub start: Spread,
    /// For an answer, by hook.
    pub calls: Vec<(Hook, Spread)>,
}

/// What a plugin is asked while it is timed.
struct Load<'a> {
    config: Option<&'a Value>,
    questions: Vec<(&'a Question, &'a [Arc<Target>])>,
}

/// Times a plugin over the image uses of `cases` that have the configuration of the first; over a built-in image use and
/// without configuration where there are none. Whether the answers are right is not looked at, only that there are some.
///
/// # Errors
/// When it can't be started, or a call fails.
pub fn time(probe: &Probe, cases: &[Case]) -> Result<Timing, TimingError> {
    let (question, targets) = cases::built_in()?;
    let load = load(cases, (&question, &targets))?;
    let plugin = probe.configure(load.config)?;
    let instantiate = spread(STARTS, |_| plugin.instantiate())?;
    let start = spread(STARTS, |_| plugin.start())?;
    let mut calls = Vec::new();
    for hook in probe.hooks() {
        let mut call =
            |index: usize| ask(&plugin, *hook, &load, index).map_err(|error| TimingError::Call { hook: *hook, error });
        spread(WARM_UP, &mut call)?;
        calls.push((*hook, spread(CALLS, &mut call)?));
    }
    Ok(Timing { instantiate, start, calls })
}

fn load<'a>(cases: &'a [Case], built_in: (&'a Question, &'a [Arc<Target>])) -> Result<Load<'a>, TimingError> {
    if cases.is_empty() {
        return Ok(Load { config: None, questions: vec![built_in] });
    }
    let first = cases.iter().find(|case| case.refusal.is_none()).ok_or(TimingError::NoCase)?;
    let alike = cases.iter().filter(|case| case.refusal.is_none() && case.config == first.config);
    let questions = alike.map(|case| (&case.question, case.targets.as_slice())).collect();
    Ok(Load { config: first.config.as_ref(), questions })
}

/// Asks the question whose turn it is.
fn ask(plugin: &ProbedPlugin, hook: Hook, load: &Load<'_>, index: usize) -> Result<(), CallError> {
    let Some((question, targets)) = index.checked_rem(load.questions.len()).and_then(|at| load.questions.get(at))
    else {
        return Ok(());
    };
    let target = targets.first();
    match (hook, target) {
        (Hook::Skip, _) => plugin.skip(question).map(drop),
        (Hook::TargetSelection, _) => plugin.select(question, targets).map(drop),
        (Hook::PathMapping, Some(target)) => plugin.rewrite(question, target).map(drop),
        (Hook::RepositoryPrefix, Some(target)) => plugin.render(question, target).map(drop),
        (Hook::PathMapping | Hook::RepositoryPrefix, None) => Ok(()),
    }
}

fn spread<E>(runs: usize, mut run: impl FnMut(usize) -> Result<(), E>) -> Result<Spread, E> {
    let mut times = Vec::with_capacity(runs);
    for index in 0..runs {
        let start = Instant::now();
        run(index)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    Ok(Spread { median: at(50), p99: at(99) })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_spread_has_its_runs_in_order_and_ends_at_the_first_failure() {
        let mut runs = 0;
        let count = |_| -> Result<(), ()> {
            runs += 1;
            Ok(())
        };
        let spread = super::spread(200, count).unwrap();
        assert!(spread.median <= spread.p99);
        assert_eq!(runs, 200);
        assert_eq!(super::spread(10, |index| if index < 3 { Ok(()) } else { Err(index) }), Err(3));
    }
}
