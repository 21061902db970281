use std::time::SystemTime;

use super::*;
use crate::{
    model::{
        Activity, AtTarget, Container, ContainerKind, Digest, Hook, ImageRecord, MirrorPhase, MirrorStatus, Outcome,
        Seen, Status as Result, TraceEntry,
    },
    report::{
        status::{ReplicaStatus, Snapshot, Traffic},
        testing::{failed, image_status, outcome, web, workload},
    },
};

const DESTINATION: &str = "mirror.example/library/redis:7";

/// An image that was copied, and whose source fails now.
fn status() -> Status {
    let now = SystemTime::now();
    let digest = Digest::sha256(b"1");
    let copied = Outcome { bytes: 12_345_678, ..outcome("redis:7", Result::Copied(digest.clone())) };
    let seen = Seen { at_target: AtTarget::Digest(digest), at_source: None };
    let unverified = Outcome { seen, ..outcome("redis:7", failed("<b>refused</b>")) };
    let mut record = ImageRecord::new(now);
    record.record(&copied, now);
    record.record(&unverified, now);
    let image = image_status(&copied, record, Activity::Cooldown { until: now + Duration::from_secs(90) });
    let mirror = MirrorStatus { phase: MirrorPhase::Mirroring, images: vec![image], ..MirrorStatus::default() };
    let replica = ReplicaStatus { is_leader: true, mirror, ..ReplicaStatus::default() };
    let snapshot = Snapshot::new(replica, Traffic::default().counted(), now);
    snapshot.status(&Query { destination: Some(DESTINATION.to_owned()), ..Query::default() })
}

fn decided(verdict: Verdict) -> Explanation {
    let image_use = ImageUse {
        workload: workload(web()),
        container: Container { name: "cache".into(), kind: ContainerKind::Init },
        image: "redis:7".into(),
        running: Vec::new(),
        platforms: None,
        pull_secrets: Vec::new(),
    };
    let trace = vec![TraceEntry {
        hook: Hook::Skip,
        plugin: "teams".into(),
        answer: "<i>keep</i>".into(),
        took: Duration::from_micros(1234),
    }];
    Explanation::Decided(vec![(image_use, Decision { verdict, trace })])
}

fn page(explanation: Explanation) -> String {
    image(DESTINATION, &status(), &[Some(Arc::new(explanation))]).unwrap()
}

#[test]
fn an_image_tells_what_is_known_what_was_tried_and_what_comes() {
    let page = page(Explanation::Unused);
    for part in [
        "<h1 class=\"title ref\" id=\"h-1\">redis:7</h1>",
        "unverified</span>",
        "the target has it, but the last check could not compare it with the source",
        "<p class=\"reason-box\">&#60;b&#62;refused&#60;/b&#62;</p>",
        "1 failed attempt",
        "<dt>Next try</dt><dd><time",
        "(in 1 min)",
        "12.3 MB",
        &Digest::sha256(b"1").to_string(),
        "The workload has changed",
        "Deployment</span> <a class=\"ref\" href=\"/?workload=deployment+shop%2Fweb#images\">shop/web</a>",
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
    let results: Vec<usize> = ["\"failed\">failed", "\"\">copied"].map(|result| page.find(result).unwrap()).into();
    assert!(results[0] < results[1], "the newest first: {page}");
}

#[test]
fn the_decision_names_each_plugin_and_its_answer() {
    let destinations = vec![outcome("redis:7", Result::WouldPull).destination];
    let mirror = Verdict::Mirror { source: "redis:7".parse().unwrap(), destinations };
    let mirrored = page(decided(mirror));
    for part in [
        "cache (init)",
        "mirror to</span>",
        "teams",
        "&#60;i&#62;keep&#60;/i&#62;",
        "1,234 µs",
        "Made now, for Deployment",
    ] {
        assert!(mirrored.contains(part), "{part}\n{mirrored}");
    }
    let skipped = page(decided(Verdict::Skip("by <rule>".into())));
    assert!(skipped.contains("skip</span>") && skipped.contains("by &#60;rule&#62;"), "{skipped}");
    let undecided = page(decided(Verdict::Error { reason: "no path".into(), retry: true }));
    assert!(undecided.contains("undecided</span>") && undecided.contains("no path"), "{undecided}");
}

#[test]
fn without_an_answer_the_page_says_why() {
    assert!(page(Explanation::Busy).contains("Others are asking"));
    assert!(page(Explanation::Late).contains("did not answer within 5 seconds"));
    let page = image(DESTINATION, &status(), &[]).unwrap();
    assert!(page.contains("were not asked"), "{page}");
}

#[test]
fn images_that_conflict_are_told_together() {
    let mut status = status();
    let mut other = status.images[0].clone();
    other.image = "quay.io/redis:7".into();
    other.owner = Some("redis:7 of deployment shop/web".into());
    status.images.push(other);
    status.page.total = 5;
    let page = image(DESTINATION, &status, &[]).unwrap();
    assert!(page.contains("<h1>2 images for <span class=\"ref\">mirror.example/library/redis:7</span></h1>"), "{page}");
    assert!(page.contains("The destination belongs to") && page.contains("and 3 more"), "{page}");
}

#[test]
fn damage_that_could_not_be_looked_at_again_is_told_with_both_times() {
    let mut status = status();
    let at = |minute: u32| format!("2026-11-28T12:{minute:02}:00Z");
    status.images[0].verification = Some(Verification {
        at: at(1),
        result: "incomplete".into(),
        reason: Some("2 parts are missing".into()),
        unanswered: Some(Unanswered { at: at(31), reason: Some("<i>silence</i>".into()) }),
    });
    let page = image(DESTINATION, &status, &[]).unwrap();
    for part in [
        "parts are missing at the target",
        "2 parts are missing",
        "looked at again",
        "without an answer: &#60;i&#62;silence&#60;/i&#62;",
        &at(31),
    ] {
        assert!(page.contains(part), "{part}\n{page}");
    }
}
