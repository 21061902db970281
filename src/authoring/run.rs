//! Runs the test cases of a plugin.

use std::sync::Arc;

use super::{
    capture::capture_logs,
    cases::Case,
    expectation::{Answer, ErrorKind, Expectation},
};
use crate::{
    model::{Hook, Target},
    policy::{ConfiguredTestPlugin, HookInput, PluginError, TestPlugin},
};

/// The result of a case.
#[derive(Debug)]
pub struct CaseResult {
    /// The case's name.
    pub name: String,
    /// The unexpected answers; empty if the case passed.
    pub differences: Vec<Difference>,
    /// The log lines of the plugin.
    pub log: Vec<String>,
}

/// An unexpected answer.
#[derive(Debug)]
pub struct Difference {
    /// The hook, with the target for hooks that are called per target; or `configure`.
    pub question: String,
    /// The answer in the case file.
    pub expected: String,
    /// The plugin's answer.
    pub got: String,
}

/// Configures a plugin for each case, and calls the hooks that the case expects answers of.
pub fn run_cases(plugin: &TestPlugin, cases: &[Case]) -> Vec<CaseResult> {
    cases
        .iter()
        .map(|case| {
            let (differences, log) = capture_logs(|| differences(plugin, case));
            CaseResult { name: case.name.clone(), differences, log }
        })
        .collect()
}

fn differences(plugin: &TestPlugin, case: &Case) -> Vec<Difference> {
    let configured = match (plugin.configure(case.config.as_ref()), &case.config_error) {
        (Ok(plugin), None) => plugin,
        (Ok(_), Some(kind)) => return vec![configure(format!("error {kind}"), "ok".to_owned())],
        (Err(PluginError::Start(error)), Some(kind)) if ErrorKind::of(&error) == *kind => return Vec::new(),
        (Err(error), config_error) => {
            let expected = config_error.as_ref().map_or_else(|| "ok".to_owned(), |kind| format!("error {kind}"));
            return vec![configure(expected, error.to_string())];
        }
    };
    let mut differences = Vec::new();
    for (hook, expected) in &case.answers {
        if !plugin.hooks().contains(hook) {
            differences.push(difference(*hook, None, expected, "it does not export this hook".to_owned()));
            continue;
        }
        for (target, answer) in answers(&configured, *hook, &case.input, &case.targets) {
            if !expected.matches(&answer) {
                differences.push(difference(*hook, target, expected, answer.to_string()));
            }
        }
    }
    differences
}

/// The answers to `hook`: one, or one per target for the hooks that are called per target.
fn answers<'a>(
    plugin: &ConfiguredTestPlugin,
    hook: Hook,
    input: &HookInput,
    targets: &'a [Arc<Target>],
) -> Vec<(Option<&'a Target>, Answer)> {
    let per_target =
        |call: &dyn Fn(&Target) -> Answer| targets.iter().map(|target| (Some(target.as_ref()), call(target))).collect();
    match hook {
        Hook::Skip => vec![(None, plugin.skip(input).into())],
        Hook::TargetSelection => vec![(None, plugin.select_targets(input, targets).into())],
        Hook::PathMapping => per_target(&|target| plugin.map_path(input, target).into()),
        Hook::RepositoryPrefix => per_target(&|target| plugin.repository_prefix(input, target).into()),
    }
}

fn configure(expected: String, got: String) -> Difference {
    Difference { question: "configure".to_owned(), expected, got }
}

fn difference(hook: Hook, target: Option<&Target>, expected: &Expectation, got: String) -> Difference {
    let question = target.map_or_else(|| hook.to_string(), |target| format!("{hook}, target {}", target.name));
    Difference { question, expected: expected.to_string(), got }
}
