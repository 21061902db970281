//! The whole module: the default plugins, a scripted registry as the source, an image layout as the target.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use tempfile::TempDir;

use super::*;
use crate::{
    model::{
        Container, ContainerKind, CopyProgress, Digest, Event, Hook, Outcome, Reference, Running, Status, Target,
        TargetKind, Workload, WorkloadKind,
    },
    policy,
    registry::{
        Backoff, Layout, Registries, Store, TagOrDigest,
        testing::{RecordedRequest, Reply, Server, settings},
    },
};

/// The manifest of an image without layers, unique for each `text`.
fn manifest(text: &str) -> String {
    let config = format!(
        r#"{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":2}}"#,
        Digest::sha256(b"{}")
    );
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{media_type}","config":{config},"layers":[],"annotations":{{"text":"{text}"}}}}"#
    )
}

fn digest(text: &str) -> Digest {
    Digest::sha256(manifest(text).as_bytes())
}

/// The answer of a registry that has the same image in every repository.
fn serve(request: &RecordedRequest, text: &str) -> Reply {
    let manifest = manifest(text);
    match request.target.rsplit_once('/') {
        Some((path, name)) if path.ends_with("/manifests") => {
            let digest = Digest::sha256(manifest.as_bytes());
            if name.contains(':') && *name != digest.to_string() {
                return Reply::new(404);
            }
            Reply::new(200)
                .header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
                .header("Docker-Content-Digest", digest)
                .body(manifest)
        }
        _ => Reply::new(200).body("{}"),
    }
}

async fn healthy(text: &'static str) -> Server {
    Server::start(move |asked| serve(asked, text)).await
}

/// Accepts connections, and does not answer.
async fn silent() -> Server {
    Server::start(|_| Reply::new(200).after(Duration::from_secs(3600))).await
}

/// The last outcome of each image at its destination, and the state of the queue.
#[derive(Default)]
struct Observed(Mutex<State>);

#[derive(Default)]
struct State {
    outcomes: HashMap<(String, String), Outcome>,
    queue: (usize, usize, usize),
    replaced: Vec<String>,
    in_cooldown: Vec<String>,
    /// Of each copy that has begun.
    progress: Vec<Arc<CopyProgress>>,
    /// Sources whose transfer has begun.
    transferred: Vec<String>,
}

impl Observer for Observed {
    fn observe(&self, event: &Event<'_>) {
        let mut state = self.0.lock().unwrap();
        match event {
            Event::Finished(outcome, _) => {
                let key = (outcome.destination.to_string(), outcome.source.to_string());
                state.outcomes.insert(key, (*outcome).clone());
            }
            Event::ImageChanged { destination, source, after: None, .. } => {
                state.outcomes.remove(&(destination.to_string(), source.to_string()));
            }
            Event::Queue { waiting, active, cooling } => state.queue = (*waiting, *active, *cooling),
            Event::CopyStarted { progress, .. } => state.progress.push(Arc::clone(progress)),
            Event::TransferStarted { source, .. } => state.transferred.push(source.to_string()),
            Event::TagTaken { source, .. } => state.replaced.push(source.to_string()),
            Event::InCooldown { workload, .. } => state.in_cooldown.push(workload.name.clone()),
            _ => {}
        }
    }
}

impl Observed {
    /// The outcome of an image: the target's digest, or the failure.
    fn outcome(&self, source: &str) -> Option<Result<Digest, String>> {
        let source = source.parse::<Reference>().unwrap().to_string();
        let state = self.0.lock().unwrap();
        let outcome = state.outcomes.values().find(|outcome| outcome.source.to_string() == source)?;
        Some(match &outcome.status {
            Status::Copied(digest) | Status::AlreadyThere(digest) => Ok(digest.clone()),
            Status::Failed(failure) => Err(failure.message.clone()),
            other => panic!("{other:?}"),
        })
    }

    fn failures(&self) -> usize {
        let state = self.0.lock().unwrap();
        state.outcomes.values().filter(|outcome| matches!(outcome.status, Status::Failed(_))).count()
    }

    async fn wait<T>(&self, what: &str, accept: impl Fn(&Self) -> Option<T>) -> T {
        for _ in 0..60_000 {
            if let Some(accepted) = accept(self) {
                return accepted;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("still not: {what}");
    }

    async fn wait_for_outcome(&self, source: &str) -> Result<Digest, String> {
        self.wait(source, |seen| seen.outcome(source)).await
    }
}

/// A running mirror, and what it reported.
struct TestMirror {
    mirror: Mirror,
    seen: Arc<Observed>,
    folder: Arc<TempDir>,
}

impl TestMirror {
    async fn start(max_concurrency: usize) -> Self {
        let test = Self::new(Arc::new(tempfile::tempdir().unwrap()), max_concurrency, false);
        test.begin().await;
        test
    }

    /// Restarts with the same target; no workload is set yet.
    async fn restart(&self) -> Self {
        self.mirror.stop(Duration::ZERO).await;
        Self::new(Arc::clone(&self.folder), 4, false)
    }

    /// All workloads that exist have been set.
    async fn begin(&self) {
        self.mirror.inventory_complete().await.unwrap();
        self.mirror.begin().await.unwrap();
    }

    fn new(folder: Arc<TempDir>, max_concurrency: usize, digest_pull: bool) -> Self {
        let target = Arc::new(Target {
            name: "default".into(),
            kind: TargetKind::OciLayout,
            registry: folder.path().display().to_string(),
            repo_prefix: String::new(),
        });
        let seen = Arc::new(Observed::default());
        let policy_settings = policy::Settings {
            plugins: Vec::new(),
            defaults: Hook::ALL.to_vec(),
            skip: policy::SkipSettings::default(),
            path_map: Vec::new(),
            targets: vec![Arc::clone(&target)],
            threads: 2,
        };
        let policy = Arc::new(Policy::load(policy_settings, seen.clone()).unwrap());
        let stores = HashMap::from([(target.name.clone(), Store::Layout(Layout::new(folder.path().into())))]);
        let copy = CopySettings {
            referrers: ReferrerSettings::default(),
            digest_pull,
            digest_pull_ignored_tags: Vec::new(),
            platforms: None,
            allow_different_digest_repush: true,
            dry_run: false,
            dry_pull: false,
            max_concurrent_blobs: 4,
            backoff: Backoff { attempts: 2, cap: Duration::from_millis(1) },
        };
        let sources = Registries::new(settings(), &[], 64).unwrap();
        let copier = Copier::new(sources, stores, copy, seen.clone());
        let mirror =
            Mirror::start(policy, copier, None, seen.clone(), Some(Duration::from_secs(86_400)), max_concurrency);
        Self { mirror, seen, folder }
    }

    /// A Deployment with one container, created at `created`, whose Pods run `running`.
    async fn deploy(&self, name: &str, created: i64, image: &str, running: &[&str]) {
        let id = WorkloadId { kind: WorkloadKind::Deployment, namespace: "ns".into(), name: name.into() };
        let workload = Workload {
            id: id.clone(),
            uid: String::new(),
            owners: Vec::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            namespace_labels: Arc::default(),
            created,
        };
        let running = running.iter().map(|image| Running { image: image.parse().unwrap(), since: created });
        let image_use = ImageUse {
            workload: Arc::new(workload),
            container: Container { name: "main".into(), kind: ContainerKind::Regular },
            image: image.into(),
            running: running.collect(),
            platforms: None,
            pull_secrets: Vec::new(),
        };
        self.mirror.set(id, vec![image_use]).await.unwrap();
    }

    async fn delete(&self, name: &str) {
        let id = WorkloadId { kind: WorkloadKind::Deployment, namespace: "ns".into(), name: name.into() };
        self.mirror.removed(id).await.unwrap();
    }

    /// The target's digest under a tag.
    async fn at_target(&self, repository: &str, tag: &str) -> Option<Digest> {
        let layout = Layout::new(self.folder.path().into());
        layout.repository(repository).head(TagOrDigest::Tag(tag)).await.unwrap()
    }
}

#[tokio::test]
async fn a_silent_registry_does_not_delay_the_others() {
    let (silent, healthy) = (silent().await, healthy("a").await);
    let test = TestMirror::start(4).await;
    for number in 0..50 {
        test.deploy(&format!("s{number}"), 1, &format!("{}/team/app{number}:1", silent.address), &[]).await;
    }
    test.seen.wait("the silent one gets a request", |_| (!silent.requests().is_empty()).then_some(())).await;
    let image = format!("{}/team/good:1", healthy.address);
    test.deploy("good", 2, &image, &[]).await;
    assert_eq!(test.seen.wait_for_outcome(&image).await, Ok(digest("a")));
    assert_eq!(test.seen.failures(), 0, "it did not wait for the silent one's timeout");
}

#[tokio::test]
async fn a_failing_registry_is_not_queried_for_every_image() {
    let broken = Server::start(|_| Reply::new(500)).await;
    let test = TestMirror::start(4).await;
    for number in 0..50 {
        test.deploy(&format!("b{number}"), 1, &format!("{}/team/app{number}:1", broken.address), &[]).await;
    }
    test.seen.wait("all have failed", |seen| (seen.failures() == 50).then_some(())).await;
    let mut requested: Vec<String> = broken.requests().into_iter().map(|request| request.target).collect();
    requested.sort();
    requested.dedup();
    assert!(requested.len() <= 7, "{requested:?}");
    let reasons = test.seen.0.lock().unwrap();
    let not_tried = reasons.outcomes.values().filter(|outcome| match &outcome.status {
        Status::Failed(failure) => failure.message.starts_with("not tried: 127.0.0.1:"),
        _ => false,
    });
    assert!(not_tried.count() >= 43);
}

#[tokio::test]
async fn an_unclaimed_copy_is_cancelled() {
    let (silent, healthy) = (silent().await, healthy("a").await);
    let test = TestMirror::start(1).await;
    test.deploy("stuck", 1, &format!("{}/team/app:1", silent.address), &[]).await;
    test.seen.wait("it is active", |_| (!silent.requests().is_empty()).then_some(())).await;
    let image = format!("{}/team/good:1", healthy.address);
    test.deploy("good", 2, &image, &[]).await;
    test.delete("stuck").await;
    assert_eq!(test.seen.wait_for_outcome(&image).await, Ok(digest("a")));
    test.seen.wait("nothing is left", |seen| (seen.0.lock().unwrap().queue == (0, 0, 0)).then_some(())).await;
    assert_eq!(test.seen.failures(), 0);
}

#[tokio::test]
async fn an_image_removed_while_it_is_copied_is_not_reported() {
    let slow = Server::start(|_| Reply::new(500).after(Duration::from_millis(300))).await;
    let test = TestMirror::start(4).await;
    for _ in 0..3 {
        let asked = slow.requests().len();
        test.deploy("gone", 1, &format!("{}/team/app:1", slow.address), &[]).await;
        test.seen.wait("it is active", |_| (slow.requests().len() > asked).then_some(())).await;
        test.delete("gone").await;
        test.seen.wait("nothing is active", |seen| (seen.0.lock().unwrap().queue == (0, 0, 0)).then_some(())).await;
        assert!(test.seen.0.lock().unwrap().outcomes.is_empty());
    }
}

#[tokio::test]
async fn concurrent_requests_share_a_pass() {
    let source = healthy("a").await;
    let test = TestMirror::start(4).await;
    let image = format!("{}/team/app:1", source.address);
    test.deploy("web", 1, &image, &[]).await;
    test.seen.wait_for_outcome(&image).await.unwrap();
    let before = source.requests().len();
    let reports = join_all((0..100).map(|_| test.mirror.pass(false))).await;
    for report in reports {
        let report = report.unwrap();
        assert_eq!((report.images, report.failures.len()), (1, 0));
    }
    let looks = source.requests().len() - before;
    assert!((1..=4).contains(&looks), "{looks} requests for 100 callers");
}

#[tokio::test]
async fn a_pass_detects_a_moved_tag_although_all_pods_run_the_old_digest() {
    let moved = Arc::new(AtomicBool::new(false));
    let has_moved = Arc::clone(&moved);
    let source =
        Server::start(move |asked| serve(asked, if has_moved.load(Ordering::SeqCst) { "new" } else { "old" })).await;
    let test = TestMirror::start(4).await;
    let image = format!("{}/team/app:1", source.address);
    test.deploy("web", 1, &image, &[]).await;
    assert_eq!(test.seen.wait_for_outcome(&image).await, Ok(digest("old")));
    let runs = format!("{}/team/app@{}", source.address, digest("old"));
    let asked = source.requests().len();
    test.deploy("web", 1, &image, &[&runs]).await;
    test.deploy("second", 2, &image, &[&runs]).await;
    test.seen.wait("it is quiet", |seen| (seen.0.lock().unwrap().queue == (0, 0, 0)).then_some(())).await;
    assert_eq!(source.requests().len(), asked, "Pods report the digest, and the target has it");
    moved.store(true, Ordering::SeqCst);
    let report = test.mirror.pass(false).await.unwrap();
    assert_eq!((report.images, report.failures.len()), (2, 0));
    assert_eq!(test.at_target("team/app", "1").await, Some(digest("new")));
}

#[tokio::test]
async fn a_pod_that_runs_another_repositorys_image_does_not_cause_a_copy_of_it() {
    let (own, other) = (healthy("own").await, healthy("other").await);
    let test = TestMirror::new(Arc::new(tempfile::tempdir().unwrap()), 4, true);
    test.begin().await;
    let image = format!("{}/team/app:1", own.address);
    test.deploy("web", 1, &image, &[&format!("{}/evil/app@{}", other.address, digest("other"))]).await;
    assert_eq!(test.seen.wait_for_outcome(&image).await, Ok(digest("own")));
    assert_eq!(test.at_target("team/app", "1").await, Some(digest("own")));
    assert_eq!(other.request_lines(), [""; 0]);
}

#[tokio::test]
async fn a_wrong_digest_does_not_block_its_destination_and_a_corrected_one_is_copied_at_once() {
    let source = healthy("a").await;
    let test = TestMirror::start(4).await;
    let image = format!("{}/team/app:1", source.address);
    let wrong = format!("{image}@{}", Digest::sha256(b"wrong"));
    test.deploy("web", 1, &wrong, &[]).await;
    assert!(test.seen.wait_for_outcome(&wrong).await.is_err());
    let right = format!("{image}@{}", digest("a"));
    test.deploy("web", 1, &right, &[]).await;
    assert_eq!(test.seen.wait_for_outcome(&right).await, Ok(digest("a")));
    test.deploy("wrong", 2, &wrong, &[]).await;
    test.seen
        .wait("its cooldown is reported", |seen| {
            seen.0.lock().unwrap().in_cooldown.contains(&"wrong".to_owned()).then_some(())
        })
        .await;
    test.deploy("follows", 3, &image, &[]).await;
    assert_eq!(test.seen.wait_for_outcome(&image).await, Ok(digest("a")));
}

#[tokio::test]
async fn after_a_restart_the_owner_keeps_its_destination() {
    let (good, evil) = (healthy("good").await, healthy("evil").await);
    let [good_image, evil_image] = [&good, &evil].map(|server| format!("{}/team/app:1", server.address));
    let test = TestMirror::start(4).await;
    test.deploy("good", 9, &good_image, &[]).await;
    assert_eq!(test.seen.wait_for_outcome(&good_image).await, Ok(digest("good")));
    // An older workload claims the same destination later.
    test.deploy("evil", 1, &evil_image, &[]).await;
    assert!(
        test.seen.wait_for_outcome(&evil_image).await.unwrap_err().contains("are different images for the destination")
    );

    let test = test.restart().await;
    test.deploy("evil", 1, &evil_image, &[]).await;
    test.deploy("good", 9, &good_image, &[]).await;
    test.begin().await;
    assert_eq!(test.seen.wait_for_outcome(&good_image).await, Ok(digest("good")));
    assert!(
        test.seen.wait_for_outcome(&evil_image).await.unwrap_err().contains("are different images for the destination")
    );
    assert_eq!(test.at_target("team/app", "1").await, Some(digest("good")));
}

#[tokio::test]
async fn taking_a_tag_from_another_source_is_reported() {
    let (old, new) = (healthy("old").await, healthy("new").await);
    let [old_image, new_image] = [&old, &new].map(|server| format!("{}/team/app:1", server.address));
    let test = TestMirror::start(4).await;
    test.deploy("old", 1, &old_image, &[]).await;
    test.seen.wait_for_outcome(&old_image).await.unwrap();
    let test = test.restart().await;
    test.begin().await;
    test.deploy("new", 2, &new_image, &[]).await;
    assert_eq!(test.seen.wait_for_outcome(&new_image).await, Ok(digest("new")));
    assert_eq!(test.seen.0.lock().unwrap().replaced, [new_image]);
}

#[tokio::test]
async fn a_copy_reports_its_progress_and_an_image_that_is_there_transfers_nothing() {
    let source = healthy("a").await;
    let test = TestMirror::start(4).await;
    let image = format!("{}/team/app:1", source.address);
    test.deploy("web", 1, &image, &[]).await;
    test.seen.wait_for_outcome(&image).await.unwrap();
    test.mirror.pass(false).await.unwrap();
    let state = test.seen.0.lock().unwrap();
    let reported = |progress: &Arc<CopyProgress>| (progress.done(), progress.total(), progress.is_total_final());
    let progress: Vec<_> = state.progress.iter().map(reported).collect();
    assert_eq!(progress, [(2, Some(2), true), (0, None, false)], "one blob of two bytes; then a look");
    assert_eq!(state.transferred, [image]);
}
