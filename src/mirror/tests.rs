//! The whole room: real default policies, a scripted registry as the source, an image layout as the target.

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
        Container, ContainerKind, Digest, Event, Hook, Outcome, Reference, Running, Status, Target, TargetKind,
        Workload, WorkloadKind,
    },
    policy,
    registry::{
        Backoff, Layout, Registries, Selector, Store,
        testing::{RecordedRequest, Reply, Server, settings},
    },
};

/// An image without layers: its manifest, which `text` makes its own.
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

/// What a registry answers whose images, whatever their names, are all the same one.
fn serve(asked: &RecordedRequest, text: &str) -> Reply {
    let manifest = manifest(text);
    match asked.target.rsplit_once('/') {
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

/// Accepts, and says nothing.
async fn silent() -> Server {
    Server::start(|_| Reply::new(200).after(Duration::from_secs(3600))).await
}

/// The last that was told of each image at its destination, and of the queue.
#[derive(Default)]
struct Observed(Mutex<State>);

#[derive(Default)]
struct State {
    outcomes: HashMap<(String, String), Outcome>,
    queue: (usize, usize, usize),
    taken: Vec<String>,
    resting: Vec<String>,
}

impl Observer for Observed {
    fn observe(&self, event: &Event<'_>) {
        let mut state = self.0.lock().unwrap();
        match event {
            Event::Finished(outcome) => {
                let key = (outcome.destination.to_string(), outcome.source.to_string());
                state.outcomes.insert(key, (*outcome).clone());
            }
            Event::Forgotten { destination, source } => {
                state.outcomes.remove(&(destination.to_string(), source.to_string()));
            }
            Event::Queue { waiting, active, cooling } => state.queue = (*waiting, *active, *cooling),
            Event::TagTaken { source, .. } => state.taken.push(source.to_string()),
            Event::InCooldown { workload, .. } => state.resting.push(workload.name.clone()),
            _ => {}
        }
    }
}

impl Observed {
    /// What became of an image: the digest that is at the target, or how it failed.
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

    async fn waits_for(&self, source: &str) -> Result<Digest, String> {
        self.wait(source, |seen| seen.outcome(source)).await
    }
}

/// A mirror at work, and what is seen of it.
struct Work {
    mirror: Mirror,
    seen: Arc<Observed>,
    folder: Arc<TempDir>,
}

impl Work {
    async fn start(places: usize) -> Self {
        let work = Self::new(Arc::new(tempfile::tempdir().unwrap()), places, false);
        work.begin().await;
        work
    }

    /// One more process with the same target, which has yet to learn what there is.
    async fn restart(&self) -> Self {
        self.mirror.stop(Duration::ZERO).await;
        Self::new(Arc::clone(&self.folder), 4, false)
    }

    /// All that exists was told.
    async fn begin(&self) {
        self.mirror.ready().await.unwrap();
        self.mirror.begin().await.unwrap();
    }

    fn new(folder: Arc<TempDir>, places: usize, digest_pull: bool) -> Self {
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
            digest_pull,
            digest_pull_ignored_tags: Vec::new(),
            platforms: None,
            allow_different_digest_repush: true,
            dry_run: false,
            dry_pull: false,
            blobs_at_once: 4,
            backoff: Backoff { attempts: 2, cap: Duration::from_millis(1) },
        };
        let sources = Registries::new(settings(), &[], 64).unwrap();
        let copier = Copier::new(sources, stores, copy, seen.clone());
        let mirror = Mirror::start(policy, copier, seen.clone(), Some(Duration::from_secs(86_400)), places);
        Self { mirror, seen, folder }
    }

    /// A Deployment of one container, made at `created`, whose Pods run `running`.
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
        };
        self.mirror.set(id, vec![image_use]).await.unwrap();
    }

    async fn delete(&self, name: &str) {
        let id = WorkloadId { kind: WorkloadKind::Deployment, namespace: "ns".into(), name: name.into() };
        self.mirror.removed(id).await.unwrap();
    }

    /// What the target has under a tag.
    async fn at_target(&self, repository: &str, tag: &str) -> Option<Digest> {
        let layout = Layout::new(self.folder.path().into());
        layout.repository(repository).head(Selector::Tag(tag)).await.unwrap()
    }
}

#[tokio::test]
async fn a_silent_registry_does_not_keep_the_others_waiting() {
    let (silent, healthy) = (silent().await, healthy("a").await);
    let work = Work::start(4).await;
    for number in 0..50 {
        work.deploy(&format!("s{number}"), 1, &format!("{}/team/app{number}:1", silent.address), &[]).await;
    }
    work.seen.wait("the silent one is asked", |_| (!silent.requests().is_empty()).then_some(())).await;
    let image = format!("{}/team/good:1", healthy.address);
    work.deploy("good", 2, &image, &[]).await;
    assert_eq!(work.seen.waits_for(&image).await, Ok(digest("a")));
    assert_eq!(work.seen.failures(), 0, "it did not wait until the silent one was given up");
}

#[tokio::test]
async fn of_a_registry_that_fails_in_a_row_not_every_image_is_asked_for() {
    let broken = Server::start(|_| Reply::new(500)).await;
    let work = Work::start(4).await;
    for number in 0..50 {
        work.deploy(&format!("b{number}"), 1, &format!("{}/team/app{number}:1", broken.address), &[]).await;
    }
    work.seen.wait("all are told to have failed", |seen| (seen.failures() == 50).then_some(())).await;
    let mut asked: Vec<String> = broken.requests().into_iter().map(|asked| asked.target).collect();
    asked.sort();
    asked.dedup();
    assert!(asked.len() <= 7, "{asked:?}");
    let reasons = work.seen.0.lock().unwrap();
    let untried = reasons.outcomes.values().filter(|outcome| match &outcome.status {
        Status::Failed(failure) => failure.message.starts_with("not tried: 127.0.0.1:"),
        _ => false,
    });
    assert!(untried.count() >= 43);
}

#[tokio::test]
async fn a_copy_that_nobody_wants_any_more_makes_room() {
    let (silent, healthy) = (silent().await, healthy("a").await);
    let work = Work::start(1).await;
    work.deploy("stuck", 1, &format!("{}/team/app:1", silent.address), &[]).await;
    work.seen.wait("it is under way", |_| (!silent.requests().is_empty()).then_some(())).await;
    let image = format!("{}/team/good:1", healthy.address);
    work.deploy("good", 2, &image, &[]).await;
    work.delete("stuck").await;
    assert_eq!(work.seen.waits_for(&image).await, Ok(digest("a")));
    work.seen.wait("nothing is left", |seen| (seen.0.lock().unwrap().queue == (0, 0, 0)).then_some(())).await;
    assert_eq!(work.seen.failures(), 0);
}

#[tokio::test]
async fn an_image_removed_while_it_is_copied_counts_nowhere() {
    let slow = Server::start(|_| Reply::new(500).after(Duration::from_millis(300))).await;
    let work = Work::start(4).await;
    for _ in 0..3 {
        let asked = slow.requests().len();
        work.deploy("gone", 1, &format!("{}/team/app:1", slow.address), &[]).await;
        work.seen.wait("it is under way", |_| (slow.requests().len() > asked).then_some(())).await;
        work.delete("gone").await;
        work.seen.wait("nothing is under way", |seen| (seen.0.lock().unwrap().queue == (0, 0, 0)).then_some(())).await;
        assert!(work.seen.0.lock().unwrap().outcomes.is_empty());
    }
}

#[tokio::test]
async fn whoever_asks_for_a_pass_shares_it_with_all_who_ask_meanwhile() {
    let source = healthy("a").await;
    let work = Work::start(4).await;
    let image = format!("{}/team/app:1", source.address);
    work.deploy("web", 1, &image, &[]).await;
    work.seen.waits_for(&image).await.unwrap();
    let before = source.requests().len();
    let reports = join_all((0..100).map(|_| work.mirror.pass())).await;
    for report in reports {
        let report = report.unwrap();
        assert_eq!((report.images, report.failures.len()), (1, 0));
    }
    let looks = source.requests().len() - before;
    assert!((1..=4).contains(&looks), "{looks} requests for 100 callers");
}

#[tokio::test]
async fn a_pass_finds_a_tag_that_moved_while_all_pods_run_what_it_was() {
    let moved = Arc::new(AtomicBool::new(false));
    let has_moved = Arc::clone(&moved);
    let source =
        Server::start(move |asked| serve(asked, if has_moved.load(Ordering::SeqCst) { "new" } else { "old" })).await;
    let work = Work::start(4).await;
    let image = format!("{}/team/app:1", source.address);
    work.deploy("web", 1, &image, &[]).await;
    assert_eq!(work.seen.waits_for(&image).await, Ok(digest("old")));
    let runs = format!("{}/team/app@{}", source.address, digest("old"));
    let asked = source.requests().len();
    work.deploy("web", 1, &image, &[&runs]).await;
    work.deploy("second", 2, &image, &[&runs]).await;
    work.seen.wait("it is quiet", |seen| (seen.0.lock().unwrap().queue == (0, 0, 0)).then_some(())).await;
    assert_eq!(source.requests().len(), asked, "Pods tell what runs, and the target has it");
    moved.store(true, Ordering::SeqCst);
    let report = work.mirror.pass().await.unwrap();
    assert_eq!((report.images, report.failures.len()), (2, 0));
    assert_eq!(work.at_target("team/app", "1").await, Some(digest("new")));
}

#[tokio::test]
async fn a_pod_that_runs_another_repositorys_image_does_not_bring_it() {
    let (own, other) = (healthy("own").await, healthy("other").await);
    let work = Work::new(Arc::new(tempfile::tempdir().unwrap()), 4, true);
    work.begin().await;
    let image = format!("{}/team/app:1", own.address);
    work.deploy("web", 1, &image, &[&format!("{}/evil/app@{}", other.address, digest("other"))]).await;
    assert_eq!(work.seen.waits_for(&image).await, Ok(digest("own")));
    assert_eq!(work.at_target("team/app", "1").await, Some(digest("own")));
    assert_eq!(other.request_lines(), [""; 0]);
}

#[tokio::test]
async fn a_wrong_digest_keeps_nobody_else_from_the_name_and_a_corrected_one_is_tried_at_once() {
    let source = healthy("a").await;
    let work = Work::start(4).await;
    let image = format!("{}/team/app:1", source.address);
    let wrong = format!("{image}@{}", Digest::sha256(b"wrong"));
    work.deploy("web", 1, &wrong, &[]).await;
    assert!(work.seen.waits_for(&wrong).await.is_err());
    let right = format!("{image}@{}", digest("a"));
    work.deploy("web", 1, &right, &[]).await;
    assert_eq!(work.seen.waits_for(&right).await, Ok(digest("a")));
    work.deploy("wrong", 2, &wrong, &[]).await;
    work.seen
        .wait("it is told when it is tried", |seen| {
            seen.0.lock().unwrap().resting.contains(&"wrong".to_owned()).then_some(())
        })
        .await;
    work.deploy("follows", 3, &image, &[]).await;
    assert_eq!(work.seen.waits_for(&image).await, Ok(digest("a")));
}

#[tokio::test]
async fn a_restart_leaves_a_name_with_whom_the_target_has_it_from() {
    let (good, evil) = (healthy("good").await, healthy("evil").await);
    let [good_image, evil_image] = [&good, &evil].map(|server| format!("{}/team/app:1", server.address));
    let work = Work::start(4).await;
    work.deploy("good", 9, &good_image, &[]).await;
    assert_eq!(work.seen.waits_for(&good_image).await, Ok(digest("good")));
    // An older object comes to ask for the same name.
    work.deploy("evil", 1, &evil_image, &[]).await;
    assert!(work.seen.waits_for(&evil_image).await.unwrap_err().contains("different images with one name"));

    let work = work.restart().await;
    work.deploy("evil", 1, &evil_image, &[]).await;
    work.deploy("good", 9, &good_image, &[]).await;
    work.begin().await;
    assert_eq!(work.seen.waits_for(&good_image).await, Ok(digest("good")));
    assert!(work.seen.waits_for(&evil_image).await.unwrap_err().contains("different images with one name"));
    assert_eq!(work.at_target("team/app", "1").await, Some(digest("good")));
}

#[tokio::test]
async fn a_tag_that_another_source_had_is_not_taken_silently() {
    let (old, new) = (healthy("old").await, healthy("new").await);
    let [old_image, new_image] = [&old, &new].map(|server| format!("{}/team/app:1", server.address));
    let work = Work::start(4).await;
    work.deploy("old", 1, &old_image, &[]).await;
    work.seen.waits_for(&old_image).await.unwrap();
    let work = work.restart().await;
    work.begin().await;
    work.deploy("new", 2, &new_image, &[]).await;
    assert_eq!(work.seen.waits_for(&new_image).await, Ok(digest("new")));
    assert_eq!(work.seen.0.lock().unwrap().taken, [new_image]);
}
