//! A replica with many images in all states, served as the program serves it.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures::{FutureExt, future::BoxFuture};
use k8s_copycat::{
    model::{
        Activity, AtTarget, Container, ContainerKind, CopyProgress, Decision, Destination, Digest, Event, Failure,
        FailureKind, Hook, ImageRecord, ImageStatus, ImageUse, MirrorPhase, MirrorStatus, Observer, Outcome,
        PassSummary, PluginStatus, Reference, Retry, Seen, Status, TagMeaning, Target, TargetKind, TraceEntry,
        UnmirroredUse, Verdict, Workload, WorkloadId, WorkloadKind,
    },
    report::{
        CooldownReset, ForcedPass, Metrics, Operations, PluginsReport, serve_operations,
        status::{ReplicaStatus, Traffic},
    },
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The image whose names and texts try to become part of the page.
pub const EVIL: &str = "evil.example/\"><script>alert(1)</script>";

/// A replica in this state; the plugins mirror everything.
struct Replica(ReplicaStatus);

impl Operations for Replica {
    fn reset_cooldown(&self) -> BoxFuture<'_, CooldownReset> {
        std::future::ready(CooldownReset::NotReady).boxed()
    }

    fn force_reconcile(&self) -> BoxFuture<'_, ForcedPass> {
        std::future::ready(ForcedPass::NotReady).boxed()
    }

    fn plugins(&self) -> PluginsReport {
        PluginsReport { plugins: plugins(), reload_error: None, needs_restart: vec!["watchResources"] }
    }

    fn status(&self) -> BoxFuture<'_, Option<ReplicaStatus>> {
        std::future::ready(Some(self.0.clone())).boxed()
    }

    fn decide(&self, workload: WorkloadId, image: String) -> BoxFuture<'static, Option<Vec<(ImageUse, Decision)>>> {
        let container = Container { name: "main".into(), kind: ContainerKind::Regular };
        let workload = workload_of(workload.kind, &workload.namespace, &workload.name);
        let answer = |hook, plugin: &str, answer: &str, micros| TraceEntry {
            hook,
            plugin: plugin.into(),
            answer: answer.into(),
            took: Duration::from_micros(micros),
        };
        let trace = vec![
            answer(Hook::Skip, "teams", "pass", 212),
            answer(Hook::Skip, "skip", "keep", 48),
            answer(Hook::TargetSelection, "target-selection", "default", 35),
            answer(Hook::PathMapping, "path-mapping", "library/nginx", 51),
            answer(Hook::RepositoryPrefix, "repository-prefix", "mirror/docker.io", 40),
        ];
        let verdict = match image.parse::<Reference>() {
            Ok(source) => Verdict::Mirror { destinations: vec![destination(&source)], source },
            Err(error) => Verdict::Error { reason: error.to_string(), retry: false },
        };
        let image_use =
            ImageUse { workload, container, image, running: Vec::new(), platforms: None, pull_secrets: Vec::new() };
        std::future::ready(Some(vec![(image_use, Decision { verdict, trace })])).boxed()
    }
}

/// Serves a replica with this many mirrored images and some that are not, and returns its address.
pub async fn serve(mirrored: usize) -> SocketAddr {
    serve_replica(replica(mirrored)).await
}

/// Serves a standby that knows the leader.
pub async fn serve_standby() -> SocketAddr {
    let standby = ReplicaStatus { leader: Some("k8s-copycat-7d9f_b81c".into()), ..ReplicaStatus::default() };
    serve_replica(standby).await
}

async fn serve_replica(replica: ReplicaStatus) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let operations = Arc::new(Replica(replica));
    let metrics = Arc::new(Metrics::new().unwrap());
    tokio::spawn(serve_operations(listener, metrics, operations, traffic(), None, CancellationToken::new()));
    address
}

fn traffic() -> Arc<Traffic> {
    let traffic = Arc::new(Traffic::default());
    let request = |registry, count, status| {
        for _ in 0..count {
            traffic.observe(&Event::Requested { registry, method: "HEAD", status });
        }
    };
    request("docker.io", 310, Some(200));
    request("docker.io", 2, Some(429));
    request("quay.io", 3, None);
    request("mirror.example", 1200, Some(200));
    traffic.observe(&Event::Throttled { registry: "docker.io" });
    traffic.observe(&Event::PullsLeft { registry: "docker.io", left: 87, limit: Some(100) });
    traffic.observe(&Event::BytesCopied(12_300_000_000));
    let ended = SystemTime::now() - Duration::from_secs(1800);
    let began = ended - Duration::from_secs(42);
    traffic.observe(&Event::PassEnded(PassSummary { began, ended, workloads: 412, images: 20_000, failures: 9 }));
    traffic
}

fn plugins() -> Vec<PluginStatus> {
    let plugin = |name: &str, module: &str, hook, calls| PluginStatus {
        name: name.into(),
        module: module.into(),
        digest: None,
        contract: "1.0.0".into(),
        hooks: vec![hook],
        loaded: SystemTime::now(),
        calls,
        failures: [].into(),
        instances: 2,
        memory: 1_300_000,
        given_up_for: None,
    };
    let suspended = PluginStatus {
        failures: [("trap", 5), ("deadline", 2)].into(),
        given_up_for: Some(Duration::from_secs(34)),
        ..plugin("teams", "/plugins/teams.wasm.gz", Hook::Skip, 20_412)
    };
    vec![
        suspended,
        plugin("skip", "built in", Hook::Skip, 20_405),
        plugin("target-selection", "built in", Hook::TargetSelection, 20_300),
        plugin("path-mapping", "built in", Hook::PathMapping, 20_300),
        plugin("repository-prefix", "built in", Hook::RepositoryPrefix, 20_300),
    ]
}

fn replica(mirrored: usize) -> ReplicaStatus {
    let digest = Digest::sha256(b"1");
    let copied = |_: &Reference| Status::Copied(digest.clone());
    let mut images: Vec<ImageStatus> = (0..mirrored)
        .map(|number| {
            let image = format!("docker.io/team-{}/service-{number}:1.{}.0", number % 40, number % 7);
            image_status(&image, copied, Seen::default(), Activity::Idle, &format!("team-{}", number % 40))
        })
        .collect();
    let nothing = || Seen { at_target: AtTarget::Nothing, at_source: Some(Digest::sha256(b"2")) };
    let other = || Seen { at_target: AtTarget::Digest(digest.clone()), at_source: Some(Digest::sha256(b"2")) };
    let unasked = || Seen { at_target: AtTarget::Digest(digest.clone()), at_source: None };
    let in_a_minute = || Activity::Cooldown { until: SystemTime::now() + Duration::from_secs(75) };
    let failed = |kind, message: &str| {
        let failure = Failure { kind, message: message.to_owned(), retry: Retry::Soon };
        move |_: &Reference| Status::Failed(failure.clone())
    };
    let refused = "quay.io: GET https://quay.io/v2/prometheus/node-exporter/manifests/v1.9.1: connection refused";
    let denied = "mirror.example responded with 403 Forbidden to POST /v2/mirror/ghcr.io/acme/payments/blobs/uploads/: give user \
                  mirror the right to push to this repository";
    let source = FailureKind::Source;
    images.extend([
        image_status(
            "quay.io/prometheus/node-exporter:v1.9.1",
            failed(source, refused),
            nothing(),
            in_a_minute(),
            "monitoring",
        ),
        image_status(
            "ghcr.io/acme/payments:2026.11.3",
            failed(FailureKind::Target, denied),
            nothing(),
            in_a_minute(),
            "shop",
        ),
        image_status("redis:7", failed(source, "429 Too Many Requests"), other(), in_a_minute(), "cache"),
        image_status(
            "quay.io/argoproj/argocd:v3.2.0",
            failed(source, "quay.io: HEAD: no response within 60 s"),
            unasked(),
            in_a_minute(),
            "argocd",
        ),
        image_status(
            "ghcr.io/other/web:1",
            failed(FailureKind::Conflict, "conflict: the destination belongs to docker.io/other/web:1"),
            Seen::default(),
            Activity::Idle,
            "web",
        ),
        image_status("docker.io/team-1/new:9", copied, Seen::default(), Activity::Waiting, "team-1"),
        copying("docker.io/library/kafka:4.1", 312_000_000, 640_000_000),
        copying("quay.io/keycloak/keycloak:26.4.2", 20_000_000, 230_000_000),
    ]);
    if let Some(new) = images.iter_mut().find(|image| matches!(image.activity, Activity::Waiting)) {
        new.record = ImageRecord::new(SystemTime::now());
    }
    let unmirrored = |image: &str, reason: &str, is_skipped, name| {
        Arc::new(UnmirroredUse {
            workload: workload_of(WorkloadKind::DaemonSet, "kube-system", name),
            container: "main".into(),
            image: image.into(),
            reason: reason.into(),
            is_skipped,
            since: SystemTime::now() - Duration::from_secs(5000),
        })
    };
    ReplicaStatus {
        is_leader: true,
        leader: Some("k8s-copycat-7d9f8c6b5-x2x9p_b81c".into()),
        targets: vec![target()],
        dry_run: false,
        dry_pull: false,
        next_pass: Some(SystemTime::now() + Duration::from_secs(1800)),
        mirror: MirrorStatus {
            phase: MirrorPhase::Mirroring,
            images,
            unmirrored: vec![
                unmirrored(EVIL, "the image reference is <b>invalid</b>\u{202e}", false, "evil"),
                unmirrored("registry.k8s.io/pause:3.10", "namespace is in skipNamespaces", true, "pause"),
                unmirrored("registry.k8s.io/pause:3.10", "namespace is in skipNamespaces", true, "pause-2"),
            ],
            workloads: 412,
            pass_began: None,
        },
    }
}

fn target() -> Arc<Target> {
    Arc::new(Target {
        name: "default".into(),
        kind: TargetKind::Docker,
        registry: "mirror.example".into(),
        repo_prefix: "mirror".into(),
    })
}

fn destination(source: &Reference) -> Destination {
    Destination {
        target: target(),
        repository: format!("mirror/{}/{}", source.registry(), source.repository()),
        tag: source.tag().map(str::to_owned),
        digest: None,
    }
}

fn image_status(
    image: &str,
    status: impl Fn(&Reference) -> Status,
    seen: Seen,
    activity: Activity,
    namespace: &str,
) -> ImageStatus {
    let source: Reference = image.parse().unwrap();
    let outcome = Outcome {
        image: image.to_owned(),
        destination: destination(&source),
        status: status(&source),
        source,
        workloads: Vec::new(),
        seen,
        referrers: None,
        copied_from: Vec::new(),
        tag: TagMeaning::default(),
        bytes: 31_400_000,
        took: Duration::from_millis(4_200),
        next_try: None,
    };
    let now = SystemTime::now();
    let mut record = ImageRecord::new(now - Duration::from_secs(90_000));
    for ago in [1500, 700, 130] {
        record.record(&outcome, now - Duration::from_secs(ago));
    }
    let name = outcome.source.repository().rsplit('/').next().unwrap().to_owned();
    let workloads = vec![workload_of(WorkloadKind::Deployment, namespace, &name)];
    let Outcome { image, source, destination, .. } = outcome;
    ImageStatus { image, source, destination, record, activity, owner: None, workloads }
}

fn copying(image: &str, done: u64, total: u64) -> ImageStatus {
    let progress = Arc::new(CopyProgress::default());
    progress.begin();
    progress.add_total(total);
    progress.add_done(done);
    let activity = Activity::Copying { started: SystemTime::now() - Duration::from_secs(14), progress };
    let reset = Failure { kind: FailureKind::Target, message: "connection reset".into(), retry: Retry::Soon };
    let nothing = Seen { at_target: AtTarget::Nothing, at_source: None };
    image_status(image, |_| Status::Failed(reset.clone()), nothing, activity, "data")
}

fn workload_of(kind: WorkloadKind, namespace: &str, name: &str) -> Arc<Workload> {
    Arc::new(Workload {
        id: WorkloadId { kind, namespace: namespace.into(), name: name.into() },
        uid: String::new(),
        owners: Vec::new(),
        labels: [].into(),
        annotations: [].into(),
        namespace_labels: Arc::default(),
        created: 0,
    })
}
