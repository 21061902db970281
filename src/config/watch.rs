//! Settings that select the workloads to mirror.

use std::collections::BTreeMap;

use super::{
    WatchConfig,
    pull_secrets::pull_secrets,
    reader::{Reader, Section},
    value::{glob, keyword},
};
use crate::model::WorkloadKind;

/// Kind, key below `skipNames`, variable.
pub(super) const SKIP_NAMES: [(WorkloadKind, &str, &str); 6] = [
    (WorkloadKind::Deployment, "deployments", "SKIP_DEPLOYMENTS"),
    (WorkloadKind::StatefulSet, "statefulSets", "SKIP_STATEFULSETS"),
    (WorkloadKind::DaemonSet, "daemonSets", "SKIP_DAEMONSETS"),
    (WorkloadKind::Job, "jobs", "SKIP_JOBS"),
    (WorkloadKind::CronJob, "cronJobs", "SKIP_CRONJOBS"),
    (WorkloadKind::Pod, "pods", "SKIP_PODS"),
];

pub(super) fn watch(reader: &mut Reader<'_>, root: &mut Section<'_>) -> WatchConfig {
    let kinds = WorkloadKind::ALL.map(|kind| (kind.plural(), kind));
    let chosen = reader.list_of(root, "watchResources", Some("WATCH_RESOURCES"), |text| keyword(text, &kinds));
    let mut include = reader.list_of(root, "includeNamespaces", Some("INCLUDE_NAMESPACES"), glob);
    if include.is_empty() || include.iter().any(|entry| entry == "*") {
        include = vec!["*".to_owned()];
    }
    WatchConfig {
        include_namespaces: include,
        skip_namespaces: reader.list_of(root, "skipNamespaces", Some("SKIP_NAMESPACES"), |text| Ok(text.to_owned())),
        skip_names: skip_names(reader, root),
        resources: WorkloadKind::ALL.into_iter().filter(|kind| chosen.is_empty() || chosen.contains(kind)).collect(),
        pull_secrets: pull_secrets(reader, root),
    }
}

fn skip_names(reader: &mut Reader<'_>, root: &mut Section<'_>) -> BTreeMap<WorkloadKind, Vec<String>> {
    let mut section = root.section(reader, "skipNames");
    let mut names = BTreeMap::new();
    for (kind, key, variable) in SKIP_NAMES {
        let mut entries = Vec::new();
        for found in reader.list(&mut section, key, Some(variable)) {
            // The original program ignores an entry without a name or a namespace.
            if found.value.starts_with('/') || found.value.ends_with('/') {
                reader
                    .warn(&found.location, format!("{:?} matches nothing; write name or namespace/name", found.value));
            } else {
                entries.push(found.value);
            }
        }
        if !entries.is_empty() {
            names.insert(kind, entries);
        }
    }
    section.finish(reader);
    names
}
