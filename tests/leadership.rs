//! Of several replicas one mirrors; when it goes, another takes over.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    mirroring::{arrives, single},
    support::{Access, Cluster, Fault, Link, Program, Registry, Request, Running, deployment, eventually},
    watching::under_way,
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
        self.start_over(self.cluster.port(), pod)
    }

    /// One that reaches the API server over another port, and copies one image at a time.
    fn start_over(&self, port: u16, pod: &str) -> Running {
        let program = Program::new(&[]);
        let kubeconfig = self.cluster.kubeconfig_over(port, program.directory(), self.cluster.admin_token());
        program
            .env("KUBECONFIG", kubeconfig)
            .env("POD_NAMESPACE", &self.namespace)
            .env("HOSTNAME", pod)
            .env("TARGET_KIND", "docker")
            .env("TARGET_REGISTRY", self.target.host())
            .env("INCLUDE_NAMESPACES", &self.namespace)
            .env("WATCH_RESOURCES", "deployments")
            .env("MAX_CONCURRENT_RECONCILES", "1")
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

    /// A new image that a new Deployment runs.
    async fn deploy(&self, name: &str) {
        let reference = self.source.push(&format!("team/{name}"), "1", &single(name)).await;
        deployment(name).image(&reference).apply(&self.cluster.admin(), &self.namespace).await;
    }

    /// The same, and its first blob takes this long.
    async fn deploy_slowly(&self, name: &str, seconds: u64) {
        self.source.take_requests();
        self.source.inject(1, Request::is_blob, Fault::Delay(Duration::from_secs(seconds)));
        self.deploy(name).await;
        under_way(&self.source).await;
    }

    /// Insists that its image comes to the target.
    async fn arrives(&self, name: &str) {
        arrives(&self.target, &format!("team/{name}"), "1", &single(name)).await;
    }

    /// Insists that a new image is mirrored, by whoever leads.
    async fn mirrors(&self, name: &str) {
        self.deploy(name).await;
        self.arrives(name).await;
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
async fn only_the_leader_mirrors() {
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
async fn a_clean_shutdown_releases_the_lease() {
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
async fn another_replica_takes_over_from_a_killed_leader() {
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
async fn a_leader_that_loses_the_lease_exits() {
    let cluster = Cluster::shared().await;
    let replicas = Replicas::new(cluster).await;
    let leader = replicas.start("first");
    leads(&leader).await;
    replicas.deploy_slowly("slow", 8).await;
    let stolen = json!({ "spec": { "holderIdentity": "somebody else", "leaseDurationSeconds": 15 } });
    replicas.leases().patch(LEASE, &PatchParams::default(), &Patch::Merge(stolen)).await.unwrap();
    let finished = leader.ended().await.assert_code(1);
    assert!(finished.stdout.contains("leadership was lost"), "{}", finished.stdout);
    assert_eq!(replicas.holder().await, "somebody else", "what is another's is not given up");
    // What is under way may end.
    replicas.target.assert_has("team/slow", "1", &single("slow")).await;
}

/// Waits for a line in the log of a replica that goes on leading.
async fn says(leader: &Running, line: &str) {
    leader
        .logged(line, |log| {
            assert!(!log.contains("leadership was lost"), "{log}");
            log.contains(line)
        })
        .await;
}

const PAUSED: &str = "pausing until it is renewed";

#[tokio::test]
async fn the_leader_pauses_while_the_api_server_is_down() {
    let cluster = Cluster::shared().await;
    let replicas = Replicas::new(cluster).await;
    let link = Link::to(cluster.port());
    let mut leader = replicas.start_over(link.port(), "first");
    leads(&leader).await;
    leader.ready().await;
    replicas.deploy_slowly("slow", 16).await;
    replicas.deploy("next").await;
    eventually("the next image waits for its turn", || async {
        let waiting = leader.metrics().await.sum("k8s_copycat_queue_length", &[("state", "waiting")]);
        (waiting == 1.0).then_some(())
    })
    .await;

    link.cut();
    says(&leader, PAUSED).await;
    assert_eq!(leader.metrics().await.sum("k8s_copycat_leader", &[]), 0.0);
    assert_eq!(leader.health("/readyz").await.0, 200);
    assert!(leader.post("/force-reconcile").await.1.contains("force reconcile service not ready"));
    replicas.arrives("slow").await;
    replicas.source.take_requests();
    // Two renewals would have been tried meanwhile.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(replicas.source.take_requests(), [], "nothing begins without the Lease");

    link.mend();
    says(&leader, "resuming").await;
    replicas.arrives("next").await;
    assert_eq!(leader.metrics().await.sum("k8s_copycat_leader", &[]), 1.0);
    assert!(leader.log().contains("cannot renew the lease; retrying"));
    replicas.mirrors("after").await;
    assert!(leader.post("/force-reconcile").await.1.contains(r#""triggered":true,"success":true"#));
    leader.terminate().await.assert_code(0);
}

#[tokio::test]
async fn an_api_server_outage_does_not_change_the_leader() {
    let cluster = Cluster::shared().await;
    let replicas = Replicas::new(cluster).await;
    let link = Link::to(cluster.port());
    let mut leader = replicas.start_over(link.port(), "first");
    leads(&leader).await;
    let mut follower = replicas.start_over(link.port(), "second");
    leader.ready().await;
    follower.ready().await;
    link.cut();
    says(&leader, PAUSED).await;
    // Longer than the Lease lasts.
    tokio::time::sleep(Duration::from_secs(7)).await;
    link.mend();
    says(&leader, "resuming").await;
    replicas.mirrors("after").await;
    assert!(replicas.holder().await.starts_with("first_"));
    assert!(!follower.log().contains("\"msg\":\"became the leader\""), "{}", follower.log());
}

#[tokio::test]
async fn a_partitioned_leader_exits_once_it_sees_the_new_leader() {
    let cluster = Cluster::shared().await;
    let replicas = Replicas::new(cluster).await;
    let link = Link::to(cluster.port());
    let mut leader = replicas.start_over(link.port(), "first");
    leads(&leader).await;
    let mut follower = replicas.start("second");
    leader.ready().await;
    follower.ready().await;
    link.cut();
    leads(&follower).await;
    assert!(leader.log().contains(PAUSED), "it had stopped before: {}", leader.log());
    replicas.mirrors("after").await;
    link.mend();
    let finished = leader.ended().await.assert_code(1);
    assert!(finished.stdout.contains("leadership was lost"), "{}", finished.stdout);
    assert!(!finished.stdout.contains("team/after"), "{}", finished.stdout);
    assert!(replicas.holder().await.starts_with("second_"));
}
