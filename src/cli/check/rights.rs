//! The rights at the API server.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt as _, stream};
use tokio::time::sleep;

use super::{
    deadline::DEADLINE,
    finding::{Finding, Group},
};
use crate::workload::{Client, Need, Right, missing_verbs};

/// For all rights together: there may be thousands, with many namespaces.
const RIGHTS_DEADLINE: Duration = Duration::from_secs(60);
/// Each sends a request for every verb.
const CONCURRENT_QUESTIONS: usize = 8;

/// What is known of the rights.
pub struct Rights {
    pub findings: Vec<Finding>,
    /// Whether no right to list workloads is missing.
    pub can_list: bool,
    pub can_read_lease: bool,
}

/// One line for each right that is missing, and one for each kind of right that is there, in however many namespaces.
pub async fn rights(client: &Client, group: Group, rights: Vec<Right>) -> Rights {
    let asked = rights.iter().map(|right| async move { (right, missing_verbs(client, right, DEADLINE).await) });
    let answers = stream::iter(asked).buffered(CONCURRENT_QUESTIONS).take_until(Box::pin(sleep(RIGHTS_DEADLINE)));
    let answers: Vec<_> = answers.collect().await;
    let mut findings = Vec::new();
    if answers.len() < rights.len() {
        let (known, seconds) = (answers.len(), RIGHTS_DEADLINE.as_secs());
        let found = format!("{known} of {} were known within {seconds} s", rights.len());
        findings.push(group.failed("rights", found, "check the API server's load"));
    }
    let lacks = |verb: &'static str, of: &dyn Fn(&Right) -> bool| {
        let mut asked = answers.iter().filter(|(right, _)| of(right));
        asked.any(|(_, missing)| missing.as_ref().is_ok_and(|missing| missing.contains(&verb)))
    };
    let can_list = !lacks("list", &|right| right.need == Need::Required);
    let can_read_lease = !lacks("get", &|_| true);
    let mut granted: BTreeMap<String, usize> = BTreeMap::new();
    for (right, _) in answers.iter().filter(|(_, missing)| missing.as_ref().is_ok_and(Vec::is_empty)) {
        *granted.entry(right.subject()).or_default() += 1;
    }
    for (right, answer) in answers {
        match answer {
            Ok(missing) if missing.is_empty() => {
                // The first of its kind speaks for all.
                if let Some(count) = granted.remove(&right.subject()) {
                    let found = match (count, &right.namespace) {
                        (1, Some(namespace)) => format!("granted in namespace {namespace}"),
                        (_, None) => "granted".to_owned(),
                        (count, Some(_)) => format!("granted in {count} namespaces"),
                    };
                    findings.push(group.ok(right.subject(), found));
                }
            }
            Ok(missing) => {
                let (verbs, rule) = (missing.join(", "), right.rule(&missing));
                findings.push(match right.need {
                    Need::Required => group.failed(right.to_string(), format!("{verbs}: not granted"), rule),
                    Need::Useful(without) => {
                        group.warning(right.to_string(), format!("{verbs}: not granted, so {without}"), rule)
                    }
                });
            }
            Err(problem) => {
                let found = format!("can't be asked: {problem}");
                findings.push(group.failed(right.to_string(), found, "ask again; the API server may be overloaded"));
            }
        }
    }
    Rights { findings, can_list, can_read_lease }
}
