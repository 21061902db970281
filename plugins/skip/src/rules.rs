//! Which image uses are skipped, and why.

use patterns::NamePattern;
use serde::Deserialize;

use crate::bindings::k8s_copycat::policy::types::{Image, Workload};

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    include_namespaces: Vec<String>,
    skip_namespaces: Vec<String>,
    skip_names: SkipNames,
    exclude_registries: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            include_namespaces: vec!["*".to_owned()],
            skip_namespaces: Vec::new(),
            skip_names: SkipNames::default(),
            exclude_registries: Vec::new(),
        }
    }
}

/// Exact names by kind: `name` in all namespaces, `namespace/name` in one, `*` for the whole kind.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct SkipNames {
    deployments: Vec<String>,
    stateful_sets: Vec<String>,
    daemon_sets: Vec<String>,
    jobs: Vec<String>,
    cron_jobs: Vec<String>,
    pods: Vec<String>,
}

impl SkipNames {
    /// The setting for a kind, and its entries. None for other kinds.
    fn of(&self, group: &str, kind: &str) -> Option<(&'static str, &[String])> {
        Some(match (group, kind) {
            ("apps", "Deployment") => ("deployments", &self.deployments),
            ("apps", "StatefulSet") => ("statefulSets", &self.stateful_sets),
            ("apps", "DaemonSet") => ("daemonSets", &self.daemon_sets),
            ("batch", "Job") => ("jobs", &self.jobs),
            ("batch", "CronJob") => ("cronJobs", &self.cron_jobs),
            ("", "Pod") => ("pods", &self.pods),
            _ => return None,
        })
    }
}

/// The checked configuration.
pub struct Rules {
    included: Vec<NamePattern>,
    skip_namespaces: Vec<String>,
    skip_names: SkipNames,
    exclude_registries: Vec<String>,
}

impl Rules {
    /// Parses the configuration. The error names every invalid setting.
    pub fn from_json(json: &str) -> Result<Self, String> {
        let config: Option<Config> = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let config = config.unwrap_or_default();
        let mut included = Vec::new();
        let mut errors = Vec::new();
        for entry in config.include_namespaces {
            match NamePattern::new(&entry) {
                Ok(pattern) => included.push(pattern),
                Err(error) => errors.push(format!("includeNamespaces: {entry:?} is not a valid shell glob: {error}")),
            }
        }
        if !errors.is_empty() {
            return Err(errors.join("; "));
        }
        let exclude_registries =
            config.exclude_registries.iter().map(|entry| registry_prefix(entry)).filter(|entry| !entry.is_empty());
        Ok(Self {
            included,
            skip_namespaces: config.skip_namespaces,
            skip_names: config.skip_names,
            exclude_registries: exclude_registries.collect(),
        })
    }

    /// The reason to skip this image of this workload. None if no rule applies.
    pub fn reason_to_skip(&self, workload: &Workload, image: &Image) -> Option<String> {
        let namespace = &workload.namespace;
        if self.skip_namespaces.contains(namespace) {
            return Some(format!("namespace {namespace} is in skipNamespaces"));
        }
        if !self.included.iter().any(|pattern| pattern.matches(namespace)) {
            return Some(format!("namespace {namespace} is not in includeNamespaces"));
        }
        self.skipped_name(workload).or_else(|| self.excluded_registry(image))
    }

    /// An entry for a controller also applies to the Pods and Jobs that it owns.
    fn skipped_name(&self, workload: &Workload) -> Option<String> {
        let group = match workload.kind.as_str() {
            "Deployment" | "StatefulSet" | "DaemonSet" => "apps",
            "Job" | "CronJob" => "batch",
            _ => "",
        };
        let object = (group, workload.kind.as_str(), workload.name.as_str());
        let owners =
            workload.owners.iter().map(|owner| (owner.group.as_str(), owner.kind.as_str(), owner.name.as_str()));
        std::iter::once(object).chain(owners).find_map(|(group, kind, name)| {
            let (setting, entries) = self.skip_names.of(group, kind)?;
            let skipped = entries.iter().any(|entry| match entry.split_once('/') {
                Some((namespace, entry)) => namespace == workload.namespace && entry == name,
                None => entry == "*" || entry == name,
            });
            skipped.then(|| format!("{kind} {}/{name} is in skipNames.{setting}", workload.namespace))
        })
    }

    fn excluded_registry(&self, image: &Image) -> Option<String> {
        let mut name = format!("{}/{}", image.registry, image.repository).to_lowercase();
        if let Some(tag) = &image.tag {
            name = format!("{name}:{}", tag.to_lowercase());
        }
        if let Some(digest) = &image.digest {
            name = format!("{name}@{digest}");
        }
        let matched = self.exclude_registries.iter().find(|prefix| {
            name.strip_prefix(prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']))
        })?;
        Some(format!("{matched} is in excludeRegistries"))
    }
}

/// An entry of `excludeRegistries`, normalised for the comparison with image references.
fn registry_prefix(entry: &str) -> String {
    let lower = entry.trim().to_lowercase();
    let bare = lower.strip_prefix("https://").or_else(|| lower.strip_prefix("http://")).unwrap_or(&lower);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    match bare.strip_prefix("index.docker.io") {
        Some(path) if path.is_empty() || path.starts_with('/') => format!("docker.io{path}"),
        _ => bare.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::k8s_copycat::policy::types::Owner;

    fn workload(kind: &str, namespace: &str, name: &str, owners: &[(&str, &str, &str)]) -> Workload {
        Workload {
            kind: kind.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            owners: owners
                .iter()
                .map(|(group, kind, name)| Owner {
                    group: (*group).to_owned(),
                    kind: (*kind).to_owned(),
                    name: (*name).to_owned(),
                })
                .collect(),
            labels: Vec::new(),
            annotations: Vec::new(),
            namespace_labels: Vec::new(),
        }
    }

    fn image(registry: &str, repository: &str) -> Image {
        Image {
            as_written: String::new(),
            registry: registry.to_owned(),
            repository: repository.to_owned(),
            tag: Some("1.27".to_owned()),
            digest: None,
        }
    }

    fn reason(config: &str, workload: &Workload) -> Option<String> {
        Rules::from_json(config).unwrap().reason_to_skip(workload, &image("docker.io", "library/nginx"))
    }

    #[test]
    fn includes_namespaces_by_name_and_glob_and_skips_them_by_name() {
        let included = "includeNamespaces";
        let skipped = "skipNamespaces";
        for (config, namespace, setting) in [
            ("null", "any", None),
            ("{}", "any", None),
            (r#"{"includeNamespaces":[]}"#, "any", Some(included)),
            (r#"{"includeNamespaces":["a"]}"#, "a", None),
            (r#"{"includeNamespaces":["a"]}"#, "A", Some(included)),
            (r#"{"includeNamespaces":["a","*"]}"#, "b", None),
            (r#"{"includeNamespaces":["prod-*"]}"#, "prod-eu", None),
            (r#"{"includeNamespaces":["prod-*"]}"#, "dev", Some(included)),
            (r#"{"skipNamespaces":["a"]}"#, "a", Some(skipped)),
            (r#"{"skipNamespaces":["*"]}"#, "a", None),
            (r#"{"skipNamespaces":["a"],"includeNamespaces":["a"]}"#, "a", Some(skipped)),
        ] {
            let reason = reason(config, &workload("Pod", namespace, "x", &[]));
            match (&reason, setting) {
                (None, None) => {}
                (Some(reason), Some(setting)) if reason.contains(setting) => {}
                _ => panic!("{config} {namespace}: {reason:?}"),
            }
        }
    }

    #[test]
    fn skips_names_by_kind_and_by_owner() {
        let replica_set = ("apps", "ReplicaSet", "web-1");
        for (names, workload, skipped) in [
            (r#"{"deployments":["web"]}"#, workload("Deployment", "a", "web", &[]), true),
            (r#"{"deployments":["web"]}"#, workload("StatefulSet", "a", "web", &[]), false),
            (r#"{"deployments":["Web"]}"#, workload("Deployment", "a", "web", &[]), false),
            (r#"{"deployments":["a/web"]}"#, workload("Deployment", "a", "web", &[]), true),
            (r#"{"deployments":["a/web"]}"#, workload("Deployment", "b", "web", &[]), false),
            (r#"{"deployments":["*"]}"#, workload("Deployment", "a", "web", &[]), true),
            (r#"{"deployments":["w*"]}"#, workload("Deployment", "a", "web", &[]), false),
            (r#"{"deployments":["/web","web/"]}"#, workload("Deployment", "a", "web", &[]), false),
            (r#"{"statefulSets":["db"]}"#, workload("StatefulSet", "a", "db", &[]), true),
            (r#"{"daemonSets":["d"]}"#, workload("DaemonSet", "a", "d", &[]), true),
            (r#"{"pods":["p"]}"#, workload("Pod", "a", "p", &[]), true),
            (
                r#"{"deployments":["web"]}"#,
                workload("Pod", "a", "web-1-x", &[replica_set, ("apps", "Deployment", "web")]),
                true,
            ),
            (r#"{"deployments":["web"]}"#, workload("Pod", "a", "web-1-x", &[replica_set]), false),
            (r#"{"deployments":["web"]}"#, workload("Pod", "a", "x", &[("example.io", "Deployment", "web")]), false),
            (r#"{"cronJobs":["c"]}"#, workload("Job", "a", "c-1", &[("batch", "CronJob", "c")]), true),
            (
                r#"{"cronJobs":["c"]}"#,
                workload("Pod", "a", "c-1-x", &[("batch", "Job", "c-1"), ("batch", "CronJob", "c")]),
                true,
            ),
            (r#"{"jobs":["c"]}"#, workload("CronJob", "a", "c", &[]), false),
        ] {
            let reason = reason(&format!(r#"{{"skipNames":{names}}}"#), &workload);
            assert_eq!(reason.is_some(), skipped, "{names} {workload:?}: {reason:?}");
        }
    }

    #[test]
    fn excludes_registries_by_whole_path_segments() {
        for (entry, registry, repository, excluded) in [
            ("quay.io", "quay.io", "team/app", true),
            ("QUAY.io/", "quay.io", "team/app", true),
            ("https://quay.io/team", "QUAY.io", "team/app", true),
            ("quay.io/te", "quay.io", "team/app", false),
            ("quay.io/team/app:1.27", "quay.io", "team/app", true),
            ("quay.io/team/app:1", "quay.io", "team/app", false),
            ("docker.io/library/nginx", "docker.io", "library/nginx", true),
            ("index.docker.io", "docker.io", "library/nginx", true),
            ("index.docker.iox", "docker.io", "library/nginx", false),
            ("localhost", "localhost:5000", "app", true),
            (" ", "quay.io", "team/app", false),
        ] {
            let rules = Rules::from_json(&format!(r#"{{"excludeRegistries":["{entry}"]}}"#)).unwrap();
            let reason = rules.reason_to_skip(&workload("Pod", "a", "x", &[]), &image(registry, repository));
            assert_eq!(reason.is_some(), excluded, "{entry} {registry}/{repository}: {reason:?}");
        }
    }

    #[test]
    fn names_every_invalid_setting() {
        let error = Rules::from_json(r#"{"includeNamespaces":["a","[","b["]}"#).err().unwrap();
        assert!(error.contains("\"[\"") && error.contains("\"b[\""), "{error}");
        let error = Rules::from_json(r#"{"skipNamespace":[]}"#).err().unwrap();
        assert!(error.contains("skipNamespace"), "{error}");
    }
}
