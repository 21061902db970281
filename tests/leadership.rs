//! Only the leader mirrors; when it exits, a standby takes over.

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
    watching::wait_for_blob_request,
};

/// The Lease name of the original.
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

    /// Starts a replica as in a Pod of this name.
    fn start(&self, pod: &str) -> Running {
        self.start_through_port(self.cluster.port(), pod)
    }

    /// The same, with another port of the API server. It copies one image at a time.
    fn start_through_port(&self, port: u16, pod: &str) -> Running {
        let program = Program::new(&[]);
        let kubeconfig = self.cluster.kubeconfig_for_port(port, program.directory(), self.cluster.admin_token());
        program
            .env("KUBECONFIG", kubeconfig)
            .env("POD_NAMESPACE", &self.namespace)
            .env("HOSTNAME", pod)
            .env("TARGET_KIND", "docker")
            .env("TARGET_REGISTRY", self.target.host())
            .env("INCLUDE_NAMESPACES", &self.namespace)
            .env("WATCH_RESOURCES", "deployments")
            .env("MAX_CONCURRENT_RECONCILES", "1")
            .env("VERIFY_HOURS", "1000")
            .start()
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.cluster.admin(), &self.namespace)
    }

    async fn holder(&self) -> String {
        let lease = self.leases().get(LEASE).await.unwrap();
        lease.spec.unwrap().holder_identity.unwrap_or_default()
    }

    /// A leader, and a standby that is ready.
    async fn leader_and_standby(&self) -> (Running, Running) {
        let mut leader = self.start("first");
        wait_until_leading(&leader).await;
        assert!(self.holder().await.starts_with("first_"));
        let mut standby = self.start("second");
        leader.ready().await;
        standby.ready().await;
        (leader, standby)
    }

    /// Creates a Deployment with a new image.
    async fn deploy(&self, name: &str) {
        let reference = self.source.push(&format!("team/{name}"), "1", &single(name)).await;
        deployment(name).image(&reference).apply(&self.cluster.admin(), &self.namespace).await;
    }

    /// The same; the first blob of the image takes this long.
    async fn deploy_slowly(&self, name: &str, seconds: u64) {
        self.source.take_requests();
        self.source.inject(1, Request::is_blob, Fault::Delay(Duration::from_secs(seconds)));
        self.deploy(name).await;
        wait_for_blob_request(&self.source).await;
    }

    /// Waits until the image is at the target.
    async fn arrives(&self, name: &str) {
        arrives(&self.target, &format!("team/{name}"), "1", &single(name)).await;
    }

    /// Waits until a new image is mirrored.
    async fn mirrors(&self, name: &str) {
        self.deploy(name).await;
        self.arrives(name).await;
    }
}

async fn wait_until_leading(replica: &Running) {
    eventually("the replica leads", || async {
        // It may not listen yet.
        let answer = replica.request(reqwest::Method::GET, "/metrics").await.ok()?;
        answer.text().await.ok()?.contains("\nk8s_copycat_leader 1\n").then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_the_leader_mirrors() {
    let cluster = Cluster::shared().await;
    let replicas = Replicas::new(cluster).await;
    let (leader, standby) = replicas.leader_and_standby().await;
    replicas.mirrors("app").await;

    let metrics = standby.metrics().await;
    assert_eq!(metrics.sum("k8s_copycat_leader", &[]), 0.0);
    assert!(!metrics.0.contains("k8s_copycat_registry_"), "{metrics:?}");
    assert_eq!(standby.health("/readyz").await.0, 200);
    assert_eq!(standby.post("/reset-cooldown").await.0, 503);
    assert_eq!(
        standby.post("/reset-cooldown").await.1,
        "{\"reset\":false,\"clearedTargets\":0,\"message\":\"cooldown reset service not ready\"}\n"
    );
    assert_eq!(
        standby.post("/force-reconcile").await.1,
        "{\"triggered\":false,\"success\":false,\"workloadsProcessed\":0,\"imagesMirrored\":0,\
         \"message\":\"force reconcile service not ready\"}\n"
    );
    assert_eq!(standby.post("/force-reconcile").await.0, 503);
    assert!(leader.post("/force-reconcile").await.1.contains(r#""triggered":true,"success":true"#));

    standby.terminate().await.assert_code(0);
    assert!(replicas.holder().await.starts_with("first_"), "an exiting standby leaves the Lease alone");
    leader.terminate().await.assert_code(0);
}

#[tokio::test]
async fn a_clean_shutdown_releases_the_lease() {
    let cluster = Cluster::shared().await;
    let replicas = Replicas::new(cluster).await;
    let (leader, standby) = replicas.leader_and_standby().await;
    leader.terminate().await.assert_code(0);
    let holder = replicas.holder().await;
    assert!(!holder.starts_with("first_"), "the Lease is released at exit, not after 15 s: {holder}");
    wait_until_leading(&standby).await;
    replicas.mirrors("after").await;
    assert!(standby.post("/force-reconcile").await.1.contains(r#""triggered":true,"success":true"#));
    let lease = replicas.leases().get(LEASE).await.unwrap().spec.unwrap();
    assert_eq!((lease.lease_duration_seconds, lease.lease_transitions), (Some(15), Some(1)));
    standby.terminate().await.assert_code(0);
}

#[tokio::test]
async fn another_replica_takes_over_from_a_killed_leader() {
    let cluster = Cluster::shared().await;
    let replicas = Replicas::new(cluster).await;
    let (leader, standby) = replicas.leader_and_standby().await;
    leader.kill();
    assert!(replicas.holder().await.starts_with("first_"), "the Lease was not released");
    wait_until_leading(&standby).await;
    assert!(replicas.holder().await.starts_with("second_"));
    replicas.mirrors("after").await;
    standby.terminate().await.assert_code(0);
}

#[tokio::test]
async fn a_leader_that_loses_the_lease_exits() {
    let cluster = Cluster::shared().await;
    let replicas = Replicas::new(cluster).await;
    let leader = replicas.start("first");
    wait_until_leading(&leader).await;
    replicas.deploy_slowly("slow", 8).await;
    let stolen = json!({ "spec": { "holderIdentity": "somebody else", "leaseDurationSeconds": 15 } });
    replicas.leases().patch(LEASE, &PatchParams::default(), &Patch::Merge(stolen)).await.unwrap();
    let finished = leader.wait_for_exit().await.assert_code(1);
    assert!(finished.stdout.contains("leadership was lost"), "{}", finished.stdout);
    assert_eq!(replicas.holder().await, "somebody else", "the Lease of another holder is not released");
    // Active copies finish.
    replicas.target.assert_has("team/slow", "1", &single("slow")).await;
}

/// Waits for a line in the log of a replica that keeps the leadership.
async fn wait_for_line(leader: &Running, line: &str) {
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
    let mut leader = replicas.start_through_port(link.port(), "first");
    wait_until_leading(&leader).await;
    leader.ready().await;
    replicas.deploy_slowly("slow", 16).await;
    replicas.deploy("next").await;
    eventually("the next image waits", || async {
        let waiting = leader.metrics().await.sum("k8s_copycat_queue_length", &[("state", "waiting")]);
        (waiting == 1.0).then_some(())
    })
    .await;

    link.cut();
    wait_for_line(&leader, PAUSED).await;
    assert_eq!(leader.metrics().await.sum("k8s_copycat_leader", &[]), 0.0);
    assert_eq!(leader.health("/readyz").await.0, 200);
    assert!(leader.post("/force-reconcile").await.1.contains("force reconcile service not ready"));
    replicas.arrives("slow").await;
    replicas.source.take_requests();
    // Long enough for two attempts to renew.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(replicas.source.take_requests(), [], "no new copy without the Lease");
    let oldest_verification = "k8s_copycat_oldest_verification_timestamp_seconds";
    assert_eq!(leader.metrics().await.sum(oldest_verification, &[]), 0.0, "nothing is verified without the Lease");

    link.restore();
    wait_for_line(&leader, "resuming").await;
    replicas.arrives("next").await;
    assert!(leader.metrics().await.sum(oldest_verification, &[]) > 0.0);
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
    let mut leader = replicas.start_through_port(link.port(), "first");
    wait_until_leading(&leader).await;
    let mut standby = replicas.start_through_port(link.port(), "second");
    leader.ready().await;
    standby.ready().await;
    link.cut();
    wait_for_line(&leader, PAUSED).await;
    // Longer than the Lease is valid.
    tokio::time::sleep(Duration::from_secs(7)).await;
    link.restore();
    wait_for_line(&leader, "resuming").await;
    replicas.mirrors("after").await;
    assert!(replicas.holder().await.starts_with("first_"));
    assert!(!standby.log().contains("\"msg\":\"became the leader\""), "{}", standby.log());
}

#[tokio::test]
async fn a_partitioned_leader_exits_once_it_sees_the_new_leader() {
    let cluster = Cluster::shared().await;
    let replicas = Replicas::new(cluster).await;
    let link = Link::to(cluster.port());
    let mut leader = replicas.start_through_port(link.port(), "first");
    wait_until_leading(&leader).await;
    let mut standby = replicas.start("second");
    leader.ready().await;
    standby.ready().await;
    link.cut();
    wait_until_leading(&standby).await;
    assert!(leader.log().contains(PAUSED), "it paused before: {}", leader.log());
    replicas.mirrors("after").await;
    link.restore();
    let finished = leader.wait_for_exit().await.assert_code(1);
    assert!(finished.stdout.contains("leadership was lost"), "{}", finished.stdout);
    assert!(!finished.stdout.contains("team/after"), "{}", finished.stdout);
    assert!(replicas.holder().await.starts_with("second_"));
}
