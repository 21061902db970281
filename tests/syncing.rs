//! `sync` mirrors everything once and reports the outcomes.

use std::{fs, process::Command, time::Duration};

use serde_json::{Value, json};

use crate::{
    mirroring::{index, single},
    planning::{command, on_terminal},
    support::{Access, Fault, Finished, Program, Registry, Request, daemon_set, deployment, job, list, program},
};

async fn sync(target: &Registry, manifests: &[Value], config: &str) -> Finished {
    let program = command(&["sync", "-f", "-"], &list(manifests)).env("TARGET_REGISTRY", target.host());
    program.config(config).run().await
}

#[tokio::test]
async fn the_exit_code_of_sync_shows_failures() {
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let image = index("app");
    let app = source.push("team/app", "1", &image).await;
    let missing = format!("{}/team/missing:1", source.host());
    let web = deployment("web").image(&app).manifest();
    let broken = deployment("broken").image(&missing).image("No Image").manifest();
    for (manifests, code, message) in [
        (vec![broken, web.clone()], 1, "1 copied, 1 failed, 1 undecided"),
        (vec![web], 0, "1 already there"),
        (vec![], 0, "no images to mirror"),
    ] {
        let finished = sync(&target, &manifests, "").await.assert_code(code);
        assert!(finished.stdout.lines().last().unwrap().starts_with(message), "{finished:?}");
        if code == 1 {
            let lines = |part: &str| finished.stdout.lines().filter(|line| line.contains(part)).count();
            assert_eq!((lines(&missing), lines("No Image")), (1, 1), "{finished:?}");
        }
    }
    target.assert_has("team/app", "1", &image).await;
}

#[tokio::test]
async fn dry_run_writes_nothing_and_dry_pull_contacts_no_registry() {
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution(Access::Anonymous).await;
    let image = index("app");
    let app = source.push("team/app", "1", &image).await;
    let pinned = format!("{}/team/app@{}", source.host(), image.digest());
    let manifests = list(&[deployment("web").image(&app).image(&pinned).manifest()]);
    for more in [&["--dry-run"][..], &["--dry-pull"], &["--dry-run", "--dry-pull"]] {
        let arguments: Vec<&str> = ["sync", "-f", "-"].iter().chain(more).copied().collect();
        let program = command(&arguments, &manifests).env("TARGET_REGISTRY", target.host());
        let finished = program.run().await.assert_code(0);
        let (read, written) = (source.take_requests(), target.take_requests());
        if more.contains(&"--dry-pull") {
            assert_eq!((read, written), (vec![], vec![]), "{more:?}");
            assert!(finished.stdout.contains("2 would be pulled"), "{finished:?}");
        } else {
            assert!(read.iter().any(|request| request.method == "GET" && request.is_manifest()), "{read:#?}");
            assert!(!read.iter().any(Request::is_blob), "{read:#?}");
            assert!(written.iter().all(|request| matches!(request.method.as_str(), "GET" | "HEAD")), "{written:#?}");
            assert!(finished.stdout.contains("2 would be copied"), "{finished:?}");
        }
        assert_eq!(target.manifest("team/app", "1").await, None);
    }
    for (name, value) in [("DRY_RUN", "true"), ("DRY_PULL", "1")] {
        let program = command(&["sync", "-f", "-"], &manifests).env("TARGET_REGISTRY", target.host());
        program.env(name, value).run().await.assert_code(0);
    }
    assert_eq!(target.manifest("team/app", "1").await, None);
}

#[tokio::test]
async fn conflicting_images_get_different_prefixes_or_are_reported() {
    let (one, two) = (Registry::distribution(Access::Anonymous).await, Registry::distribution(Access::Anonymous).await);
    let (first, second) = (index("first"), index("second"));
    let first_1 = one.push("team/app", "1", &first).await;
    let second_1 = two.push("team/app", "1", &second).await;
    let manifests =
        [deployment("alpha").image(&first_1).manifest(), deployment("beta").image(&second_1).manifest_in("shop")];
    let target = Registry::crane().await;
    let finished = sync(&target, &manifests, "").await.assert_code(1);
    let failed: Vec<_> = finished.stdout.lines().filter(|line| line.starts_with("conflict ")).collect();
    assert_eq!(failed.len(), 1, "{finished:?}");
    assert!(finished.stdout.contains("\n1 copied, 1 in conflict; "), "{finished:?}");
    for message in ["deployment default/alpha", "deployment shop/beta", &first_1, &second_1, "$registry", "pathMap"] {
        assert!(failed[0].contains(message), "{message}: {}", failed[0]);
    }
    target.assert_has("team/app", "1", &first).await;

    let target = Registry::crane().await;
    sync(&target, &manifests, "repoPrefix: $registry").await.assert_code(0);
    for (registry, image) in [(&one, &first), (&two, &second)] {
        let repository = format!("{}/team/app", registry.host().replace(':', "-"));
        target.assert_has(&repository, "1", image).await;
    }
}

#[tokio::test]
async fn two_targets_at_one_address_do_not_overwrite_each_others_images() {
    let source = Registry::distribution(Access::Anonymous).await;
    let (deep, flat) = (index("deep"), index("flat"));
    let manifests = [
        deployment("alpha").image(&source.push("x/app", "1", &deep).await).manifest(),
        deployment("beta").image(&source.push("app", "1", &flat).await).manifest(),
    ];
    let target = Registry::crane().await;
    // The destination x/app is the first image for one target, and the second for the other.
    let config = format!(
        "targets:\n- {{ name: whole, kind: docker, registry: '{0}' }}\n- {{ name: part, kind: docker, registry: '{0}/x' }}\n",
        target.host()
    );
    let program = |arguments: &[&str]| Program::new(arguments).config(&config).stdin(&list(&manifests));
    for _ in 0..2 {
        let finished = program(&["sync", "-f", "-"]).run().await.assert_code(1);
        let failed: Vec<_> = finished.stdout.lines().filter(|line| line.starts_with("conflict ")).collect();
        assert!(matches!(failed.as_slice(), [line] if line.contains("deployment default/alpha")), "{finished:?}");
        for (repository, image) in [("x/app", &deep), ("x/x/app", &deep), ("app", &flat)] {
            target.assert_has(repository, "1", image).await;
        }
    }
    let planned = program(&["plan", "-f", "-", "--fail-on", "conflict"]).run().await.assert_code(1);
    assert!(planned.stderr.contains("1 destination has a conflict"), "{planned:?}");
    assert!(
        planned.stdout.contains("    conflict: ") && planned.stdout.contains(", 1 with a conflict\n"),
        "{planned:?}"
    );

    // The same image for both targets is copied once.
    let target = Registry::crane().await;
    let config = format!(
        "targets:\n- {{ name: whole, kind: docker, registry: '{0}', repoPrefix: x }}\n- {{ name: part, kind: docker, registry: '{0}/x' }}\n",
        target.host()
    );
    let program = Program::new(&["sync", "-f", "-"]).config(&config).stdin(&list(&manifests[1..]));
    let finished = program.run().await.assert_code(0);
    assert!(finished.stdout.contains("1 copied"), "{finished:?}");
    target.assert_has("x/app", "1", &flat).await;
}

#[tokio::test]
async fn sync_prints_json() {
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let (image, other) = (index("app"), index("other"));
    let app = source.push("team/app", "1", &image).await;
    let other = source.push("other/app", "1", &other).await;
    let missing = format!("{}/team/missing:1", source.host());
    let manifests = list(&[
        deployment("a").image(&app).image(&missing).image("No Image").manifest(),
        deployment("b").image(&other).manifest_in("shop"),
    ]);
    let program = command(&["sync", "-f", "-", "-o", "json"], &manifests).env("TARGET_REGISTRY", target.host());
    // Both applications go to one destination.
    let finished = program.config("pathMap: [{ from: other, to: team }]").run().await.assert_code(1);
    let mut lines: Vec<Value> = finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let summary = lines.pop().unwrap();
    let counts = &summary["summary"];
    let count = |name: &str| counts[name].as_u64().unwrap_or_else(|| panic!("{name}: {summary}"));
    assert_eq!(
        ["copied", "failed", "conflicts", "undecided", "alreadyThere", "notDone"].map(count),
        [1, 1, 1, 1, 0, 0]
    );
    assert!(count("bytes") > 0 && count("workloads") == 2 && summary["interrupted"].is_null(), "{summary}");
    let line = |outcome: &str| lines.iter().find(|line| line["outcome"] == outcome).unwrap();
    let copied = line("copied");
    assert_eq!((&copied["source"], &copied["digest"]), (&json!(app), &json!(image.digest())));
    let reference = format!("{}/team/app:1", target.host());
    assert_eq!(copied["target"], json!({ "name": "default", "reference": reference }));
    assert_eq!(copied["workloads"], json!([{ "kind": "Deployment", "namespace": "default", "name": "a" }]));
    assert_eq!((&copied["bytes"], &copied["reason"]), (&counts["bytes"], &Value::Null));
    assert_eq!((&line("failed")["kind"], &line("failed")["image"]), (&json!("source"), &json!(missing)));
    assert_eq!((&line("conflict")["kind"], &line("conflict")["source"]), (&json!("conflict"), &json!(other)));
    let undecided = line("undecided");
    assert_eq!((&undecided["image"], &undecided["target"]), (&json!("No Image"), &Value::Null));
    assert!(undecided["reason"].as_str().unwrap().contains("invalid image reference"), "{undecided}");
    assert_eq!(lines.len(), 4, "{finished:?}");
}

#[tokio::test]
async fn sync_tells_what_is_under_way_on_and_off_a_terminal() {
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let image = source.push("team/slow", "1", &single("slow")).await;
    let manifests = list(&[deployment("web").image(&image).manifest()]);
    source.inject(1, Request::is_blob, Fault::Delay(Duration::from_secs(3)));
    let terminal = on_terminal(100, "sync -f m.yaml", &manifests).env("TARGET_REGISTRY", target.host());
    let finished = terminal.run().await.assert_code(0);
    assert!(finished.stdout.contains("0 done, 1 under way, 0 waiting"), "{finished:?}");
    assert!(finished.stdout.contains(&format!("  {image} ")) && finished.stdout.contains(" B of "), "{finished:?}");

    let target = Registry::crane().await;
    source.inject(100, Request::is_blob, Fault::Delay(Duration::from_secs(300)));
    for (format, is_json) in [("text", false), ("json", true)] {
        let program = command(&["sync", "-f", "-", "-o", format], &manifests).env("TARGET_REGISTRY", target.host());
        let running = program.start();
        let line = format!("under way      0 done, 1 under way, 0 waiting; {image}: 0 B of ");
        running.logged("a line about the copy", |log| log.contains(&line)).await;
        let finished = running.terminate().await.assert_code(143);
        assert_eq!(finished.stderr.contains(&line), is_json, "{finished:?}");
        if is_json {
            let summary: Value = serde_json::from_str(finished.stdout.lines().last().unwrap()).unwrap();
            assert_eq!((&summary["interrupted"], &summary["summary"]["notDone"]), (&json!("SIGTERM"), &json!(1)));
        }
    }
}

fn keep_alive_tag(image: &demo::Image) -> String {
    format!("copycat-{}", image.digest().replace(':', "-"))
}

#[tokio::test]
async fn a_digest_gets_a_keep_alive_tag() {
    let source = Registry::distribution(Access::Anonymous).await;
    for target in [Registry::distribution(Access::Anonymous).await, Registry::crane().await] {
        let (alone, tagged) = (index("alone"), index("tagged"));
        source.push("team/alone", "1", &alone).await;
        source.push("team/tagged", "1", &tagged).await;
        let image =
            |repository: &str, image: &demo::Image| format!("{}/{repository}@{}", source.host(), image.digest());
        let web =
            deployment("web").image(&image("team/alone", &alone)).image(&image("team/tagged:1", &tagged)).manifest();
        sync(&target, std::slice::from_ref(&web), "").await.assert_code(0);
        for reference in [alone.digest(), &keep_alive_tag(&alone)] {
            target.assert_has("team/alone", reference, &alone).await;
        }
        for reference in ["1", tagged.digest(), &keep_alive_tag(&tagged)] {
            target.assert_has("team/tagged", reference, &tagged).await;
        }
        assert_eq!(target.manifest("team/alone", "1").await, None);
        assert_eq!(target.manifest("team/alone", "latest").await, None);

        source.take_requests();
        let finished = sync(&target, &[web], "").await.assert_code(0);
        assert!(finished.stdout.contains("2 already there"), "{finished:?}");
        assert_eq!(source.take_requests(), [], "a digest needs no source");
    }
}

#[tokio::test]
async fn a_tag_is_moved_unless_forbidden() {
    let (old, new) = (index("old"), index("new"));
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let mut images = Vec::new();
    for tag in ["1", "latest"] {
        images.push(source.push("team/app", tag, &new).await);
        target.push("team/app", tag, &old).await;
    }
    let manifests = [deployment("web").image(&images[0]).image(&images[1]).manifest()];
    let finished = sync(&target, &manifests, "allowDifferentDigestRepush: false").await.assert_code(1);
    let failed: Vec<_> = finished.stdout.lines().filter(|line| line.starts_with("failed")).collect();
    assert_eq!(failed.len(), 1, "{finished:?}");
    for message in [&images[0], old.digest(), new.digest(), "allowDifferentDigestRepush"] {
        assert!(failed[0].contains(message), "{}", failed[0]);
    }
    target.assert_has("team/app", "1", &old).await;
    target.assert_has("team/app", "latest", &new).await;

    let finished = sync(&target, &manifests, "").await.assert_code(0);
    assert!(finished.stdout.contains("1 copied, 1 already there"), "{finished:?}");
    target.assert_has("team/app", "1", &new).await;
}

#[tokio::test]
async fn a_layout_is_written_once_and_readable_by_other_tools() {
    let source = Registry::distribution(Access::Anonymous).await;
    let (web, tool, pinned) = (index("web"), single("tool"), index("pinned"));
    source.push("team/pinned", "1", &pinned).await;
    let manifests = list(&[
        deployment("web").image(&source.push("team/web", "1.27", &web).await).manifest(),
        job("tool").image(&source.push("tool", "1", &tool).await).manifest(),
        daemon_set("pinned").image(&format!("{}/team/pinned@{}", source.host(), pinned.digest())).manifest(),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("layout");
    let layout = || {
        let program = Program::new(&["sync", "-f", "-"]).stdin(&manifests);
        program.env("TARGET_KIND", "oci-layout").env("TARGET_PATH", &path)
    };
    let finished = layout().run().await.assert_code(0);
    for message in ["3 copied", &format!("oci:{}:team/web:1.27", path.display())] {
        assert!(finished.stdout.contains(message), "{finished:?}");
    }
    source.take_requests();
    let before = fs::read(path.join("index.json")).unwrap();
    let finished = layout().run().await.assert_code(0);
    assert!(finished.stdout.contains("3 already there; 3 workloads, 0 B sent"), "{finished:?}");
    let read = source.take_requests();
    assert!(read.len() == 2 && read.iter().all(|request| request.method == "HEAD"), "one for each tag: {read:#?}");
    assert_eq!(fs::read(path.join("index.json")).unwrap(), before);

    let index: Value = serde_json::from_slice(&before).unwrap();
    let entry = |image: &demo::Image| {
        let entries = index["manifests"].as_array().unwrap();
        entries.iter().find(|entry| entry["digest"] == image.digest()).unwrap_or_else(|| panic!("{index:#}"))
    };
    for (image, name) in [(&web, json!("team/web:1.27")), (&tool, json!("tool:1"))] {
        assert_eq!(entry(image)["annotations"]["org.opencontainers.image.ref.name"], name);
    }
    assert_eq!(entry(&pinned)["mediaType"], pinned.root().media_type);

    // An independent client pushes the whole layout to a registry.
    let registry = Registry::distribution(Access::Anonymous).await;
    let mut crane = Command::new(program("crane"));
    crane.args(["push", "--index"]).arg(&path).arg(format!("{}/from/layout:1", registry.host()));
    crane.env("HOME", folder.path()).env("NO_PROXY", "127.0.0.1");
    let output = tokio::task::spawn_blocking(move || crane.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for image in [&web, &tool, &pinned] {
        registry.assert_has("from/layout", image.digest(), image).await;
    }
}
