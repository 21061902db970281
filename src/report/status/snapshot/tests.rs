use std::time::Duration;

use super::*;
use crate::{
    model::{
        Activity, AtTarget, CopyProgress, Digest, ImageRecord, ImageStatus, MirrorPhase, Outcome, Seen, Status,
        UnmirroredUse, Workload, WorkloadId, WorkloadKind,
    },
    report::{
        status::entry,
        testing::{failed, image_status, outcome, workload},
    },
};

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_788_300 + seconds)
}

fn deployment(namespace: &str, name: &str) -> Arc<Workload> {
    workload(WorkloadId { kind: WorkloadKind::Deployment, namespace: namespace.into(), name: name.into() })
}

fn image(outcome: &Outcome, activity: Activity, workloads: &[(&str, &str)]) -> ImageStatus {
    let mut record = ImageRecord::new(at(0));
    record.record(outcome, at(10));
    let workloads = workloads.iter().map(|(namespace, name)| deployment(namespace, name)).collect();
    ImageStatus { workloads, ..image_status(outcome, record, activity) }
}

fn skipped(namespace: &str, name: &str) -> Arc<UnmirroredUse> {
    Arc::new(UnmirroredUse {
        workload: deployment(namespace, name),
        container: "main".into(),
        image: "busybox".into(),
        reason: "namespace is in skipNamespaces".into(),
        is_skipped: true,
        since: at(3),
    })
}

/// Five images, the last of them of two skipped workloads.
fn snapshot() -> Snapshot {
    let digest = Digest::sha256(b"1");
    let there = outcome("nginx:1", Status::AlreadyThere(digest.clone()));
    let seen = Seen { at_target: AtTarget::Digest(digest), at_source: None };
    let unverified = Outcome { seen, ..outcome("redis:7", failed("connection refused")) };
    let missing = Outcome {
        seen: Seen { at_target: AtTarget::Nothing, at_source: None },
        ..outcome("postgres:17", failed("<script>alert(1)</script>"))
    };
    let copying = outcome("kafka:4", failed("reset"));
    let progress = Arc::new(CopyProgress::default());
    progress.begin();
    progress.add_total(1000);
    progress.add_done(400);
    let mirror = MirrorStatus {
        phase: MirrorPhase::Mirroring,
        images: vec![
            image(&there, Activity::Idle, &[("shop", "web"), ("shop", "api")]),
            image(&unverified, Activity::Cooldown { until: at(70) }, &[("shop", "cache")]),
            image(&missing, Activity::Waiting, &[("data", "db")]),
            image(&copying, Activity::Copying { started: at(20), progress }, &[("data", "log")]),
        ],
        unmirrored: vec![skipped("kube-system", "b"), skipped("kube-system", "a")],
        workloads: 7,
        pass_began: None,
    };
    let target = Arc::clone(&there.destination.target);
    let replica = ReplicaStatus {
        is_leader: true,
        leader: Some("copycat-0_1".into()),
        targets: vec![target],
        next_pass: Some(at(3600)),
        mirror,
        ..ReplicaStatus::default()
    };
    Snapshot::new(replica, Counted::default(), at(30))
}

fn images(query: &str) -> Vec<String> {
    let status = snapshot().status(&Query::parse(query).unwrap());
    assert_eq!(status.page.total, status.images.len());
    status.images.into_iter().map(|image| format!("{} {}", image.image, image.state)).collect()
}

#[test]
fn the_worst_images_come_first() {
    let all = ["postgres:17 missing", "kafka:4 unknown", "redis:7 unverified", "nginx:1 mirrored", "busybox skipped"];
    assert_eq!(images(""), all);
}

#[test]
fn every_parameter_selects() {
    for (query, expected) in [
        ("state=missing,unverified", &["postgres:17 missing", "redis:7 unverified"][..]),
        ("state=cooldown", &["redis:7 unverified"]),
        ("state=copying&state=waiting", &["postgres:17 missing", "kafka:4 unknown"]),
        ("state=skipped", &["busybox skipped"]),
        ("namespace=shop", &["redis:7 unverified", "nginx:1 mirrored"]),
        ("workload=api", &["nginx:1 mirrored"]),
        ("workload=shop/api", &["nginx:1 mirrored"]),
        ("workload=deployment%20kube-system/a", &["busybox skipped"]),
        ("namespace=data&workload=web", &[]),
        ("registry=docker.io&state=mirrored", &["nginx:1 mirrored"]),
        ("registry=quay.io", &[]),
        ("target=default&state=missing", &["postgres:17 missing"]),
        ("target=other", &[]),
        ("destination=mirror.example/library/redis:7", &["redis:7 unverified"]),
        ("text=ALERT", &["postgres:17 missing"]),
        ("text=shop/w", &["nginx:1 mirrored"]),
        ("text=skipNamespaces", &["busybox skipped"]),
    ] {
        assert_eq!(images(query), expected, "{query}");
    }
}

#[test]
fn pages_follow_one_another() {
    let snapshot = snapshot();
    let page = |query: &str| {
        let status = snapshot.status(&Query::parse(query).unwrap());
        (status.images.len(), status.page.total, status.page.next)
    };
    assert_eq!(page("limit=2"), (2, 5, Some(2)));
    assert_eq!(page("limit=2&offset=4"), (1, 5, None));
    assert_eq!(page("limit=2&offset=40"), (0, 5, None));
    assert_eq!(page("offset=18446744073709551615"), (0, 5, None));
}

#[test]
fn the_summary_counts_everything_whatever_the_query() {
    let status = snapshot().status(&Query::parse("state=conflict").unwrap());
    assert!(status.images.is_empty());
    let summary = serde_json::to_value(&status.summary).unwrap();
    let expected = serde_json::json!({
        "images": { "missing": 1, "stale": 0, "conflict": 0, "unknown": 1, "unverified": 1, "dry_run": 0, "mirrored": 1 },
        "imageUses": { "undecided": 0, "skipped": 2 },
        "queue": { "waiting": 1, "copying": 1, "cooldown": 1 },
        "lackingReferrers": 0,
        "verified": {"missing": 0, "incomplete": 0, "corrupt": 0, "unknown": 0, "drifted": 0, "whole": 0, "none": 4},
            "workloads": 7,
        "oldestNotMirrored": "2026-11-27T14:05:00Z",
        "bytesToday": 0,
        "passes": { "runningSince": null, "last": null, "next": "2026-11-27T15:05:00Z" },
    });
    assert_eq!(summary, expected);
    assert_eq!(status.targets[0].images["missing"], 1);
}

#[test]
fn an_image_tells_its_story() {
    let status = snapshot().status(&Query::parse("text=redis").unwrap());
    let redis = &status.images[0];
    assert_eq!(redis.reason.as_deref(), Some("connection refused"));
    assert_eq!(redis.digest_at_target.as_ref().map(String::len), Some(71));
    assert_eq!((redis.failures, redis.failing_since.as_deref()), (1, Some("2026-11-27T14:05:10Z")));
    assert_eq!(redis.next_try.as_deref(), Some("2026-11-27T14:06:10Z"));
    let status = snapshot().status(&Query::parse("state=copying").unwrap());
    let progress = status.images[0].progress.as_ref().unwrap();
    assert_eq!((progress.bytes, progress.total_bytes, &*progress.started), (400, 1000, "2026-11-27T14:05:20Z"));
    let status = snapshot().status(&Query::parse("state=skipped").unwrap());
    assert_eq!((status.images[0].workload_count, &*status.images[0].workloads[0].name), (2, "a"));
}

#[test]
fn the_last_attempts_are_kept_but_those_that_found_it_in_place() {
    let digest = Digest::sha256(b"1");
    let there = outcome("nginx:1", Status::AlreadyThere(digest.clone()));
    let mut image = image(&outcome("nginx:1", Status::Copied(digest)), Activity::Idle, &[("shop", "web")]);
    for second in 11..20 {
        image.record.record(&there, at(second));
    }
    let attempts = |image: &ImageStatus| -> Vec<String> {
        let earlier = image.record.earlier_attempts.iter().map(entry::attempt_document);
        earlier.map(|attempt| format!("{} {}", attempt.result, attempt.ended)).collect()
    };
    assert_eq!(attempts(&image), ["copied 2026-11-27T14:05:10Z"]);
    for second in 20..30 {
        image.record.record(&outcome("nginx:1", failed("reset")), at(second));
    }
    let last = ["28", "27", "26", "25"].map(|second| format!("failed 2026-11-27T14:05:{second}Z"));
    assert_eq!(attempts(&image), last);
}

#[test]
fn a_registry_at_which_images_fail_is_listed_however_it_answers() {
    let registries = |images| {
        let mirror = MirrorStatus { images, ..MirrorStatus::default() };
        let replica = ReplicaStatus { mirror, ..ReplicaStatus::default() };
        let status = Snapshot::new(replica, Counted::default(), at(30)).status(&Query::default());
        status.registries.into_iter().map(|found| (found.registry, found.images_failing)).collect::<Vec<_>>()
    };
    let failing = |name: &str, kind| {
        let failure = crate::model::Failure { kind, message: "401".into(), retry: crate::model::Retry::Later };
        image(&outcome(name, Status::Failed(failure)), Activity::Idle, &[("shop", "web")])
    };
    let images = vec![
        failing("a:1", FailureKind::Source),
        failing("b:1", FailureKind::SourceBlob),
        failing("c:1", FailureKind::Target),
        failing("d:1", FailureKind::Conflict),
    ];
    assert_eq!(registries(images), [("docker.io".to_owned(), 2), ("mirror.example".to_owned(), 1)]);
}

#[test]
fn namespaces_and_registries_are_offered() {
    let snapshot = snapshot();
    assert!(snapshot.namespaces().iter().eq(["data", "kube-system", "shop"]));
    assert!(snapshot.source_registries().iter().eq(["docker.io"]));
    let mut names = BTreeSet::new();
    (0..2 * MAX_NAMES).for_each(|number| add_name(&mut names, &number.to_string()));
    assert_eq!(names.len(), MAX_NAMES);
}

/// `UPDATE_SCHEMA=1` writes it.
#[test]
fn the_schema_in_the_documents_is_that_of_the_types() {
    let schema = serde_json::to_string_pretty(&schemars::schema_for!(document::Status)).unwrap() + "\n";
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/status.schema.json");
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(file, &schema).unwrap();
    }
    assert_eq!(std::fs::read_to_string(file).unwrap(), schema, "run this test with UPDATE_SCHEMA=1");
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    let status = serde_json::to_value(snapshot().status(&Query::default())).unwrap();
    assert!(validator.is_valid(&status), "{:?}", validator.iter_errors(&status).next());
}
