use std::collections::BTreeMap;

use super::*;
use crate::{
    mirror::{job::Role, testing::target},
    model::{ContainerKind, PullSecretRefs, Target, Workload, WorkloadKind},
};

fn id(name: &str) -> WorkloadId {
    WorkloadId { kind: WorkloadKind::Deployment, namespace: "ns".into(), name: name.into() }
}

fn desired(workload: &str, created: i64, image: &str) -> DesiredImage {
    let source: Reference = image.parse().unwrap();
    let destination = Destination {
        target: target("r.io"),
        repository: source.repository().to_owned(),
        tag: source.tag().map(str::to_owned),
        digest: source.digest().cloned(),
    };
    let workload = Arc::new(Workload {
        id: id(workload),
        uid: String::new(),
        owners: Vec::new(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        namespace_labels: Arc::default(),
        created,
    });
    let container = Container { name: "main".into(), kind: ContainerKind::Regular };
    let image_use = ImageUse {
        workload,
        container,
        image: image.into(),
        running: Vec::new(),
        platforms: None,
        pull_secrets: Vec::new(),
    };
    DesiredImage { image_use, source, destinations: vec![destination] }
}

fn claims(images: &[(&str, i64, &str)]) -> (Claims, DestinationKey) {
    let mut claims = Claims::default();
    let mut keys = Vec::new();
    for (workload, created, image) in images {
        let changes = claims.set(&id(workload), vec![desired(workload, *created, image)]);
        keys.extend(changes.requested.into_iter().map(|(key, _)| key));
    }
    keys.dedup();
    assert_eq!(keys.len(), 1, "one destination is requested");
    (claims, keys.remove(0))
}

fn digest(letter: &str) -> String {
    format!("sha256:{}", letter.repeat(64))
}

#[test]
fn one_image_of_several_workloads_is_one_job() {
    let (claims, key) = claims(&[("young", 9, "app:1"), ("old", 5, "docker.io/library/app:1")]);
    let jobs = claims.jobs(&key);
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].image, "docker.io/library/app:1", "as written by the oldest");
    assert_eq!(jobs[0].workloads, [id("old"), id("young")]);
    assert_eq!(jobs[0].role, Role::Owner);
}

#[test]
fn the_oldest_workloads_source_owns_the_destination() {
    let (claims, key) = claims(&[("young", 9, "quay.io/team/app:1"), ("old", 5, "ghcr.io/team/app:1")]);
    let jobs = claims.jobs(&key);
    assert_eq!(jobs[0].source.registry(), "ghcr.io");
    assert_eq!(jobs[0].role, Role::Owner);
    assert_eq!(jobs[1].source.registry(), "quay.io");
    assert_eq!(jobs[1].role, Role::Conflict { owner: "ghcr.io/team/app:1 of deployment ns/old".into() });
}

#[test]
fn workloads_without_an_age_are_ordered_by_name() {
    let (claims, key) = claims(&[("b", 0, "quay.io/team/app:1"), ("a", 0, "ghcr.io/team/app:1")]);
    assert_eq!(claims.jobs(&key)[0].workloads, [id("a")]);
}

#[test]
fn of_two_digests_the_newest_workloads_gets_the_tag_and_both_are_kept() {
    let one = format!("app:1@{}", digest("1"));
    let two = format!("app:1@{}", digest("2"));
    let (claims, key) = claims(&[("old", 5, &one), ("young", 9, &two)]);
    let jobs = claims.jobs(&key);
    assert_eq!(jobs.len(), 2);
    assert_eq!((&jobs[0].role, jobs[0].source.digest().unwrap().to_string()), (&Role::ByDigest, digest("1")));
    assert_eq!(jobs[0].destination.to_string(), format!("r.io/library/app@{}", digest("1")));
    assert_eq!((&jobs[1].role, jobs[1].source.digest().unwrap().to_string()), (&Role::Owner, digest("2")));
}

#[test]
fn keeps_the_digest_of_old_pods_besides_the_templates() {
    let mut claims = Claims::default();
    let template = desired("web", 5, &format!("app:1@{}", digest("2")));
    let left_over = desired("web", 5, &format!("app:1@{}", digest("1")));
    let key = claims.set(&id("web"), vec![template, left_over]).requested.remove(0).0;
    let jobs = claims.jobs(&key);
    let roles: Vec<_> = jobs.iter().map(|job| (&job.role, job.source.digest().unwrap().to_string())).collect();
    assert_eq!(roles, [(&Role::ByDigest, digest("1")), (&Role::Owner, digest("2"))]);
}

#[test]
fn a_template_moved_to_another_registry_owns_the_destination() {
    let mut claims = Claims::default();
    let template = desired("web", 5, "ghcr.io/team/app:1");
    let left_over = desired("web", 5, "quay.io/team/app:1");
    let key = claims.set(&id("web"), vec![template, left_over]).requested.remove(0).0;
    assert_eq!(claims.jobs(&key)[0].source.registry(), "ghcr.io");
}

#[test]
fn the_newest_pods_digest_comes_first_across_workloads() {
    let mut claims = Claims::default();
    let running = |digest: &str, since| {
        vec![Running { image: format!("docker.io/library/app@{digest}").parse().unwrap(), since }]
    };
    let (mut old, mut young) = (desired("old", 1, "app:1"), desired("young", 2, "app:1"));
    old.image_use.running = running(&digest("2"), 9);
    young.image_use.running = running(&digest("1"), 8);
    let key = claims.set(&id("old"), vec![old]).requested.remove(0).0;
    claims.set(&id("young"), vec![young]);
    assert_eq!(claims.jobs(&key)[0].running[0].to_string(), digest("2"));
}

#[test]
fn remembers_the_last_decision() {
    let mut claims = Claims::default();
    let web = desired("web", 5, "app:1");
    claims.set(&id("web"), vec![web.clone()]);
    assert_eq!(claims.desired_by(&web.image_use), Some(web));
    assert_eq!(claims.desired_by(&desired("web", 5, "app:2").image_use), None);
}

#[test]
fn the_same_digest_from_two_registries_is_no_conflict() {
    let quay = format!("quay.io/team/app@{}", digest("1"));
    let ghcr = format!("ghcr.io/team/app@{}", digest("1"));
    let (claims, key) = claims(&[("a", 1, &quay), ("b", 2, &ghcr)]);
    let jobs = claims.jobs(&key);
    assert_eq!(jobs.iter().map(|job| job.source.registry()).collect::<Vec<_>>(), ["quay.io", "ghcr.io"]);
    assert!(jobs.iter().all(|job| job.role == Role::Owner), "an unreachable source does not block the other");
}

#[test]
fn only_new_and_changed_claims_are_requested() {
    let mut claims = Claims::default();
    let first = claims.set(&id("w"), vec![desired("w", 1, "app:1")]);
    assert_eq!(first.requested.len(), 1);
    assert_eq!(claims.set(&id("w"), vec![desired("w", 1, "app:1")]), ClaimChanges::default(), "nothing changed");
    let moved = claims.set(&id("w"), vec![desired("w", 1, "app:2")]);
    assert_eq!(moved.released, [first.requested[0].0.clone()]);
    assert_eq!(moved.requested.len(), 1);
    assert!(claims.jobs(&first.requested[0].0).is_empty());
}

#[test]
fn reassigns_a_destination_that_its_owner_releases() {
    let (mut claims, key) = claims(&[("old", 5, "ghcr.io/team/app:1"), ("young", 9, "quay.io/team/app:1")]);
    let changes = claims.set(&id("old"), Vec::new());
    assert_eq!(changes.reassigned, std::slice::from_ref(&key));
    assert_eq!(claims.jobs(&key)[0].source.registry(), "quay.io");
}

#[test]
fn a_tag_belongs_to_workloads_that_follow_it_not_to_newer_ones_that_pin_a_digest() {
    let pinned = format!("app:1@{}", digest("1"));
    for (follower, pinning) in [(5, 9), (9, 5)] {
        let (claims, key) = claims(&[("follows", follower, "app:1"), ("pins", pinning, &pinned)]);
        let jobs = claims.jobs(&key);
        let roles: Vec<_> = jobs.iter().map(|job| (&job.role, job.source.digest().is_some())).collect();
        assert_eq!(roles, [(&Role::ByDigest, true), (&Role::Owner, false)]);
        assert_eq!(jobs[0].destination.to_string(), format!("r.io/library/app@{}", digest("1")));
    }
}

#[test]
fn an_owner_keeps_the_destination_when_an_older_workload_claims_it() {
    let (mut claims, key) = claims(&[("good", 9, "good.io/team/app:1")]);
    claims.set_owner(&key, &"good.io/team/app:1".parse().unwrap());
    claims.set(&id("evil"), vec![desired("evil", 1, "evil.io/team/app:1")]);
    let jobs = claims.jobs(&key);
    assert_eq!((jobs[0].source.registry(), &jobs[0].role), ("good.io", &Role::Owner));
    assert!(jobs[0].owns_tag && !jobs[1].owns_tag);
    assert_eq!(jobs[1].role, Role::Conflict { owner: "good.io/team/app:1 of deployment ns/good".into() });
    assert_eq!(claims.contenders(&key), None);
    let changes = claims.set(&id("good"), Vec::new());
    assert_eq!(changes.reassigned, std::slice::from_ref(&key));
    let jobs = claims.jobs(&key);
    assert_eq!((jobs[0].source.registry(), jobs[0].owns_tag), ("evil.io", false), "nothing else claims it");
}

#[test]
fn without_a_known_owner_there_are_contenders() {
    let pinned = format!("good.io/team/app:1@{}", digest("1"));
    let (mut claims, key) =
        claims(&[("good", 9, "good.io/team/app:1"), ("evil", 1, "evil.io/team/app:1"), ("pins", 10, &pinned)]);
    let image = |text: &str| text.parse::<Reference>().unwrap();
    let good = [image("good.io/team/app:1"), image(&pinned)];
    assert_eq!(claims.contenders(&key), Some(vec![vec![image("evil.io/team/app:1")], good.to_vec()]));
    claims.set_owner(&key, &good[0]);
    assert_eq!(claims.contenders(&key), None);
    assert_eq!(claims.source_registry(&key), Some("good.io"));
}

/// The image at each of these targets: name, registry and repository.
fn desired_at(workload: &str, created: i64, image: &str, at: &[(&str, &str, &str)]) -> DesiredImage {
    let DesiredImage { image_use, source, destinations } = desired(workload, created, image);
    let [plain] = destinations.as_slice() else { panic!("one target") };
    let destinations = at.iter().map(|(name, registry, repository)| Destination {
        target: Arc::new(Target { name: (*name).into(), ..Target::clone(&target(registry)) }),
        repository: (*repository).into(),
        ..plain.clone()
    });
    DesiredImage { image_use, source, destinations: destinations.collect() }
}

#[test]
fn two_targets_with_the_same_repository_are_one_destination() {
    let mut claims = Claims::default();
    let both = [("first", "r.io", "mirror/app"), ("second", "R.io/mirror", "app")];
    let web = desired_at("web", 5, "app:1", &both);
    let changes = claims.set(&id("web"), vec![web.clone()]);
    let [(key, _)] = changes.requested.as_slice() else { panic!("one destination: {changes:?}") };
    let jobs = claims.jobs(key);
    assert_eq!(jobs.len(), 1);
    assert_eq!(jobs[0].destination.to_string(), "r.io/mirror/app:1");
    assert_eq!(claims.set(&id("web"), vec![web]), ClaimChanges::default(), "nothing changed");
    assert_eq!(claims.set(&id("web"), Vec::new()).released, std::slice::from_ref(key));
}

#[test]
fn different_images_conflict_across_targets_with_the_same_repository() {
    let mut claims = Claims::default();
    let old = desired_at("old", 5, "quay.io/team/app:1", &[("first", "r.io", "team/app")]);
    let young = desired_at("young", 9, "ghcr.io/team/app:1", &[("second", "r.io/team", "app")]);
    let key = claims.set(&id("old"), vec![old]).requested.remove(0).0;
    assert_eq!(claims.set(&id("young"), vec![young]).requested[0].0, key);
    let jobs = claims.jobs(&key);
    let roles: Vec<_> = jobs.iter().map(|job| (job.destination.target.name.as_str(), &job.role)).collect();
    let conflict = Role::Conflict { owner: "quay.io/team/app:1 of deployment ns/old".into() };
    assert_eq!(roles, [("first", &Role::Owner), ("second", &conflict)]);
}

#[test]
fn moves_to_the_target_that_is_still_claimed() {
    let mut claims = Claims::default();
    let old = desired_at("old", 5, "app:1", &[("first", "r.io", "team/app")]);
    let young = desired_at("young", 9, "app:1", &[("second", "r.io/team", "app")]);
    let key = claims.set(&id("old"), vec![old]).requested.remove(0).0;
    claims.set(&id("young"), vec![young]);
    assert_eq!(claims.jobs(&key)[0].destination.target.name, "first");
    assert_eq!(claims.set(&id("old"), Vec::new()).reassigned, std::slice::from_ref(&key));
    assert_eq!(claims.jobs(&key)[0].destination.target.name, "second");
}

#[test]
fn a_job_names_a_bounded_number_of_workloads() {
    let mut claims = Claims::default();
    for number in 0..100 {
        claims.set(&id(&format!("w{number}")), vec![desired(&format!("w{number}"), number, "app:1")]);
    }
    let key = claims.keys().next().unwrap().clone();
    let oldest: Vec<_> = (0..10).map(|number| id(&format!("w{number}"))).collect();
    assert_eq!(claims.jobs(&key)[0].workloads, oldest);
    for number in 0..100 {
        let changes = claims.set(&id(&format!("w{number}")), Vec::new());
        assert_eq!(changes.reassigned, [], "the other claims are unchanged");
        assert_eq!(changes.released.len(), usize::from(number == 99));
    }
    assert!(claims.destinations.is_empty() && claims.workloads.is_empty());
}

#[test]
fn further_pull_secrets_are_reported_where_nothing_else_has_changed() {
    let with = |secrets: &[&str]| {
        let mut desired = desired("web", 1, "q.io/app:1");
        let refs = |secret: &&str| {
            let secrets = vec![(*secret).to_owned()];
            Arc::new(PullSecretRefs { namespace: "ns".into(), service_account: None, secrets })
        };
        desired.image_use.pull_secrets = secrets.iter().map(refs).collect();
        vec![desired]
    };
    let mut claims = Claims::default();
    let (key, source) = claims.set(&id("web"), with(&["a"])).requested.remove(0);
    let changes = claims.set(&id("web"), with(&["b", "a"]));
    assert_eq!(changes, ClaimChanges { openable: vec![(key.clone(), source)], ..ClaimChanges::default() });
    let secrets = claims.jobs(&key).remove(0).pull_secrets;
    assert_eq!(secrets.iter().map(|refs| refs.secrets[0].as_str()).collect::<Vec<_>>(), ["b", "a"]);
    assert_eq!(claims.set(&id("web"), with(&["a"])), ClaimChanges::default(), "fewer open nothing");
}
