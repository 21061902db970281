//! Of several replicas one mirrors; when it goes, another takes over.

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    mirroring::{arrives, single},
    support::{Access, Cluster, Program, Registry, Running, deployment, eventually},
};

/// The Lease of the original.
const LEASE: &str = "k8s-copycat.k8s-copycat";

struct Replicas<'a> {
    cluster: &'a Cluster,
    namespace: String,
    source: Registry,
    target: Registry,
}

impl<'a> Replicas<'a> {
    async fn new(cluster: &'a Cluster) -> Self {
        Self {
            cluster,
            namespace: cluster.namespace().await,
            source: Registry::distribution(Access::Anonymous).await,
            target: Registry::crane().await,
        }
    }

    /// One replica, as its Pod of that name would run.
    fn start(&self, pod: &str) -> Running {
        let program = Program::new(&[]);
        let kubeconfig = self.cluster.kubeconfig(program.directory(), self.cluster.admin_token());
        program
            .env("KUBECONFIG", kubeconfig)
            .env("POD_NAMESPACE", &self.namespace)
            .env("HOSTNAME", pod)
            .env("TARGET_KIND", "docker")
            .env("TARGET_REGISTRY", self.target.host())
            .env("INCLUDE_NAMESPACES", &self.namespace)
            .start()
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.cluster.admin(), &self.namespace)
    }

    async fn holder(&self) -> String {
        let lease = self.leases().get(LEASE).await.unwrap();
        lease.spec.unwrap().holder_identity.unwrap_or_default()
    }

    /// A replica that leads, and another that is ready to.
    async fn leader_and_follower(&self) -> (Running, Running) {
        let mut leader = self.start("first");
        leads(&leader).await;
        assert!(self.holder().await.starts_with("first_"));
        let mut follower = self.start("second");
        leader.ready().await;
        follower.ready().await;
        (leader, follower)
    }

    /// Insists that a new image is mirrored, by whoever leads.
    async fn mirrors(&self, name: &str) {
        let image = single(name);
        let reference = self.source.push(&format!("team/{name}"), "1", &image).await;
        deployment(name).image(&reference).apply(&self.cluster.admin(), &self.namespace).await;
        arrives(&self.target, &format!("team/{name}"), "1", &image).await;
    }
}

async fn leads(replica: &Running) {
    eventually("the replica leads", || async {
        // Its listener may not be there yet.
        let answer = replica.request(reqwest::Method::GET, "/metrics").await.ok()?;
        answer.text().await.ok()?.contains("\nk8s_copycat_leader 1\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_replica_mirrors_and_the_other_stands_by() {
    let cluster = Cluster::shared().await;
    let replicas = Replicas::new(cluster).await;
    let (leader, follower) = replicas.leader_and_follower().await;
    replicas.mirrors("app").await;

    let metrics = follower.metrics().await;
    assert_eq!(metrics.sum("k8s_copycat_leader", &[]), 0.0);
    assert!(!metrics.0.contains("k8s_copycat_registry_"), "{metrics:?}");
    assert_eq!(follower.health("/readyz").await.0, 200);
    assert_eq!(
        follower.post("/reset-cooldown").await.1,
        "{\"reset\":false,\"clearedTargets\":0,\"message\":\"cooldown reset service not ready\"}\n"
    );
    assert_eq!(
        follower.post("/force-reconcile").await.1,
        "{\"triggered\":false,\"success\":false,\"workloadsProcessed\":0,\"imagesMirrored\":0,\
         \"message\":\"force reconcile service not ready\"}\n"
    );
    assert!(leader.post("/force-reconcile").await.1.contains(r#""triggered":true,"success":true"#));

    follower.terminate().await.assert_code(0);
    assert!(replicas.holder().await.starts_with("first_"), "a follower that ends takes nothing along");
    leader.terminate().await.assert_code(0);
}

#[tokio::test]
async fn a_leader_that_ends_cleanly_makes_way_at_once() {
    let cluster = Cluster::shared().await;
    let replicas = Replicas::new(cluster).await;
    let (leader, follower) = replicas.leader_and_follower().await;
    leader.terminate().await.assert_code(0);
    let holder = replicas.holder().await;
    assert!(!holder.starts_with("first_"), "the Lease is free when the process has gone, not after 15 s: {holder}");
    leads(&follower).await;
    replicas.mirrors("after").await;
    assert!(follower.post("/force-reconcile").await.1.contains(r#""triggered":true,"success":true"#));
    let lease = replicas.leases().get(LEASE).await.unwrap().spec.unwrap();
    assert_eq!((lease.lease_duration_seconds, lease.lease_transitions), (Some(15), Some(1)));
    follower.terminate().await.assert_code(0);
}

#[tokio::test]
async fn when_the_leader_is_killed_another_takes_over() {
    let cluster = Cluster::shared().await;
    let replicas = Replicas::new(cluster).await;
    let (leader, follower) = replicas.leader_and_follower().await;
    leader.kill();
    assert!(replicas.holder().await.starts_with("first_"), "nobody has given the Lease up");
    leads(&follower).await;
    assert!(replicas.holder().await.starts_with("second_"));
    replicas.mirrors("after").await;
    follower.terminate().await.assert_code(0);
}

#[tokio::test]
async fn a_leader_that_lost_the_lease_ends() {
    let cluster = Cluster::shared().await;
    let replicas = Replicas::new(cluster).await;
    let leader = replicas.start("first");
    leads(&leader).await;
    let stolen = json!({ "spec": { "holderIdentity": "somebody else", "leaseDurationSeconds": 15 } });
    replicas.leases().patch(LEASE, &PatchParams::default(), &Patch::Merge(stolen)).await.unwrap();
    let finished = leader.ended().await.assert_code(1);
    assert!(finished.stdout.contains("leadership was lost"), "{}", finished.stdout);
    assert_eq!(replicas.holder().await, "somebody else", "what is another's is not given up");
}
