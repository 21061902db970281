//! What the owners of workloads read: events that tell the present cause of a failure.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Event;
use kube::{Api, api::ListParams};

use crate::{
    mirroring::{arrives, single},
    support::{Access, Cluster, Fault, Program, Registry, Request, Running, deployment, eventually},
};

/// How long all of it may take; far more than it does.
const DEADLINE: Duration = Duration::from_secs(120);

/// A Deployment whose image is missing, and the controller with these rights.
struct Failing<'a> {
    cluster: &'a Cluster,
    namespace: String,
    source: Registry,
    target: Registry,
    program: Running,
    started: Instant,
}

impl<'a> Failing<'a> {
    /// `rules` are those of the ServiceAccount's Role besides the one to watch Deployments.
    async fn new(cluster: &'a Cluster, rules: &str) -> Self {
        let namespace = cluster.namespace().await;
        cluster
            .apply(&format!(
                "
apiVersion: v1
kind: ServiceAccount
metadata: {{ name: copycat, namespace: {namespace} }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{ name: copycat, namespace: {namespace} }}
rules:
  - {{ apiGroups: [apps], resources: [deployments], verbs: [get, list, watch] }}
  {rules}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{ name: copycat, namespace: {namespace} }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: Role, name: copycat }}
subjects: [{{ kind: ServiceAccount, name: copycat, namespace: {namespace} }}]
"
            ))
            .await;
        let source = Registry::distribution(Access::Anonymous).await;
        let target = Registry::crane().await;
        let missing = format!("{}/team/app:1", source.host());
        deployment("web").image(&missing).apply(&cluster.admin(), &namespace).await;
        let directory = tempfile::tempdir().unwrap();
        let token = cluster.service_account_token(&namespace, "copycat").await;
        let kubeconfig = cluster.kubeconfig(directory.path(), &token);
        let mut program = Program::controller(&kubeconfig)
            .env("TARGET_KIND", "docker")
            .env("TARGET_REGISTRY", target.host())
            .env("WATCH_RESOURCES", "deployments")
            .config(&format!("includeNamespaces: [{namespace}]\n"))
            .start();
        program.ready().await;
        Self { cluster, namespace, source, target, program, started: Instant::now() }
    }

    /// Reason, cause and how often it was told, of all events, the oldest first.
    async fn told(&self) -> Vec<(String, String, i32)> {
        let events: Api<Event> = Api::namespaced(self.cluster.admin(), &self.namespace);
        let mut events = events.list(&ListParams::default()).await.unwrap().items;
        events.sort_by_key(|event| event.metadata.creation_timestamp.clone());
        let tell = |event: Event| {
            let object = event.involved_object;
            assert!(object.uid.is_some() && object.name.as_deref() == Some("web"), "{object:?}");
            let count = event.series.and_then(|series| series.count).or(event.count).unwrap_or(1);
            (event.reason.unwrap(), event.message.unwrap(), count)
        };
        events.into_iter().map(tell).collect()
    }

    /// Tries again until this is so of what was told.
    async fn tries_until(&self, what: &str, accept: impl Fn(&[(String, String, i32)]) -> bool) {
        self.program.post("/reset-cooldown").await;
        let told = eventually(what, || async {
            let told = self.told().await;
            (accept(&told) || self.started.elapsed() > DEADLINE).then_some(told)
        })
        .await;
        assert!(accept(&told) && told.len() < 4, "not {what}: {told:#?}\n{}", self.program.log());
    }

    /// From a first cause over the same once more and another one to the end.
    async fn tells_the_present_cause(&self) {
        self.tries_until("the failure is told", |told| told.len() == 1).await;
        let first = self.told().await;
        assert!(first[0].0 == "MirrorFailed" && first[0].1.contains("not found"), "{first:?}");
        self.tries_until("the same is told by the same event", |told| told.len() == 1 && told[0].2 > 1).await;

        let image = single("app");
        self.source.push("team/app", "1", &image).await;
        self.target.inject(usize::MAX, Request::is_blob, Fault::Answer(403, Vec::new()));
        self.tries_until("the new cause is told", |told| {
            told.iter().any(|(reason, cause, _)| reason == "MirrorFailed" && !cause.contains("not found"))
        })
        .await;
        self.target.heal();
        self.tries_until("the end is told", |told| told.iter().any(|(reason, ..)| reason == "Mirrored")).await;
        arrives(&self.target, "team/app", "1", &image).await;
        let lost = self.program.metrics().await.sum("k8s_copycat_lost_events_total", &[]);
        assert_eq!(lost, 0.0, "{}", self.program.log());
    }
}

#[tokio::test]
async fn a_new_cause_creates_a_new_event() {
    let failing = Failing::new(
        Cluster::shared().await,
        "- { apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch] }",
    )
    .await;
    failing.tells_the_present_cause().await;
}

#[tokio::test]
async fn the_originals_permissions_are_sufficient() {
    let failing =
        Failing::new(Cluster::shared().await, "- { apiGroups: [''], resources: [events], verbs: [create, patch] }")
            .await;
    failing.tells_the_present_cause().await;
}
