//! Measures how long a plugin takes.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::cases::{self, Case};
use crate::{
    model::{Hook, ReferenceError, Target},
    policy::{CallError, ConfiguredTestPlugin, HookInput, PluginError, TestPlugin},
};

/// Measured starts.
const STARTS: usize = 200;
/// Measured calls per hook.
const CALLS: usize = 5_000;
/// Calls before the measured ones, as interpreters are slow at first.
const WARM_UP: usize = 100;

/// Why a plugin can't be measured.
#[derive(Debug, thiserror::Error)]
pub enum TimingError {
    /// The plugin can't be started.
    #[error(transparent)]
    Start(#[from] PluginError),
    /// A call failed.
    #[error("{}hook {hook}: {error}", .case.as_ref().map(|case| format!("case {case:?}, ")).unwrap_or_default())]
    Call {
        /// The name of the case. None: the default image use.
        case: Option<String>,
        /// The hook.
        hook: Hook,
        /// The error.
        error: CallError,
    },
    /// Every case expects `configure` to fail.
    #[error("every case expects configure to fail; add a case with a valid configuration")]
    NoCase,
    /// The default image use is invalid.
    #[error(transparent)]
    Image(#[from] ReferenceError),
}

/// The durations of many runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentiles {
    /// Half of the runs took longer.
    pub median: Duration,
    /// One run in a hundred took longer.
    pub p99: Duration,
}

/// The durations of a plugin's operations.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Creating an instance.
    pub instantiate: Percentiles,
    /// Creating and configuring an instance.
    pub start: Percentiles,
    /// Calls by hook. None: every case expects an error.
    pub calls: Vec<(Hook, Option<Percentiles>)>,
}

/// The arguments of one measured call.
struct TimedCall<'a> {
    /// The name of the case. None: the default image use.
    case: Option<&'a str>,
    input: &'a HookInput,
    targets: &'a [Arc<Target>],
    /// Hooks that are expected to fail.
    errors: Vec<Hook>,
}

struct Plan<'a> {
    config: Option<&'a Value>,
    calls: Vec<TimedCall<'a>>,
}

/// Measures a plugin with the image uses of those `cases` that have the configuration of the first one, or without any
/// case with a default image use and no configuration. Answers are not compared with the expected ones.
///
/// # Errors
/// The plugin can't be started, or a call fails that is expected to succeed.
pub fn time(plugin: &TestPlugin, cases: &[Case]) -> Result<Timing, TimingError> {
    let (input, targets) = cases::default_input()?;
    let plan = plan(cases, (&input, &targets))?;
    let configured = plugin.configure(plan.config)?;
    let instantiate = measure(STARTS, |_| configured.instantiate())?;
    let start = measure(STARTS, |_| configured.start())?;
    let mut calls = Vec::new();
    for hook in plugin.hooks() {
        let timed: Vec<&TimedCall<'_>> = plan.calls.iter().filter(|call| !call.errors.contains(hook)).collect();
        if timed.is_empty() {
            calls.push((*hook, None));
            continue;
        }
        let mut call = |index: usize| call_hook(&configured, *hook, &timed, index);
        measure(WARM_UP, &mut call)?;
        calls.push((*hook, Some(measure(CALLS, &mut call)?)));
    }
    Ok(Timing { instantiate, start, calls })
}

fn plan<'a>(cases: &'a [Case], default: (&'a HookInput, &'a [Arc<Target>])) -> Result<Plan<'a>, TimingError> {
    if cases.is_empty() {
        let (input, targets) = default;
        let call = TimedCall { case: None, input, targets, errors: Vec::new() };
        return Ok(Plan { config: None, calls: vec![call] });
    }
    let first = cases.iter().find(|case| case.config_error.is_none()).ok_or(TimingError::NoCase)?;
    let same_config = cases.iter().filter(|case| case.config_error.is_none() && case.config == first.config);
    let calls = same_config.map(|case| {
        let errors = case.answers.iter().filter(|(_, expected)| expected.is_error()).map(|(hook, _)| *hook).collect();
        TimedCall { case: Some(&case.name), input: &case.input, targets: &case.targets, errors }
    });
    let calls = calls.collect();
    Ok(Plan { config: first.config.as_ref(), calls })
}

/// Call number `index`, which cycles through `calls`.
fn call_hook(
    plugin: &ConfiguredTestPlugin,
    hook: Hook,
    calls: &[&TimedCall<'_>],
    index: usize,
) -> Result<(), TimingError> {
    let Some(TimedCall { case, input, targets, .. }) = index.checked_rem(calls.len()).and_then(|at| calls.get(at))
    else {
        return Ok(());
    };
    let target = targets.first();
    let result: Result<(), CallError> = match (hook, target) {
        (Hook::Skip, _) => plugin.skip(input).map(drop),
        (Hook::TargetSelection, _) => plugin.select_targets(input, targets).map(drop),
        (Hook::PathMapping, Some(target)) => plugin.map_path(input, target).map(drop),
        (Hook::RepositoryPrefix, Some(target)) => plugin.repository_prefix(input, target).map(drop),
        (Hook::PathMapping | Hook::RepositoryPrefix, None) => Ok(()),
    };
    result.map_err(|error| TimingError::Call { case: case.map(str::to_owned), hook, error })
}

fn measure<E>(runs: usize, mut run: impl FnMut(usize) -> Result<(), E>) -> Result<Percentiles, E> {
    let mut times = Vec::with_capacity(runs);
    for index in 0..runs {
        let start = Instant::now();
        run(index)?;
        times.push(start.elapsed());
    }
    times.sort_unstable();
    let percentile = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    Ok(Percentiles { median: percentile(50), p99: percentile(99) })
}

#[cfg(test)]
mod tests {
    #[test]
    fn sorts_durations_and_stops_at_the_first_failure() {
        let mut runs = 0;
        let count = |_| -> Result<(), ()> {
            runs += 1;
            Ok(())
        };
        let percentiles = super::measure(200, count).unwrap();
        assert!(percentiles.median <= percentiles.p99);
        assert_eq!(runs, 200);
        assert_eq!(super::measure(10, |index| if index < 3 { Ok(()) } else { Err(index) }), Err(3));
    }
}
