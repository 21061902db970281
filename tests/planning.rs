//! `plan` says what would happen and asks nobody; `sync` does it once, and says how it ended.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::{
    mirroring::{index, single},
    support::{
        Access, Finished, Program, Registry, Request, cron_job, daemon_set, deployment, job, list, pod, program,
        stateful_set,
    },
};

/// The lines of a plan that is written as JSON.
pub async fn plan(program: Program) -> Vec<Value> {
    let finished = program.run().await.assert_code(0);
    finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A command with a target that need not be there, and an input.
fn command(arguments: &[&str], stdin: &str) -> Program {
    Program::new(arguments).env("TARGET_KIND", "docker").env("TARGET_REGISTRY", "registry.example").stdin(stdin)
}

async fn sync(target: &Registry, manifests: &[Value], config: &str) -> Finished {
    let program = command(&["sync", "-f", "-"], &list(manifests)).env("TARGET_REGISTRY", target.host());
    program.config(config).run().await
}

/// Names of workloads and their images.
fn planned(lines: &[Value]) -> Vec<(&str, &str)> {
    lines.iter().map(|line| (line["workload"]["name"].as_str().unwrap(), line["image"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn a_line_of_a_plan_has_these_keys() {
    let digest = format!("sha256:{}", "0a".repeat(32));
    let mut pod = pod("debugged").image("Not An Image").manifest_in("shop");
    pod["spec"]["ephemeralContainers"] = json!([{ "name": "debug", "image": format!("quay.io/tools/debug@{digest}") }]);
    let manifests = [pod, deployment("web").init("setup", "busybox").image("quay.io/skipped/web:1").manifest()];
    let config = "excludeRegistries: [quay.io/skipped]\nrepoPrefix: mirror\n";
    let lines = plan(command(&["plan", "-f", "-", "--output", "json"], &list(&manifests)).config(config)).await;
    let trace = |answers: &[(&str, &str, &str)]| -> Value {
        answers
            .iter()
            .map(|(hook, plugin, answer)| json!({ "hook": hook, "plugin": plugin, "answer": answer }))
            .collect()
    };
    let mirrored = |path: &str| {
        trace(&[
            ("skip", "skip", "pass"),
            ("target-selection", "target-selection", "default"),
            ("path-mapping", "path-map", path),
            ("repository-prefix", "repo-prefix", "default: mirror"),
        ])
    };
    let line = |workload: [&str; 3], container: [&str; 2], image: &str, source: Value| {
        json!({
            "workload": { "kind": workload[0], "namespace": workload[1], "name": workload[2] },
            "container": container[0],
            "containerType": container[1],
            "image": image,
            "source": source,
        })
    };
    let with = |mut line: Value, decision: &str, reason: Value, targets: Value, trace: Value| {
        line["decision"] = decision.into();
        line["reason"] = reason;
        line["targets"] = targets;
        line["trace"] = trace;
        line
    };
    let web = ["Deployment", "default", "web"];
    let debugged = ["Pod", "shop", "debugged"];
    let debug = format!("quay.io/tools/debug@{digest}");
    let invalid = lines.iter().find(|line| line["decision"] == "error").unwrap()["reason"].clone();
    assert!(invalid.as_str().unwrap().starts_with("\"Not An Image\" is no image reference: "), "{invalid}");
    let expected = [
        with(
            line(web, ["setup", "init"], "busybox", json!("docker.io/library/busybox:latest")),
            "mirror",
            Value::Null,
            json!([{ "name": "default", "reference": "registry.example/mirror/library/busybox:latest" }]),
            mirrored("pass"),
        ),
        with(
            line(web, ["main", "regular"], "quay.io/skipped/web:1", json!("quay.io/skipped/web:1")),
            "skip",
            json!("quay.io/skipped is in excludeRegistries"),
            json!([]),
            trace(&[("skip", "skip", "skip: quay.io/skipped is in excludeRegistries")]),
        ),
        with(line(debugged, ["main", "regular"], "Not An Image", Value::Null), "error", invalid, json!([]), json!([])),
        with(
            line(debugged, ["debug", "ephemeral"], &debug, json!(debug)),
            "mirror",
            Value::Null,
            json!([{ "name": "default", "reference": format!("registry.example/mirror/tools/debug@{digest}") }]),
            mirrored("pass"),
        ),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for line in &expected {
        assert!(lines.contains(line), "{line:#}\nis not in\n{lines:#?}");
    }
}

#[tokio::test]
async fn a_plan_for_people_is_a_table() {
    let manifests = [
        deployment("web").image("nginx:1.27").manifest(),
        job("old").image("nginx:1").manifest_in("legacy"),
        pod("bad").image("no image").manifest(),
    ];
    let finished =
        command(&["plan", "-f", "-"], &list(&manifests)).config("skipNamespaces: [legacy]").run().await.assert_code(0);
    let row = |start: &str| {
        let line = finished.stdout.lines().find(|line| line.starts_with(start));
        line.unwrap_or_else(|| panic!("{start}: {finished:?}"))
            .split("  ")
            .filter(|cell| !cell.is_empty())
            .map(str::trim)
            .collect::<Vec<_>>()
    };
    assert_eq!(row("WORKLOAD"), ["WORKLOAD", "CONTAINER", "IMAGE", "GOES TO", "WHY"]);
    let web = row("default/deployment/web");
    assert_eq!(web[1..4], ["main", "nginx:1.27", "registry.example/library/nginx:1.27"]);
    assert_eq!(row("legacy/job/old")[3..], ["(skipped)", "namespace legacy is in skipNamespaces"]);
    let bad = row("default/pod/bad");
    assert!(bad[3] == "(error)" && bad[4].contains("is no image reference"), "{bad:?}");
}

#[tokio::test]
async fn manifests_come_from_input_files_and_folders_in_yaml_and_json() {
    let [web, db, agent] = [
        deployment("web").image("web:1").manifest(),
        stateful_set("db").image("db:1").manifest(),
        daemon_set("agent").image("agent:1").manifest(),
    ];
    let nightly = "apiVersion: batch/v1\nkind: CronJob\nmetadata: { name: nightly }\nspec:\n  jobTemplate:\n    spec:\n      \
                   template:\n        spec:\n          containers: [{ name: main, image: 'nightly:1' }]\n";
    let documents = format!("# one\n---\n{web}\n---\n---\n{nightly}");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("all/deeper")).unwrap();
    fs::create_dir(path("all/.hidden")).unwrap();
    fs::write(path("documents.yaml"), &documents).unwrap();
    fs::write(path("all/list.json"), list(&[db.clone(), agent.clone()])).unwrap();
    fs::write(path("all/deeper/web.yml"), web.to_string()).unwrap();
    fs::write(path("all/notes.txt"), "kind: [").unwrap();
    fs::write(path("all/.hidden/web.yaml"), "kind: [").unwrap();
    let (all, file) = (path("all").display().to_string(), path("documents.yaml").display().to_string());
    let (web, nightly) = (("web", "web:1"), ("nightly", "nightly:1"));
    let (db, agent) = (("db", "db:1"), ("agent", "agent:1"));
    for (arguments, stdin, expected) in [
        (&["-f", "-"][..], documents.as_str(), &[web, nightly][..]),
        (&["-f", &file], "", &[web, nightly]),
        (&["-f", &all], "", &[web, db, agent]),
        (&["--filename", &all, "-f", &file], "", &[web, nightly, db, agent]),
        (&["-f", &all, &file, "-"], "", &[web, nightly, db, agent]),
        (&["-f", "-"], &list(&[]), &[]),
    ] {
        let arguments: Vec<&str> = ["plan", "--output", "json"].iter().chain(arguments).copied().collect();
        let lines = plan(command(&arguments, stdin)).await;
        let mut found = planned(&lines);
        let mut expected = expected.to_vec();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected, "{arguments:?}");
    }
}

#[tokio::test]
async fn a_plan_asks_no_registry_and_no_cluster() {
    let source = Registry::distribution(Access::Anonymous).await;
    let (target, cluster) = (Registry::crane().await, Registry::crane().await);
    let image = source.push("team/app", "1", &single("app")).await;
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{ "name": "test", "cluster": { "server": format!("http://{}", cluster.host()) } }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
        "users": [{ "name": "test", "user": {} }],
    });
    let with = |arguments: &[&str]| {
        command(arguments, &list(&[deployment("web").image(&image).manifest()]))
            .env("TARGET_REGISTRY", target.host())
            .file("kubeconfig", &kubeconfig.to_string())
            .env("KUBECONFIG", "kubeconfig")
    };
    let lines = plan(with(&["plan", "-o", "json", "-f", "-"])).await;
    assert_eq!(lines[0]["targets"][0]["reference"], format!("{}/team/app:1", target.host()));
    for (name, registry) in [("source", &source), ("target", &target), ("cluster", &cluster)] {
        assert_eq!(registry.take_requests(), [], "{name}");
    }
    // Without files it is the cluster that is asked; this one knows nothing of workloads.
    let finished = with(&["plan"]).run().await.assert_code(1);
    assert_ne!(cluster.take_requests(), [], "{finished:?}");
}

#[tokio::test]
async fn exit_codes_tell_input_from_configuration() {
    let good = list(&[deployment("web").image("web:1").manifest()]);
    let malformed =
        list(&[json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "x" }, "spec": 7 })]);
    for verb in ["plan", "sync"] {
        for (file, stdin, config, code, told) in [
            ("/nonexistent/web.yaml", "", "", 1, "/nonexistent/web.yaml"),
            ("-", "kind: [", "", 1, "standard input, document 1"),
            ("-", &malformed, "", 1, "Deployment default/x is malformed"),
            ("-", &good, "targetKind: floppy", 2, "targetKind"),
            ("-", &good, "repoPrefix: $arch", 2, "$arch"),
        ] {
            let mut program =
                Program::new(&[verb, "-f", file]).stdin(stdin).config(config).env("TARGET_REGISTRY", "r.io");
            if !config.starts_with("targetKind") {
                program = program.env("TARGET_KIND", "docker");
            }
            let finished = program.run().await.assert_code(code);
            assert!(finished.stderr.contains(told) && finished.stdout.is_empty(), "{verb}: {finished:?}");
        }
        let finished = Program::new(&[verb, "--no-such-flag"]).run().await.assert_code(2);
        assert!(finished.stderr.contains("--no-such-flag"), "{finished:?}");
    }
}

#[tokio::test]
async fn what_runs_containers_and_is_not_read_is_told_and_passed_over() {
    let mut empty = deployment("empty").manifest_in("shop");
    empty["spec"] = json!({ "replicas": 1 });
    let rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": { "name": "canary" },
        "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": "canary:1" }] } } },
    });
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" }, "spec": {} });
    let manifests = list(&[empty, rollout, service, cron_job("nightly").image("nightly:1").manifest()]);
    let finished = command(&["plan", "-f", "-", "-o", "json"], &manifests).run().await.assert_code(0);
    for told in ["Deployment shop/empty has no pod template", "Rollout default/canary may run containers"] {
        assert!(finished.stderr.contains(told), "{finished:?}");
    }
    assert!(!finished.stderr.contains("Service"), "{finished:?}");
    assert!(finished.stdout.lines().count() == 1 && finished.stdout.contains("nightly:1"), "{finished:?}");
}

#[tokio::test]
async fn a_sync_says_by_its_exit_code_whether_all_is_there() {
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let image = index("app");
    let app = source.push("team/app", "1", &image).await;
    let missing = format!("{}/team/missing:1", source.host());
    let web = deployment("web").image(&app).manifest();
    let broken = deployment("broken").image(&missing).image("No Image").manifest();
    for (manifests, code, told) in [
        (vec![broken, web.clone()], 1, "1 copied, 1 failed, 1 undecided"),
        (vec![web], 0, "1 already there"),
        (vec![], 0, "no images to mirror"),
    ] {
        let finished = sync(&target, &manifests, "").await.assert_code(code);
        assert!(finished.stdout.lines().last().unwrap().starts_with(told), "{finished:?}");
        if code == 1 {
            let lines = |part: &str| finished.stdout.lines().filter(|line| line.contains(part)).count();
            assert_eq!((lines(&missing), lines("No Image")), (1, 1), "{finished:?}");
        }
    }
    target.assert_has("team/app", "1", &image).await;
}

#[tokio::test]
async fn dry_modes_write_nothing_and_one_of_them_asks_nobody() {
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
        let (read, asked) = (source.take_requests(), target.take_requests());
        if more.contains(&"--dry-pull") {
            assert_eq!((read, asked), (vec![], vec![]), "{more:?}");
            assert!(finished.stdout.contains("2 would be pulled"), "{finished:?}");
        } else {
            assert!(read.iter().any(|request| request.method == "GET" && request.is_manifest()), "{read:#?}");
            assert!(!read.iter().any(Request::is_blob), "{read:#?}");
            assert!(asked.iter().all(|request| matches!(request.method.as_str(), "GET" | "HEAD")), "{asked:#?}");
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
async fn two_images_that_want_one_name_are_told_apart_or_named() {
    let (one, two) = (Registry::distribution(Access::Anonymous).await, Registry::distribution(Access::Anonymous).await);
    let (first, second) = (index("first"), index("second"));
    let first_1 = one.push("team/app", "1", &first).await;
    let second_1 = two.push("team/app", "1", &second).await;
    let manifests =
        [deployment("alpha").image(&first_1).manifest(), deployment("beta").image(&second_1).manifest_in("shop")];
    let target = Registry::crane().await;
    let finished = sync(&target, &manifests, "").await.assert_code(1);
    let failed: Vec<_> = finished.stdout.lines().filter(|line| line.starts_with("failed")).collect();
    assert_eq!(failed.len(), 1, "{finished:?}");
    for told in ["deployment default/alpha", "deployment shop/beta", &first_1, &second_1, "$registry", "pathMap"] {
        assert!(failed[0].contains(told), "{told}: {}", failed[0]);
    }
    target.assert_has("team/app", "1", &first).await;

    let target = Registry::crane().await;
    sync(&target, &manifests, "repoPrefix: $registry").await.assert_code(0);
    for (registry, image) in [(&one, &first), (&two, &second)] {
        let repository = format!("{}/team/app", registry.host().replace(':', "-"));
        target.assert_has(&repository, "1", image).await;
    }
}

fn kept(image: &demo::Image) -> String {
    format!("copycat-{}", image.digest().replace(':', "-"))
}

#[tokio::test]
async fn what_is_named_by_digest_is_kept_by_a_tag() {
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
        for reference in [alone.digest(), &kept(&alone)] {
            target.assert_has("team/alone", reference, &alone).await;
        }
        for reference in ["1", tagged.digest(), &kept(&tagged)] {
            target.assert_has("team/tagged", reference, &tagged).await;
        }
        assert_eq!(target.manifest("team/alone", "1").await, None);
        assert_eq!(target.manifest("team/alone", "latest").await, None);

        source.take_requests();
        let finished = sync(&target, &[web], "").await.assert_code(0);
        assert!(finished.stdout.contains("2 already there"), "{finished:?}");
        assert_eq!(source.take_requests(), [], "what a digest names needs no source");
    }
}

#[tokio::test]
async fn a_tag_moves_unless_that_is_forbidden() {
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
    for told in [&images[0], old.digest(), new.digest(), "allowDifferentDigestRepush"] {
        assert!(failed[0].contains(told), "{}", failed[0]);
    }
    target.assert_has("team/app", "1", &old).await;
    target.assert_has("team/app", "latest", &new).await;

    let finished = sync(&target, &manifests, "").await.assert_code(0);
    assert!(finished.stdout.contains("1 copied, 1 already there"), "{finished:?}");
    target.assert_has("team/app", "1", &new).await;
}

#[tokio::test]
async fn a_layout_is_written_once_and_read_by_others() {
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
    for told in ["3 copied", &format!("oci:{}:team/web:1.27", path.display())] {
        assert!(finished.stdout.contains(told), "{finished:?}");
    }
    source.take_requests();
    let before = fs::read(path.join("index.json")).unwrap();
    let finished = layout().run().await.assert_code(0);
    assert!(finished.stdout.contains("3 already there; 3 workloads, 0 bytes"), "{finished:?}");
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

    // A client that nobody here has written carries the whole layout into a registry.
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
