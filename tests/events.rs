//! Events on workloads report the current cause of a failure.

use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Event;
use kube::{Api, api::ListParams};

use crate::{
    mirroring::{arrives, single},
    support::{Access, Cluster, Fault, Program, Registry, Request, Running, deployment, eventually},
};

/// Far more than a test takes.
const DEADLINE: Duration = Duration::from_secs(120);

/// A Deployment whose image is missing, and a running controller.
struct FailingWorkload<'a> {
    cluster: &'a Cluster,
    namespace: String,
    source: Registry,
    target: Registry,
    program: Running,
    started: Instant,
}

impl<'a> FailingWorkload<'a> {
    /// `rules` are the rules of the ServiceAccount's Role, besides the one to watch Deployments.
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

    /// Reason, message and count of all events, the oldest first.
    async fn events(&self) -> Vec<(String, String, i32)> {
        let events: Api<Event> = Api::namespaced(self.cluster.admin(), &self.namespace);
        let mut events = events.list(&ListParams::default()).await.unwrap().items;
        events.sort_by_key(|event| event.metadata.creation_timestamp.clone());
        let describe = |event: Event| {
            let object = event.involved_object;
            assert!(object.uid.is_some() && object.name.as_deref() == Some("web"), "{object:?}");
            let count = event.series.and_then(|series| series.count).or(event.count).unwrap_or(1);
            (event.reason.unwrap(), event.message.unwrap(), count)
        };
        events.into_iter().map(describe).collect()
    }

    /// Retries the image until `accept` holds for the events.
    async fn retry_until(&self, what: &str, accept: impl Fn(&[(String, String, i32)]) -> bool) {
        self.program.post("/reset-cooldown").await;
        let events = eventually(what, || async {
            let events = self.events().await;
            (accept(&events) || self.started.elapsed() > DEADLINE).then_some(events)
        })
        .await;
        assert!(accept(&events) && events.len() < 8, "not {what}: {events:#?}\n{}", self.program.log());
    }

    /// A cause, the same cause again, another cause, and success.
    async fn assert_events_follow_the_cause(&self) {
        self.retry_until("the failure has an event", |events| events.len() == 1).await;
        let first = self.events().await;
        assert!(first[0].0 == "MirrorFailed" && first[0].1.contains("not found"), "{first:?}");
        self.retry_until(
            "the repeated failure is counted",
            |events| matches!(events, [(_, cause, count)] if cause.contains("not found") && *count > 1),
        )
        .await;

        let image = single("app");
        self.source.push("team/app", "1", &image).await;
        self.target.inject(usize::MAX, Request::is_blob, Fault::Answer(403, Vec::new()));
        self.retry_until("the new cause has an event", |events| {
            events.iter().any(|(reason, cause, _)| reason == "MirrorFailed" && !cause.contains("not found"))
        })
        .await;
        self.target.clear_faults();
        self.retry_until("the success has an event", |events| events.iter().any(|(reason, ..)| reason == "Mirrored"))
            .await;
        arrives(&self.target, "team/app", "1", &image).await;
        let lost = self.program.metrics().await.sum("k8s_copycat_lost_events_total", &[]);
        assert_eq!(lost, 0.0, "{}", self.program.log());
    }
}

#[tokio::test]
async fn a_new_cause_creates_a_new_event() {
    let workload = FailingWorkload::new(
        Cluster::shared().await,
        "- { apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch] }",
    )
    .await;
    workload.assert_events_follow_the_cause().await;
}

#[tokio::test]
async fn the_originals_permissions_are_sufficient() {
    let workload = FailingWorkload::new(
        Cluster::shared().await,
        "- { apiGroups: [''], resources: [events], verbs: [create, patch] }",
    )
    .await;
    workload.assert_events_follow_the_cause().await;
}
