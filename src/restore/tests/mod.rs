//! What is covered under each way of naming, and what the files say.

mod file_texts;
mod random_policies;

use std::collections::BTreeSet;

use super::{
    testing::{DIGEST, by_policy, decided, mirrored, names, run, skipped, target, target_at, text, with_conflicts},
    *,
};
use crate::model::{Destination, Reference, Verdict};

const NGINX: &str = "docker.io/library/nginx:1";
const APP: &str = "quay.io/acme/app:1";

/// `repoPrefix: $registry`
fn by_registry(source: &Reference) -> String {
    format!("{}/{}", source.registry().replace(':', "-"), source.repository())
}

/// The registry dropped, as without a prefix.
fn without_registry(source: &Reference) -> String {
    source.repository().to_owned()
}

/// Neither ends with the repository.
fn flat(source: &Reference) -> String {
    format!("all/{}", source.repository().replace('/', "-"))
}

fn covered(restored: &Restored) -> BTreeSet<&str> {
    names(restored, Status::Covered)
}

fn reason<'r>(restored: &'r Restored, image: &str) -> &'r str {
    let found = restored.report.images.iter().find(|found| found.image == image).unwrap();
    assert_eq!(found.status, Status::Uncovered, "{found:?}");
    found.reason.as_deref().unwrap()
}

fn remedy<'r>(restored: &'r Restored, image: &str) -> Option<&'r str> {
    restored.report.images.iter().find(|found| found.image == image).unwrap().remedy.as_deref()
}

fn rules(restored: &Restored) -> Vec<(&str, &str, bool)> {
    restored.report.rules.iter().map(|rule| (rule.name.as_str(), rule.mirror.as_str(), rule.tags)).collect()
}

#[test]
fn with_the_registry_as_prefix_every_runtime_but_docker_covers_everything() {
    let target = target("$registry");
    let digest = format!("ghcr.io/acme/tool@{DIGEST}");
    let both = format!("quay.io/acme/app:2@{DIGEST}");
    let images = ["nginx:1", "docker.io/library/nginx:1", "acme/web", APP, "localhost:5000/x:1", &digest, &both];
    let uses = by_policy(&target, &images, by_registry);
    for runtime in Runtime::ALL {
        let restored = run(runtime, &target, &uses);
        // Two texts for one image.
        assert_eq!(restored.report.summary.images, images.len() - 1);
        if runtime == Runtime::Docker {
            assert_eq!((covered(&restored).len(), restored.files.len()), (0, 0));
            assert!(reason(&restored, NGINX).contains("have no path"), "{}", reason(&restored, NGINX));
            assert!(reason(&restored, APP).contains("Docker Hub alone"), "{}", reason(&restored, APP));
        } else {
            assert_eq!(covered(&restored).len(), images.len() - 1, "{runtime:?} {:#?}", restored.report);
        }
    }
    let restored = run(Runtime::Containerd, &target, &uses);
    assert_eq!(
        rules(&restored),
        [
            ("docker.io", "r.example.com/docker.io", true),
            ("ghcr.io", "r.example.com/ghcr.io", true),
            ("localhost:5000", "r.example.com/localhost-5000", true),
            ("quay.io", "r.example.com/quay.io", true),
        ]
    );
    assert!(restored.report.notes.is_empty(), "{:?}", restored.report.notes);
}

#[test]
fn with_the_registry_dropped_containerd_serves_one_registry_and_warns() {
    let target = target("");
    let uses = by_policy(&target, &["nginx:1", "acme/web:2"], without_registry);
    for runtime in [Runtime::Containerd, Runtime::Docker, Runtime::Talos, Runtime::Crio] {
        let restored = run(runtime, &target, &uses);
        assert_eq!(covered(&restored).len(), 2, "{runtime:?}");
        assert_eq!(rules(&restored), [("docker.io", "r.example.com", true)]);
        assert!(restored.report.notes[0].contains("nothing but images of docker.io"), "{:?}", restored.report.notes);
    }
}

#[test]
fn with_the_registry_dropped_and_two_registries_no_name_gets_anothers_image() {
    let target = target("");
    let pinned = format!("docker.io/library/redis:7@{DIGEST}");
    let uses = by_policy(&target, &["nginx:1", APP, &pinned], without_registry);
    let restored = run(Runtime::Containerd, &target, &uses);
    // Digests are safe, tags are not: docker.io/acme/app would be quay.io's.
    assert_eq!(covered(&restored), [pinned.as_str()].into());
    assert_eq!(rules(&restored), [("docker.io", "r.example.com", false)]);
    assert_eq!(
        reason(&restored, NGINX),
        "a rule for docker.io would give docker.io/acme/app the image of quay.io/acme/app (at r.example.com/acme/app)"
    );
    assert_eq!(
        remedy(&restored, NGINX),
        Some("set `repoPrefix: $registry`, so that each registry has a path of its own")
    );
    let differing: Vec<_> = restored.report.differences.iter().map(|difference| difference.name.as_str()).collect();
    assert_eq!(differing, ["docker.io/acme/app", "quay.io/library/nginx"]);
    assert!(text(&restored, "certs.d/docker.io/hosts.toml").contains("capabilities = [\"pull\"]\n"));
    // Without a way to leave tags nothing is written.
    let restored = run(Runtime::Talos, &target, &uses);
    assert_eq!((covered(&restored).len(), restored.files.len()), (0, 0));
    // A rule for each repository is safe.
    for runtime in [Runtime::Crio, Runtime::Openshift, Runtime::K3s, Runtime::Kustomize] {
        let restored = run(runtime, &target, &uses);
        assert_eq!(covered(&restored).len(), 3, "{runtime:?} {:#?}", restored.report);
    }
}

#[test]
fn of_two_names_with_one_repository_neither_gets_tags_from_the_mirror() {
    let target = target("");
    let pinned = format!("docker.io/acme/app:3@{DIGEST}");
    let uses = by_policy(&target, &["docker.io/acme/app:2", APP, &pinned], without_registry);
    for runtime in Runtime::ALL {
        let restored = run(runtime, &target, &uses);
        let expected: BTreeSet<&str> =
            if runtime.can_leave_tags() { [pinned.as_str()].into() } else { BTreeSet::new() };
        assert_eq!(covered(&restored), expected, "{runtime:?} {:#?}", restored.report);
        if runtime != Runtime::Docker {
            assert!(reason(&restored, APP).contains("the image of docker.io/acme/app"), "{}", reason(&restored, APP));
        }
    }
}

#[test]
fn images_in_conflict_are_not_covered() {
    let target = target("");
    let uses = by_policy(&target, &["docker.io/acme/app:1", APP, "quay.io/acme/other:1"], without_registry);
    for runtime in Runtime::ALL {
        let restored = run(runtime, &target, &uses);
        assert!(!covered(&restored).contains(APP) && !covered(&restored).contains("docker.io/acme/app:1"));
        assert!(reason(&restored, APP).starts_with("conflict: docker.io/acme/app:1 of deployment"), "{runtime:?}");
    }
}

#[test]
fn a_path_that_a_prefix_cant_make_is_left_to_runtimes_with_rules_for_repositories() {
    let target = target("");
    let uses = by_policy(&target, &["nginx:1", "nginx:2", APP], flat);
    for runtime in [Runtime::Containerd, Runtime::Talos] {
        let restored = run(runtime, &target, &uses);
        assert_eq!(restored.files, []);
        assert!(reason(&restored, NGINX).contains("does not end with library/nginx"), "{}", reason(&restored, NGINX));
        assert!(remedy(&restored, NGINX).unwrap().contains("repoPrefix: $registry"));
    }
    for runtime in [Runtime::Crio, Runtime::Openshift, Runtime::K3s] {
        let restored = run(runtime, &target, &uses);
        assert_eq!(
            rules(&restored),
            [
                ("docker.io/library/nginx", "r.example.com/all/library-nginx", true),
                ("quay.io/acme/app", "r.example.com/all/acme-app", true),
            ]
        );
        assert_eq!(covered(&restored).len(), 3);
    }
}

#[test]
fn the_targets_own_path_is_part_of_the_mirrors() {
    let target = target_at("default", "r.example.com:5000/team", "$registry");
    let restored = run(Runtime::Containerd, &target, &by_policy(&target, &["nginx:1"], by_registry));
    assert_eq!(rules(&restored), [("docker.io", "r.example.com:5000/team/docker.io", true)]);
    let mirror = restored.report.images[0].mirror.as_deref();
    assert_eq!(mirror, Some("r.example.com:5000/team/docker.io/library/nginx:1"));
    assert!(text(&restored, "certs.d/docker.io/hosts.toml").contains("https://r.example.com:5000/v2/team/docker.io"));
}

#[test]
fn a_place_of_one_part_is_not_for_docker_hubs_images_in_k3s() {
    let target = target("");
    let uses = by_policy(&target, &["nginx:1", "quay.io/top:1"], |source| {
        source.repository().rsplit('/').next().unwrap().to_owned()
    });
    let restored = run(Runtime::K3s, &target, &uses);
    assert_eq!(covered(&restored), ["quay.io/top:1"].into());
    assert!(reason(&restored, NGINX).contains("needs a slash"), "{}", reason(&restored, NGINX));
    assert_eq!(covered(&run(Runtime::Crio, &target, &uses)).len(), 2);
}

#[test]
fn a_mirror_at_docker_hub_is_reached_by_its_other_name() {
    let target = target_at("default", "docker.io/acme", "$registry");
    let restored = run(Runtime::Containerd, &target, &by_policy(&target, &[APP], by_registry));
    assert!(
        text(&restored, "certs.d/quay.io/hosts.toml")
            .contains("[host.\"https://registry-1.docker.io/v2/acme/quay.io\"]")
    );
}

#[test]
fn what_is_not_in_the_mirror_is_not_covered_and_says_why() {
    let target = target("$registry");
    let mut uses = by_policy(&target, &["nginx:1"], by_registry);
    uses.push(skipped(APP));
    let undecided = Verdict::Error { reason: "plugin x failed".to_owned(), retry: true };
    uses.push(decided("api", "quay.io/acme/undecided:1", undecided));
    uses.push(decided("bad", "Not An\u{1b} Image", Verdict::Error { reason: "invalid".to_owned(), retry: false }));
    let restored = run(Runtime::Containerd, &target, &uses);
    assert_eq!(covered(&restored), [NGINX].into());
    assert_eq!(restored.report.summary.uncovered, 3);
    assert!(reason(&restored, APP).contains("skipped, and so not in the mirror: namespace skipped"));
    assert!(reason(&restored, "quay.io/acme/undecided:1").contains("plugin x failed"));
    assert!(reason(&restored, "Not An\\u{1b} Image").contains("undecided"));
    // Skipped in one workload and mirrored for another: the name is there.
    uses.push(skipped("nginx:1"));
    assert_eq!(covered(&run(Runtime::Containerd, &target, &uses)), [NGINX].into());
}

#[test]
fn an_image_of_the_mirror_itself_needs_no_rule_and_guards_its_name() {
    let target = target("");
    let mut uses = by_policy(&target, &["nginx:1"], without_registry);
    uses.push(skipped("r.example.com/acme/web:1"));
    let restored = run(Runtime::Containerd, &target, &uses);
    assert_eq!(names(&restored, Status::NamedAtMirror), ["r.example.com/acme/web:1"].into());
    // docker.io/acme/web would be the mirror's own acme/web.
    assert_eq!(
        reason(&restored, NGINX),
        "a rule for docker.io would give docker.io/acme/web the image of r.example.com/acme/web (at r.example.com/acme/web)"
    );
    assert_eq!(covered(&run(Runtime::Crio, &target, &uses)), [NGINX].into());
}

#[test]
fn a_copy_that_a_workload_names_by_the_mirror_keeps_no_registry_from_it() {
    let target = target("$registry");
    let mut uses = by_policy(&target, &["nginx:1", APP], by_registry);
    uses.push(skipped("r.example.com/docker.io/library/redis:1"));
    for runtime in [Runtime::Containerd, Runtime::Crio, Runtime::K3s, Runtime::Talos] {
        let restored = run(runtime, &target, &uses);
        assert_eq!(covered(&restored), [NGINX, APP].into(), "{runtime:?}");
        assert_eq!(restored.report.summary.named_at_mirror, 1);
    }
}

#[test]
fn a_selection_of_platforms_is_noted_for_its_digests() {
    let target = target("$registry");
    let candidate = Candidate { target: target.clone(), access: MirrorAccess::default() };
    let wanted = Wanted { runtime: Runtime::Containerd, digest_only: false, some_platforms: true };
    let restored = restore(wanted, &[candidate], &by_policy(&target, &["nginx:1"], by_registry)).unwrap();
    assert!(restored.report.notes[0].contains("another digest"), "{:?}", restored.report.notes);
}

#[test]
fn a_tag_that_differs_in_the_mirror_is_for_kustomize_alone() {
    let target = target("$registry");
    let source: Reference = NGINX.parse().unwrap();
    let destination = Destination {
        target: target.clone(),
        repository: "docker.io/library/nginx".to_owned(),
        tag: Some("1-mirrored".to_owned()),
        digest: None,
    };
    let uses = [decided("web", "nginx:1", Verdict::Mirror { source, destinations: vec![destination] })];
    for runtime in [Runtime::Containerd, Runtime::Crio, Runtime::K3s, Runtime::Talos, Runtime::Openshift] {
        let restored = run(runtime, &target, &uses);
        assert!(reason(&restored, NGINX).contains("its tag in the mirror is 1-mirrored"), "{runtime:?}");
    }
    let restored = run(Runtime::Kustomize, &target, &uses);
    assert_eq!(covered(&restored), [NGINX].into());
    assert!(text(&restored, "kustomization.yaml").contains("newTag: \"1-mirrored\""));
}

#[test]
fn the_first_target_that_covers_everything_is_used_or_the_best() {
    let (flat_target, good, layout) =
        (target_at("flat", "flat.example.com", ""), target_at("good", "good.example.com", "$registry"), target(""));
    let both = |image: &str| {
        let source: Reference = image.parse().unwrap();
        mirrored(image, &[(&flat_target, flat(&source)), (&good, by_registry(&source))])
    };
    let mut uses = vec![both("nginx:1"), both(APP)];
    let candidates =
        [&flat_target, &good, &layout].map(|target| Candidate { target: target.clone(), access: Default::default() });
    let run = |runtime, uses: &[DecidedUse]| {
        restore(Wanted { runtime, digest_only: false, some_platforms: false }, &candidates, uses).unwrap()
    };
    assert_eq!(run(Runtime::Containerd, &uses).report.target.name, "good");
    assert_eq!(run(Runtime::Crio, &uses).report.target.name, "flat");
    let only_flat = mirrored("quay.io/acme/flat:1", &[(&flat_target, "x".to_owned())]);
    uses.push(only_flat);
    let restored = run(Runtime::Containerd, &uses);
    assert_eq!(restored.report.target.name, "good");
    assert_eq!(reason(&restored, "quay.io/acme/flat:1"), "it is not mirrored to target good");
    assert!(restored.report.notes[0].contains("of 3 targets, good"), "{:?}", restored.report.notes);
}

#[test]
fn two_targets_at_one_registry_know_of_each_other() {
    let (one, two) = (target_at("one", "r.example.com", ""), target_at("two", "r.example.com:443/library", ""));
    let uses = [mirrored("nginx:1", &[(&one, "library/nginx".to_owned())]), mirrored(APP, &[(&two, "app".to_owned())])];
    let restored = run(Runtime::Containerd, &one, &uses);
    assert!(reason(&restored, NGINX).contains("docker.io/library/app the image of quay.io/acme/app"), "{restored:?}");
}

#[test]
fn with_digest_only_tags_are_left_to_their_registries() {
    let target = target("$registry");
    let pinned = format!("docker.io/library/redis@{DIGEST}");
    let uses = by_policy(&target, &["nginx:1", &pinned], by_registry);
    for runtime in [Runtime::Containerd, Runtime::Crio, Runtime::Openshift] {
        let candidate = Candidate { target: target.clone(), access: MirrorAccess::default() };
        let restored =
            restore(Wanted { runtime, digest_only: true, some_platforms: false }, &[candidate], &uses).unwrap();
        assert_eq!(covered(&restored), [pinned.as_str()].into());
        assert!(reason(&restored, NGINX).contains("--digest-only"), "{restored:?}");
        assert_eq!(rules(&restored), [("docker.io", "r.example.com/docker.io", false)]);
        assert_eq!(restored.report.differences.iter().filter(|d| d.kind == DifferenceKind::AnotherImage).count(), 0);
    }
}

#[test]
fn workloads_of_several_prefixes_get_several_places_up_to_a_bound() {
    let target = target("$namespace");
    let image = |number: usize| format!("quay.io/acme/app:{number}");
    let uses = |count: usize| -> Vec<DecidedUse> {
        (0..count).map(|number| mirrored(&image(number), &[(&target, format!("team-{number}/acme/app"))])).collect()
    };
    for runtime in [Runtime::Containerd, Runtime::Crio, Runtime::Talos, Runtime::Openshift] {
        let restored = run(runtime, &target, &uses(3));
        assert_eq!((covered(&restored).len(), restored.report.rules.len()), (3, 3), "{runtime:?}");
        let restored = run(runtime, &target, &uses(10));
        assert_eq!(covered(&restored).len(), 8, "{runtime:?}");
        assert!(reason(&restored, &image(9)).contains("at most 8"), "{}", reason(&restored, &image(9)));
    }
    assert_eq!(covered(&run(Runtime::K3s, &target, &uses(3))).len(), 1);
    let restored = run(Runtime::Kustomize, &target, &uses(3));
    assert!(reason(&restored, &image(0)).contains("different places"), "{}", reason(&restored, &image(0)));
}

#[test]
fn kustomize_renames_no_name_that_is_also_an_image_without_a_copy() {
    let target = target("$registry");
    let mut uses = by_policy(&target, &["nginx:1", "quay.io/a/b:1", "quay-io/a/b:1"], by_registry);
    uses.push(skipped("nginx:2"));
    let restored = run(Runtime::Kustomize, &target, &uses);
    assert_eq!(covered(&restored), ["docker.io/quay-io/a/b:1"].into());
    assert!(reason(&restored, NGINX).contains("docker.io/library/nginx:2 is not in the mirror"));
    assert!(reason(&restored, "quay.io/a/b:1").contains("takes the name quay.io/a/b for quay-io/a/b as well"));
}

#[test]
fn names_without_a_registry_depend_on_the_node_of_cri_o() {
    let target = target("$registry");
    let uses = by_policy(&target, &["nginx:1", "acme/web:1", APP, "localhost/x:1"], by_registry);
    for (runtime, expected) in [
        (Runtime::Crio, &["acme/web:1", "nginx:1"][..]),
        (Runtime::Openshift, &["acme/web:1", "nginx:1"]),
        (Runtime::Containerd, &[]),
    ] {
        let restored = run(runtime, &target, &uses);
        let names: Vec<_> = restored.report.differences.iter().map(|difference| difference.name.as_str()).collect();
        assert_eq!(names, expected, "{runtime:?}");
    }
}

#[test]
fn the_same_decisions_make_the_same_bytes_in_any_order() {
    let target = target("");
    let mut uses = by_policy(&target, &["nginx:1", "redis:2", APP, "acme/web:1"], flat);
    for runtime in Runtime::ALL {
        let first = run(runtime, &target, &uses);
        uses.reverse();
        let second = run(runtime, &target, &uses);
        assert_eq!((first.files, first.report), (second.files, second.report));
    }
}

#[test]
fn the_report_is_read_back_as_it_was_written() {
    let target = target("");
    let uses = with_conflicts(vec![mirrored("nginx:1", &[(&target, "x".to_owned())]), skipped(APP)]);
    for runtime in Runtime::ALL {
        let report = run(runtime, &target, &uses).report;
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }
    let value = serde_json::to_value(run(Runtime::Containerd, &target, &uses).report).unwrap();
    assert_eq!((&value["apiVersion"], &value["kind"]), (&"k8s-copycat/v1".into(), &"RestoreReport".into()));
    let keys: Vec<_> = value["summary"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["covered", "differences", "files", "images", "namedAtMirror", "rules", "uncovered"]);
}
