//! Tests of the policy with real components: the default plugins, the example, and misbehaving guests.

#[path = "../../../tests/guests/mod.rs"]
#[allow(dead_code, reason = "not all of the guests are used here")]
mod guests;

mod decisions;
mod loading;
mod mutations;
mod sandbox;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::*;
use crate::model::{
    Container, ContainerKind, Event, Hook, OnFailure, Owner, Target, TargetKind, Workload, WorkloadId, WorkloadKind,
};

fn target(name: &str, registry: &str, repo_prefix: &str) -> Arc<Target> {
    Arc::new(Target {
        name: name.to_owned(),
        kind: TargetKind::Docker,
        registry: registry.to_owned(),
        repo_prefix: repo_prefix.to_owned(),
    })
}

fn settings(targets: Vec<Arc<Target>>) -> Settings {
    Settings {
        plugins: Vec::new(),
        defaults: Hook::ALL.to_vec(),
        skip: SkipSettings::default(),
        path_map: Vec::new(),
        targets,
        threads: 2,
    }
}

/// Settings with one target, `registry.example`, and these plugins.
fn settings_with(plugins: Vec<PluginSettings>) -> Settings {
    Settings { plugins, ..settings(vec![target("default", "registry.example", "")]) }
}

fn plugin(name: &str, module: PathBuf, config: Option<serde_json::Value>) -> PluginSettings {
    PluginSettings {
        name: name.to_owned(),
        module: Module::File(module),
        config,
        limits: PluginLimits::default(),
        on_failure: OnFailure::Fail,
    }
}

fn hostile(action: serde_json::Value) -> PluginSettings {
    plugin("hostile", guests::hostile(), Some(action))
}

fn image_use(namespace: &str, image: &str) -> ImageUse {
    let workload = Workload {
        id: WorkloadId { kind: WorkloadKind::Deployment, namespace: namespace.to_owned(), name: "web".to_owned() },
        uid: String::new(),
        owners: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        namespace_labels: Arc::default(),
        created: 0,
    };
    ImageUse {
        workload: Arc::new(workload),
        container: Container { name: "main".to_owned(), kind: ContainerKind::Regular },
        image: image.to_owned(),
        running: Vec::new(),
        platforms: None,
        pull_secrets: Vec::new(),
    }
}

fn load(settings: Settings) -> Policy {
    Policy::load(settings, Arc::new(())).unwrap_or_else(|errors| panic!("{errors:?}"))
}

async fn decide(policy: &Policy, image_use: ImageUse) -> Decision {
    policy.decide(vec![image_use]).await.remove(0)
}

/// The verdict in one line: references, `skip: …` or `error: …`.
fn outcome(decision: &Decision) -> String {
    match &decision.verdict {
        Verdict::Mirror { destinations, .. } => {
            destinations.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        }
        Verdict::Skip(reason) => format!("skip: {reason}"),
        Verdict::Error { reason, .. } => format!("error: {reason}"),
    }
}

/// Records failed calls.
#[derive(Default)]
struct Failures(Mutex<Vec<(String, Hook, Option<&'static str>)>>);

impl Observer for Failures {
    fn observe(&self, event: &Event<'_>) {
        if let Event::PluginCalled { plugin, hook, error, .. } = event {
            self.0.lock().unwrap().push(((*plugin).to_owned(), *hook, *error));
        }
    }
}
