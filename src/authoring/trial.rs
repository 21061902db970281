//! Puts a plugin to its cases.

use std::sync::Arc;

use super::{
    cases::Case,
    expectation::{Answer, ErrorKind, Expectation},
    overheard,
};
use crate::{
    model::{Hook, Target},
    policy::{LoadFault, Probe, ProbedPlugin, Question},
};

/// How one case went.
#[derive(Debug)]
pub struct CaseResult {
    /// The case's name.
    pub name: String,
    /// Where the plugin answered something else; none where it passed.
    pub differences: Vec<Difference>,
    /// What the plugin logged.
    pub log: Vec<String>,
}

/// An answer that was not expected.
#[derive(Debug)]
pub struct Difference {
    /// The hook, and the target where it was asked about one; or `configure`.
    pub question: String,
    /// What the case file says.
    pub expected: String,
    /// What the plugin answered.
    pub got: String,
}

/// Configures the plugin anew for each case, and asks what the case expects an answer to.
pub fn run(probe: &Probe, cases: &[Case]) -> Vec<CaseResult> {
    cases
        .iter()
        .map(|case| {
            let (differences, log) = overheard::overheard(|| differences(probe, case));
            CaseResult { name: case.name.clone(), differences, log }
        })
        .collect()
}

fn differences(probe: &Probe, case: &Case) -> Vec<Difference> {
    let plugin = match (probe.configure(case.config.as_ref()), &case.refusal) {
        (Ok(plugin), None) => plugin,
        (Ok(_), Some(kind)) => return vec![configure(format!("error {kind}"), "ok".to_owned())],
        (Err(LoadFault::Start(error)), Some(kind)) if ErrorKind::of(&error) == *kind => return Vec::new(),
        (Err(fault), refusal) => {
            let expected = refusal.as_ref().map_or_else(|| "ok".to_owned(), |kind| format!("error {kind}"));
            return vec![configure(expected, fault.to_string())];
        }
    };
    let mut differences = Vec::new();
    for (hook, expected) in &case.answers {
        if !probe.hooks().contains(hook) {
            differences.push(difference(*hook, None, expected, "it does not export this hook".to_owned()));
            continue;
        }
        for (target, answer) in answers(&plugin, *hook, &case.question, &case.targets) {
            if !expected.is_met_by(&answer) {
                differences.push(difference(*hook, target, expected, answer.to_string()));
            }
        }
    }
    differences
}

/// What the plugin says to `hook`; for the hooks that are asked about each target, once for each.
fn answers<'a>(
    plugin: &ProbedPlugin,
    hook: Hook,
    question: &Question,
    targets: &'a [Arc<Target>],
) -> Vec<(Option<&'a Target>, Answer)> {
    let of_each =
        |ask: &dyn Fn(&Target) -> Answer| targets.iter().map(|target| (Some(target.as_ref()), ask(target))).collect();
    match hook {
        Hook::Skip => vec![(None, plugin.skip(question).into())],
        Hook::TargetSelection => vec![(None, plugin.select(question, targets).into())],
        Hook::PathMapping => of_each(&|target| plugin.rewrite(question, target).into()),
        Hook::RepositoryPrefix => of_each(&|target| plugin.render(question, target).into()),
    }
}

fn configure(expected: String, got: String) -> Difference {
    Difference { question: "configure".to_owned(), expected, got }
}

fn difference(hook: Hook, target: Option<&Target>, expected: &Expectation, got: String) -> Difference {
    let question = target.map_or_else(|| hook.to_string(), |target| format!("{hook}, target {}", target.name));
    Difference { question, expected: expected.to_string(), got }
}
