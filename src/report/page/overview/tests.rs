use std::{sync::Arc, time::SystemTime};

use super::*;
use crate::{
    model::{
        Activity, AtTarget, CopyProgress, Digest, Event, Hook, ImageStatus, MirrorPhase, MirrorStatus, Observer as _,
        Outcome, PluginStatus, Seen, Status as Result, UnmirroredUse,
    },
    report::{
        status::{ReplicaStatus, Traffic},
        testing::{failed, image_status, outcome, record, web, workload},
    },
};

fn image(outcome: &Outcome, activity: Activity) -> ImageStatus {
    image_status(outcome, record(outcome), activity)
}

fn mirrored(number: usize) -> ImageStatus {
    image(&outcome(&format!("nginx:{number}"), Result::AlreadyThere(Digest::sha256(b"1"))), Activity::Idle)
}

fn replica(images: Vec<ImageStatus>) -> ReplicaStatus {
    ReplicaStatus {
        is_leader: true,
        mirror: MirrorStatus { phase: MirrorPhase::Mirroring, images, workloads: 1, ..MirrorStatus::default() },
        ..ReplicaStatus::default()
    }
}

fn page_with(replica: ReplicaStatus, query: &str, plugins: &[PluginStatus]) -> String {
    let snapshot = Snapshot::new(replica, Traffic::default().counted(), SystemTime::now());
    let plugins = PluginsNow { plugins, reload_refused: None, needs_restart: &[] };
    overview(&snapshot, &Query::parse(query).unwrap(), &plugins).unwrap()
}

fn page(replica: ReplicaStatus, query: &str) -> String {
    page_with(replica, query, &[])
}

fn contains(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(part), "{part}\n{page}");
    }
}

#[test]
fn nothing_wrong_is_said_in_words() {
    let page = page(replica((0..3).map(mirrored).collect()), "");
    contains(&page, &["<h1 id=\"headline\">3 of 3 images are mirrored</h1>", "No image is missing, undecided, stale"]);
    assert!(!page.contains("class=\"concerns\""), "{page}");
}

#[test]
fn an_empty_cluster_is_no_failure() {
    let page = page(replica(Vec::new()), "");
    contains(&page, &["No image is to be mirrored", "There is none.", "Nothing."]);
    assert!(!page.contains("<table") && !page.contains("class=\"bar\""), "{page}");
}

#[test]
fn what_is_wrong_comes_first_with_reason_and_time() {
    let broken =
        image(&outcome("redis:7", failed("connection refused")), Activity::Cooldown { until: SystemTime::now() });
    let undecided = UnmirroredUse {
        workload: workload(web()),
        container: "main".into(),
        image: "Not An Image".into(),
        reason: "invalid reference".into(),
        is_skipped: false,
        since: SystemTime::now(),
    };
    let mut replica = replica(vec![mirrored(1), broken]);
    replica.mirror.unmirrored.push(Arc::new(undecided));
    let page = page(replica, "");
    contains(
        &page,
        &[
            "1 of 2 images are mirrored",
            "<strong>1 image is unknown</strong>",
            "<strong>1 image use is undecided</strong>",
            "<span class=\"reason\">connection refused</span>",
            "1 failed attempt since <time",
            "next try <time",
            "next try when the workload or the configuration changes",
            "<b>1 image fails</b>",
            "href=\"/image?destination=Not+An+Image\"",
            "href=\"/?workload=deployment+shop%2Fweb#images\"",
        ],
    );
    let position = |text: &str| page.find(&format!(">{text}</a>")).unwrap();
    assert!(position("Not An Image") < position("redis:7") && position("redis:7") < position("nginx:1"), "{page}");
}

#[test]
fn images_at_the_target_are_not_told_as_lost_while_they_cannot_be_checked() {
    let seen = Seen { at_target: AtTarget::Digest(Digest::sha256(b"1")), at_source: None };
    let unverified = Outcome { seen, ..outcome("redis:7", failed("refused")) };
    let page = page(replica(vec![mirrored(1), image(&unverified, Activity::Idle)]), "");
    contains(&page, &["1 of 2 images are mirrored, 1 at the target but unverified"]);
}

#[test]
fn a_quota_that_ends_and_an_interrupted_watch_need_attention() {
    let overview_with = |left| {
        let traffic = Traffic::default();
        traffic.observe(&Event::PullsLeft { registry: "hub.example", left, limit: Some(100) });
        traffic.observe(&Event::WatchRestarted("pods"));
        let snapshot = Snapshot::new(replica(vec![mirrored(1)]), traffic.counted(), SystemTime::now());
        let plugins = PluginsNow { plugins: &[], reload_refused: None, needs_restart: &[] };
        overview(&snapshot, &Query::parse("").unwrap(), &plugins).unwrap()
    };
    contains(
        &overview_with(9),
        &["<strong>9 of 100 pulls left at hub.example</strong>", "The watch of pods was interrupted"],
    );
    contains(&overview_with(10), &["<b>10 of 100 pulls left</b>"]);
    assert!(!overview_with(10).contains("<strong>10 of"));
}

#[test]
fn a_paused_replica_still_tells_what_it_knows() {
    let mut paused =
        ReplicaStatus { is_leader: false, leader: Some("copycat-0_7".into()), ..replica(vec![mirrored(1)]) };
    paused.mirror.phase = MirrorPhase::Paused;
    contains(
        &page(paused, ""),
        &["1 of 1 image is mirrored", "The Lease could not be renewed", "last known leader: copycat-0_7"],
    );
}

#[test]
fn external_text_is_escaped() {
    let outcome = outcome("evil:1", failed("<script>alert(1)</script>\u{202e}\u{1b}[2J"));
    let page = page(replica(vec![image(&outcome, Activity::Idle)]), "text=%22%3E%3Cscript%3E");
    assert!(page.contains("value=\"&#34;&#62;&#60;script&#62;\""), "{page}");
    assert!(!page.contains("<script>") && !page.contains('\u{202e}') && !page.contains('\u{1b}'), "{page}");
    let page = self::page(replica(vec![image(&outcome, Activity::Idle)]), "");
    assert!(page.contains("&#60;script&#62;alert(1)&#60;/script&#62;\\u{202e}\\u{1b}[2J"), "{page}");
    assert!(!page.contains("style=") && !page.contains("onclick"), "nothing inline");
}

#[test]
fn running_copies_show_how_far_they_are() {
    let progress = Arc::new(CopyProgress::default());
    let started = SystemTime::now() - std::time::Duration::from_secs(10);
    let copying = |progress| Activity::Copying { started, progress };
    let outcome = outcome("kafka:4", failed("reset"));
    let page_at =
        |progress: &Arc<CopyProgress>| page(replica(vec![image(&outcome, copying(Arc::clone(progress)))]), "");
    contains(
        &page_at(&progress),
        &["Being copied now <span class=\"count\">1</span>", "source and target are being inspected"],
    );
    progress.begin();
    progress.add_total(1_000_000);
    progress.add_done(999_999);
    contains(
        &page_at(&progress),
        &["<progress value=\"999999\" max=\"1000000\"", "999.9 kB of 1.0 MB (99%), ", "/s, 0 s left at this rate"],
    );
}

#[test]
fn filters_keep_their_values_and_pages_keep_the_filters() {
    let images: Vec<_> = (0..30).map(mirrored).collect();
    let page = page(replica(images), "state=mirrored&namespace=shop&limit=10&offset=10");
    contains(
        &page,
        &[
            "11–20 of 30 images that match.",
            "rel=\"prev\" href=\"/?state=mirrored&#38;namespace=shop&#38;limit=10#images\"",
            "rel=\"next\" href=\"/?state=mirrored&#38;namespace=shop&#38;offset=20&#38;limit=10#images\"",
            "<option value=\"mirrored\" selected>",
            "name=\"namespace\" list=\"l-namespaces\" value=\"shop\"",
            "<option value=\"shop\"></option>",
            "aria-current=\"true\"",
            "href=\"/status?state=mirrored&#38;namespace=shop&#38;offset=10&#38;limit=10\"",
        ],
    );
    let page = self::page(replica(vec![mirrored(1)]), "state=stale,cooldown");
    contains(&page, &["No image matches.", "<option value=\"stale,cooldown\" selected>stale, cooldown</option>"]);
}

#[test]
fn a_standby_says_who_leads_and_that_it_knows_nothing() {
    let standby = ReplicaStatus { leader: Some("copycat-0_7".into()), ..ReplicaStatus::default() };
    let page = page(standby, "");
    contains(
        &page,
        &["copycat-0_7 leads and mirrors", "knows nothing of images", "port-forward -n NAMESPACE pod/copycat-0 8080"],
    );
    assert!(!page.contains("id=\"images\"") && !page.contains("class=\"totals\""), "{page}");
    contains(&self::page(ReplicaStatus::default(), ""), &["does not know yet which one leads"]);
}

#[test]
fn a_dry_run_is_said_above_everything() {
    let page_of = |dry_run, dry_pull| page(ReplicaStatus { dry_run, dry_pull, ..replica(vec![mirrored(1)]) }, "");
    contains(&page_of(true, false), &["<strong>Dry run.</strong>", "nothing is written to a target"]);
    contains(&page_of(true, true), &["<strong>Dry pull.</strong>", "No registry is contacted"]);
    assert!(!page_of(false, false).contains("class=\"banner\""));
}

#[test]
fn a_suspended_plugin_needs_attention() {
    let plugin = PluginStatus {
        name: "teams".into(),
        module: "/plugins/teams.wasm".into(),
        digest: None,
        contract: "1.0.0".into(),
        hooks: vec![Hook::Skip],
        loaded: SystemTime::now(),
        calls: 1200,
        failures: [("trap", 5)].into(),
        instances: 1,
        memory: 65536,
        given_up_for: Some(std::time::Duration::from_secs(12)),
    };
    let page = page_with(replica(vec![mirrored(1)]), "", &[plugin]);
    contains(
        &page,
        &[
            "<strong>Plugin teams is suspended</strong>",
            "not called for another 12 s",
            "1,200 calls, 5 failed (5 trap)",
        ],
    );
}

#[test]
fn the_bar_is_full_and_shows_single_images() {
    let mut images: Vec<_> = (0..5000).map(mirrored).collect();
    images.push(image(&outcome("redis:7", failed("refused")), Activity::Idle));
    let snapshot = Snapshot::new(replica(images), Traffic::default().counted(), SystemTime::now());
    let parts = bar(&snapshot.status(&Query::default()));
    assert_eq!(parts.iter().map(|part| part.length).sum::<usize>(), BAR_LENGTH);
    assert_eq!(parts.iter().map(|part| part.length).min(), Some(SHORTEST_PART));
    assert_eq!(parts.iter().map(|part| part.start).collect::<Vec<_>>(), [0, BAR_LENGTH - SHORTEST_PART]);
}
