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
    #[error("{}hook {hook}: {error}", .case.as_ref().map(|case| format!("case {case:?}, ")).unwrap_or_default())]
    Call {
        /// The case whose question it was; none for the built-in one.
        case: Option<String>,
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
    /// For an answer, by hook; none where every case expects an error.
    pub calls: Vec<(Hook, Option<Spread>)>,
}

/// What a plugin is asked once.
struct Asked<'a> {
    /// Its name; none for the built-in question.
    case: Option<&'a str>,
    question: &'a Question,
    targets: &'a [Arc<Target>],
    /// To these it is expected to have no answer.
    errors: Vec<Hook>,
}

/// What a plugin is asked while it is timed.
struct Load<'a> {
    config: Option<&'a Value>,
    questions: Vec<Asked<'a>>,
}

/// Times a plugin over the image uses of `cases` that have the configuration of the first; over a built-in image use and
/// without configuration where there are none. Whether the answers are right is not looked at, only that there are some
/// where no error is expected.
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
        let asked: Vec<&Asked<'_>> = load.questions.iter().filter(|asked| !asked.errors.contains(hook)).collect();
        if asked.is_empty() {
            calls.push((*hook, None));
            continue;
        }
        let mut call = |index: usize| ask(&plugin, *hook, &asked, index);
        spread(WARM_UP, &mut call)?;
        calls.push((*hook, Some(spread(CALLS, &mut call)?)));
    }
    Ok(Timing { instantiate, start, calls })
}

fn load<'a>(cases: &'a [Case], built_in: (&'a Question, &'a [Arc<Target>])) -> Result<Load<'a>, TimingError> {
    if cases.is_empty() {
        let (question, targets) = built_in;
        let asked = Asked { case: None, question, targets, errors: Vec::new() };
        return Ok(Load { config: None, questions: vec![asked] });
    }
    let first = cases.iter().find(|case| case.refusal.is_none()).ok_or(TimingError::NoCase)?;
    let alike = cases.iter().filter(|case| case.refusal.is_none() && case.config == first.config);
    let questions = alike.map(|case| {
        let errors = case.answers.iter().filter(|(_, expected)| expected.is_error()).map(|(hook, _)| *hook).collect();
        Asked { case: Some(&case.name), question: &case.question, targets: &case.targets, errors }
    });
    let questions = questions.collect();
    Ok(Load { config: first.config.as_ref(), questions })
}

/// Asks the question whose turn it is.
fn ask(plugin: &ProbedPlugin, hook: Hook, asked: &[&Asked<'_>], index: usize) -> Result<(), TimingError> {
    let Some(Asked { case, question, targets, .. }) = index.checked_rem(asked.len()).and_then(|at| asked.get(at))
    else {
        return Ok(());
    };
    let target = targets.first();
    let answered: Result<(), CallError> = match (hook, target) {
        (Hook::Skip, _) => plugin.skip(question).map(drop),
        (Hook::TargetSelection, _) => plugin.select(question, targets).map(drop),
        (Hook::PathMapping, Some(target)) => plugin.rewrite(question, target).map(drop),
        (Hook::RepositoryPrefix, Some(target)) => plugin.render(question, target).map(drop),
        (Hook::PathMapping | Hook::RepositoryPrefix, None) => Ok(()),
    };
    answered.map_err(|error| TimingError::Call { case: case.map(str::to_owned), hook, error })
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
