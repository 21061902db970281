//! `plan` prints what would be mirrored, without contacting registries.

use std::fs;

use serde_json::{Value, json};

use crate::{
    guests,
    mirroring::single,
    support::{Access, Program, Registry, cron_job, daemon_set, deployment, job, list, pod, stateful_set},
};

/// The JSON lines of a plan, without the durations of the answers.
pub async fn plan(program: Program) -> Vec<Value> {
    let finished = program.run().await.assert_code(0);
    let mut lines: Vec<Value> = finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for answer in lines.iter_mut().flat_map(|line| line["trace"].as_array_mut().unwrap()) {
        assert!(answer.as_object_mut().unwrap().remove("microseconds").is_some_and(|took| took.is_u64()), "{answer}");
    }
    lines
}

/// A command with a target that need not exist, and standard input.
pub fn command(arguments: &[&str], stdin: &str) -> Program {
    Program::new(arguments).env("TARGET_KIND", "docker").env("TARGET_REGISTRY", "registry.example").stdin(stdin)
}

/// The names of workloads and their images.
fn planned(lines: &[Value]) -> Vec<(&str, &str)> {
    lines.iter().map(|line| (line["workload"]["name"].as_str().unwrap(), line["image"].as_str().unwrap())).collect()
}

#[tokio::test]
async fn a_json_plan_has_these_keys() {
    let digest = format!("sha256:{}", "0a".repeat(32));
    let mut pod = pod("debugged").image("Not An Image").manifest_in("shop");
    pod["spec"]["ephemeralContainers"] = json!([{ "name": "debug", "image": format!("quay.io/tools/debug@{digest}") }]);
    let web = deployment("web").init("setup", "busybox").image("quay.io/skipped/web:1");
    let manifests = [pod, web.image_volume("model", "quay.io/tools/model:1").manifest()];
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
    assert!(invalid.as_str().unwrap().starts_with("invalid image reference \"Not An Image\": "), "{invalid}");
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
        with(
            line(web, ["model", "volume"], "quay.io/tools/model:1", json!("quay.io/tools/model:1")),
            "mirror",
            Value::Null,
            json!([{ "name": "default", "reference": "registry.example/mirror/tools/model:1" }]),
            mirrored("pass"),
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
async fn a_wide_plan_has_one_line_for_each_destination() {
    let manifests = [
        deployment("web").image("nginx:1.27").manifest(),
        job("old").image("nginx:1").manifest_in("legacy"),
        pod("bad").image("no image").manifest(),
    ];
    let program = command(&["plan", "-f", "-", "-o", "wide", "--timings"], &list(&manifests));
    let finished = program.config("skipNamespaces: [legacy]").run().await.assert_code(0);
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
    assert!(web[4].starts_with("skip: pass (") && web[4].contains(" µs); target-selection: default ("), "{}", web[4]);
    let old = row("legacy/job/old");
    assert!(
        old[3] == "(skipped)" && old[4].starts_with("skip: skip: namespace legacy is in skipNamespaces ("),
        "{old:?}"
    );
    let bad = row("default/pod/bad");
    assert!(bad[3] == "(error)" && bad[4].contains("invalid image reference"), "{bad:?}");
}

#[tokio::test]
async fn a_text_plan_has_the_reasons_below_the_rows_and_a_summary() {
    let manifests = list(&[
        deployment("web").image("nginx:1.27").manifest(),
        job("old").image("nginx:1").manifest_in("legacy"),
        pod("bad").image("no image").manifest(),
    ]);
    let program = command(&["plan", "-f", "-"], &manifests).config("skipNamespaces: [legacy]");
    let finished = program.run().await.assert_code(0);
    let lines: Vec<&str> = finished.stdout.lines().collect();
    let [header, .., summary] = lines[..] else { panic!("{finished:?}") };
    assert!(header.starts_with("WORKLOAD") && header.ends_with("  GOES TO"), "{finished:?}");
    assert_eq!(summary, "3 image uses: 1 to be mirrored, 1 skipped, 1 undecided; 1 destination");
    for (row, end, reason) in [
        ("default/deployment/web", "  registry.example/library/nginx:1.27", "    target-selection: default"),
        ("legacy/job/old", "  (skipped)", "    skip: skip: namespace legacy is in skipNamespaces"),
        ("default/pod/bad", "  (undecided)", "    invalid image reference \"no image\": "),
    ] {
        let number = lines.iter().position(|line| line.starts_with(row)).unwrap();
        assert!(lines[number].ends_with(end) && lines[number + 1].starts_with(reason), "{row}: {finished:?}");
    }
}

#[tokio::test]
async fn two_plans_can_be_compared_unless_they_have_timings() {
    let manifests = list(&[deployment("web").image("nginx:1.27").image("busybox").manifest()]);
    for output in ["text", "wide"] {
        let program = command(&["plan", "-f", "-", "-o", output], &manifests);
        let (first, second) = (program.run().await.assert_code(0), program.run().await.assert_code(0));
        assert_eq!(first.stdout, second.stdout);
        assert!(!first.stdout.contains('µ'), "{first:?}");
        let timed = command(&["plan", "-f", "-", "--timings", "-o", output], &manifests).run().await.assert_code(0);
        assert!(timed.stdout.contains("skip: pass (") && timed.stdout.contains(" µs); target-sel"), "{timed:?}");
    }
}

#[tokio::test]
async fn a_plan_and_the_outcomes_of_sync_fit_the_terminal() {
    let image = "quay.io/an-organisation-with-a-long-name/and-a-team/some-image:v1.27.3-debian-12-r4";
    let manifests = list(&[
        deployment("a-deployment-with-a-long-name").image(image).image("nginx").manifest_in("some-namespace"),
        deployment("bad").image("No Image").manifest(),
    ]);
    for columns in [60, 80, 140] {
        for arguments in ["plan -f m.yaml", "sync --dry-pull -f m.yaml"] {
            let code = if arguments.starts_with("plan") { 0 } else { 1 };
            let finished = on_terminal(columns, arguments, &manifests).run().await.assert_code(code);
            let printed = printed_on_terminal(&finished.stdout);
            assert!(printed.len() > 3, "{finished:?}");
            let widest = printed.iter().max_by_key(|line| line.chars().count()).unwrap();
            assert!(widest.chars().count() <= columns, "{columns}, {arguments}: {widest}");
            let together = printed.concat().replace(' ', "");
            let destination =
                "->registry.example/an-organisation-with-a-long-name/and-a-team/some-image:v1.27.3-debian-12-r4";
            assert!(together.contains(destination) && together.contains("invalidimagereference"), "{finished:?}");
        }
    }
    // Not a terminal: nothing is folded.
    let finished = command(&["plan", "-f", "-"], &manifests).run().await.assert_code(0);
    let row = finished.stdout.lines().find(|line| line.contains(image)).unwrap();
    assert!(
        row.ends_with("  registry.example/an-organisation-with-a-long-name/and-a-team/some-image:v1.27.3-debian-12-r4"),
        "{row}"
    );
}

/// What was printed on a terminal line by line, without what was under way meanwhile.
fn printed_on_terminal(output: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut characters = output.chars();
    while let Some(character) = characters.next() {
        match character {
            '\r' | '\n' => lines.push(String::new()),
            // A control sequence ends with a letter.
            '\x1b' => {
                characters.find(char::is_ascii_alphabetic);
                lines.push(String::new());
            }
            other => lines.last_mut().unwrap().push(other),
        }
    }
    lines.retain(|line| !line.is_empty() && !line.contains(" under way, "));
    lines
}

/// The program with these arguments on a terminal of so many columns, with `manifests` as `m.yaml`, without its log.
pub fn on_terminal(columns: usize, arguments: &str, manifests: &str) -> Program {
    let line =
        format!("stty cols {columns} rows 30; exec {} {arguments} 2>/dev/null", env!("CARGO_BIN_EXE_k8s-copycat"));
    let program = command(&["-qec", &line, "/dev/null"], "").binary("/usr/bin/script".as_ref());
    program.file("m.yaml", manifests).env("TERM", "xterm").env("PATH", "/usr/bin:/bin")
}

#[tokio::test]
async fn every_broken_document_is_reported() {
    let broken = "kind: [a\n---\n{ apiVersion: v1, kind: Pod, metadata: { name: p }, spec: 7 }\n---\nb: *c\n";
    for verb in ["plan", "sync"] {
        let program = command(&[verb, "-f", "one.yaml", "-f", "missing.yaml", "-f", "two.yaml"], "");
        let program = program.config("").file("one.yaml", broken).file("two.yaml", "a: b: c");
        let finished = program.run().await.assert_code(1);
        let errors: Vec<&str> = finished.stderr.lines().collect();
        let starts = [
            "one.yaml, document 1: ",
            "one.yaml, document 2: Pod default/p is malformed: ",
            "one.yaml, document 3: ",
            "cannot read missing.yaml: ",
            "two.yaml, document 1: ",
        ];
        assert_eq!(errors.len(), starts.len(), "{finished:?}");
        assert!(errors.iter().zip(starts).all(|(error, start)| error.starts_with(start)), "{finished:?}");
        assert!(errors[2].ends_with(" at line 5, column 4"), "{finished:?}");
        assert_eq!(finished.stdout, "");
    }
}

/// Characters that control a terminal or are invisible.
const HIDDEN: [char; 8] = ['\x1b', '\x07', '\x7f', '\u{9b}', '\u{200b}', '\u{202e}', '\u{2066}', '\u{e0041}'];

#[tokio::test]
async fn plan_output_escapes_control_characters() {
    let hostile: String = HIDDEN.iter().flat_map(|hidden| ['x', *hidden]).collect();
    let mut web = deployment("web").image(&hostile).image("nginx:1").manifest();
    web["metadata"]["name"] = format!("web{hostile}").into();
    web["metadata"]["namespace"] = format!("shop\nforged {hostile}").into();
    let config = "skipNames: { deployments: [\"other\"] }";
    let manifests = list(&[web]);
    for arguments in [&["plan", "-f", "-"][..], &["plan", "-f", "-", "-o", "json"], &["sync", "--dry-pull", "-f", "-"]]
    {
        let finished = command(arguments, &manifests).config(config).run().await;
        let printed = format!("{}{}", finished.stdout, finished.stderr);
        assert!(!printed.contains(HIDDEN) && !printed.contains("\nforged"), "{arguments:?}: {printed:?}");
        if arguments.contains(&"json") {
            let lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            assert!(lines.iter().any(|line| line["image"] == hostile), "{printed}");
        } else {
            assert!(
                printed.contains("x\\u{1b}x\\u{7}x\\u{7f}x\\u{9b}x\\u{200b}x\\u{202e}x"),
                "{arguments:?}: {printed}"
            );
        }
    }
    let missing = format!("/nowhere/{hostile}\nforged");
    for arguments in [
        &["plan", "-f", &missing][..],
        &["sync", "-f", &missing],
        &["plan", "--config", &missing],
        &["plugin", "inspect", &missing],
        &["plugin", "push", &missing, &missing],
        &["plugin", "test", &missing, "--cases", &missing],
    ] {
        let finished = command(arguments, "").run().await;
        let printed = format!("{}{}", finished.stdout, finished.stderr);
        assert!(
            !printed.is_empty() && !printed.contains(HIDDEN) && !printed.contains("\nforged"),
            "{arguments:?}: {printed:?}"
        );
    }
    // In a log line in text format.
    let dump = list(&[json!({ "apiVersion": "v1", "kind": "ReplicationController", "metadata": { "name": hostile },
        "spec": { "template": { "spec": { "containers": [] } } } })]);
    let program = command(&["plan", "-f", "-", "--log-format", "text"], &dump);
    let finished = program.run().await.assert_code(0);
    assert!(finished.stderr.contains("may run containers") && !finished.stderr.contains(HIDDEN), "{finished:?}");
}

#[tokio::test]
async fn a_container_without_an_image_is_reported() {
    let mut manifest = deployment("web").image("nginx:1").manifest();
    manifest["spec"]["template"]["spec"]["containers"][0].as_object_mut().unwrap().remove("image");
    let manifests = list(&[manifest]);
    let lines = plan(command(&["plan", "-f", "-", "-o", "json"], &manifests)).await;
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert_eq!((&lines[0]["image"], &lines[0]["decision"]), (&json!(""), &json!("error")));
    assert_eq!(lines[0]["reason"], "container main names no image");
    let finished = command(&["plan", "-f", "-", "-o", "wide"], &manifests).run().await.assert_code(0);
    let row = finished.stdout.lines().find(|line| line.contains("default/deployment/web")).unwrap();
    assert!(row.contains("(none)") && row.ends_with("container main names no image"), "{row}");
    let finished = command(&["sync", "-f", "-"], &manifests).run().await.assert_code(1);
    for message in
        ["undecided      (none) of deployment default/web: container main names no image", "1 undecided; 1 workl"]
    {
        assert!(finished.stdout.contains(message), "{finished:?}");
    }
}

#[tokio::test]
async fn manifests_are_read_from_stdin_files_and_folders_as_yaml_and_json() {
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
async fn a_plan_of_files_contacts_no_registry_and_no_cluster() {
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
    // Without files the cluster is listed; this one has no workload API.
    let finished = with(&["plan"]).run().await.assert_code(1);
    assert_ne!(cluster.take_requests(), [], "{finished:?}");
}

#[tokio::test]
async fn exit_codes_distinguish_input_and_configuration_errors() {
    let good = list(&[deployment("web").image("web:1").manifest()]);
    let malformed =
        list(&[json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "x" }, "spec": 7 })]);
    for verb in ["plan", "sync"] {
        for (file, stdin, config, code, message) in [
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
            assert!(finished.stderr.contains(message) && finished.stdout.is_empty(), "{verb}: {finished:?}");
        }
        let finished = Program::new(&[verb, "--no-such-flag"]).run().await.assert_code(2);
        assert!(finished.stderr.contains("--no-such-flag"), "{finished:?}");
    }
}

#[tokio::test]
async fn unsupported_kinds_with_containers_are_ignored_with_a_warning() {
    let mut empty = deployment("empty").manifest_in("shop");
    empty["spec"] = json!({ "replicas": 1 });
    let rollout = json!({
        "apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": { "name": "canary" },
        "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": "canary:1" }] } } },
    });
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "web" }, "spec": {} });
    let manifests = list(&[empty, rollout, service, cron_job("nightly").image("nightly:1").manifest()]);
    let finished = command(&["plan", "-f", "-", "-o", "json"], &manifests).run().await.assert_code(0);
    for message in ["Deployment shop/empty has no pod template", "Rollout default/canary may run containers"] {
        assert!(finished.stderr.contains(message), "{finished:?}");
    }
    assert!(!finished.stderr.contains("Service"), "{finished:?}");
    assert!(finished.stdout.lines().count() == 1 && finished.stdout.contains("nightly:1"), "{finished:?}");
}

#[tokio::test]
async fn pods_of_unwatched_owners_are_planned_by_themselves() {
    let mut owned = pod("batch-1").image("batch:1").manifest();
    owned["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": "batch/v1", "kind": "Job", "name": "batch", "uid": "u", "controller": true }]);
    let manifests = list(&[job("batch").image("batch:1").manifest(), owned]);
    for (watched, expected) in
        [("pods", [("batch-1", "batch:1")]), ("jobs", [("batch", "batch:1")]), ("jobs,pods", [("batch", "batch:1")])]
    {
        let program = command(&["plan", "-f", "-", "-o", "json"], &manifests).env("WATCH_RESOURCES", watched);
        assert_eq!(planned(&plan(program).await), expected, "{watched}");
    }
}

/// Two images with a conflict, and others that share a destination without one.
fn conflicting_deployments() -> Vec<Value> {
    let digest = |byte: &str| format!("sha256:{}", byte.repeat(32));
    let pinned = |byte| format!("ghcr.io/team/pinned:1@{}", digest(byte));
    vec![
        deployment("one").image("ghcr.io/team/app:1").manifest_in("a"),
        deployment("two").image("quay.io/team/app:1").manifest_in("b"),
        deployment("same").image("ghcr.io/team/same:1").image("ghcr.io/team/same:1").manifest_in("a"),
        deployment("follows").image("ghcr.io/team/pinned:1").manifest_in("a"),
        deployment("pins").image(&pinned("0a")).image(&pinned("0b")).manifest_in("a"),
        deployment("bare").image(&format!("ghcr.io/team/bare@{}", digest("0a"))).manifest_in("a"),
        deployment("barer").image(&format!("quay.io/team/bare@{}", digest("0a"))).manifest_in("b"),
    ]
}

#[tokio::test]
async fn conflicts_are_shown_in_a_plan() {
    let manifests = list(&conflicting_deployments());
    let lines = plan(command(&["plan", "-f", "-", "-o", "json"], &manifests)).await;
    let conflicts: Vec<(&Value, &Value)> = lines
        .iter()
        .filter(|line| !line["targets"][0]["conflict"].is_null())
        .map(|line| (&line["workload"]["name"], &line["targets"][0]["conflict"]))
        .collect();
    let (one, two) = ("ghcr.io/team/app:1 of deployment a/one", "quay.io/team/app:1 of deployment b/two");
    assert_eq!(conflicts, [(&json!("one"), &json!(two)), (&json!("two"), &json!(one))], "{lines:#?}");

    let finished = command(&["plan", "-f", "-", "-o", "wide"], &manifests).run().await.assert_code(0);
    for (row, other) in [("a/deployment/one", two), ("b/deployment/two", one)] {
        let row = finished.stdout.lines().find(|line| line.starts_with(row)).unwrap();
        assert!(row.contains(&format!("  conflict: {other} has the same destination; skip: pass;")), "{row}");
    }
    assert!(finished.stdout.ends_with("; 4 destinations, 1 with a conflict\n"), "{finished:?}");
    assert_eq!(finished.stdout.matches("conflict:").count(), 2, "{finished:?}");
    let same = list(&conflicting_deployments()[2..]);
    let finished = command(&["plan", "-f", "-"], &same).run().await.assert_code(0);
    assert!(!finished.stdout.contains("conflict"), "{finished:?}");
}

#[tokio::test]
async fn fail_on_sets_the_exit_code() {
    let all = conflicting_deployments();
    let (conflict, good) = (list(&all[..2]), list(&all[2..]));
    let undecided = list(&[deployment("web").image("No Image").manifest()]);
    let both = list(&[all[0].clone(), all[1].clone(), deployment("web").image("No Image").manifest()]);
    for (manifests, fail_on, code, message) in [
        (&conflict, "conflict", 1, "1 destination has a conflict"),
        (&conflict, "undecided", 0, ""),
        (&undecided, "undecided", 1, "1 image is undecided"),
        (&undecided, "conflict", 0, ""),
        (&both, "conflict,undecided", 1, "1 destination has a conflict, 1 image is undecided"),
        (&good, "conflict,undecided", 0, ""),
    ] {
        for output in ["text", "json"] {
            let arguments = ["plan", "-f", "-", "-o", output, "--fail-on", fail_on];
            let program = command(&arguments, manifests).config("excludeRegistries: []");
            let finished = program.run().await.assert_code(code);
            let printed: Vec<&str> = finished.stderr.lines().collect();
            assert_eq!(
                printed,
                message.split('\n').filter(|line| !line.is_empty()).collect::<Vec<_>>(),
                "{finished:?}"
            );
        }
    }
    let finished = command(&["plan", "-f", "-", "--fail-on", "weather"], &good).run().await.assert_code(2);
    assert!(finished.stderr.contains("conflict, undecided"), "{finished:?}");
}

#[tokio::test]
async fn the_plan_names_the_plugin_that_skips_an_image() {
    let manifests = list(&[
        deployment("web").image("nginx:1").manifest_in("trouble"),
        deployment("old").image("nginx:1").manifest_in("legacy"),
        deployment("own").image("registry.example/nginx:1").manifest_in("shop"),
    ]);
    let row = |finished: &crate::support::Finished, start: &str| {
        let line = finished.stdout.lines().find(|line| line.starts_with(start)).map(str::to_owned);
        line.unwrap_or_else(|| panic!("{start}: {finished:?}"))
    };
    let config = |deed: &str| {
        let module = guests::hostile();
        format!("plugins: [{{ module: '{}', config: {deed} }}]\nskipNamespaces: [legacy]\n", module.display())
    };
    let arguments = ["plan", "-f", "-", "-o", "wide"];
    let finished = command(&arguments, &manifests).config(&config("skip")).run().await.assert_code(0);
    let web = row(&finished, "trouble/deployment/web");
    assert!(web.contains("(skipped)") && web.contains("hostile: skip: because"), "{web}");
    let old = row(&finished, "legacy/deployment/old");
    assert!(old.contains("hostile: pass;") && old.contains("; skip: skip: namespace legacy is in skip"), "{old}");
    // No plugin was called.
    assert!(row(&finished, "shop/deployment/own").ends_with("  already in target registry registry.example"));
    let finished = command(&arguments, &manifests).config(&config("{ select: [] }")).run().await;
    let web = row(&finished.assert_code(0), "trouble/deployment/web");
    assert!(web.contains("hostile: no target;") && web.ends_with("; plugin hostile chose no target"), "{web}");
}

#[tokio::test]
async fn missing_namespace_labels_cause_a_warning() {
    let web = deployment("web").image("nginx:1").manifest_in("shop");
    let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop",
        "labels": { "kubernetes.io/metadata.name": "shop" } } });
    let config = format!("plugins: [{{ module: '{}', config: keep }}]\n", guests::hostile().display());
    let message = "no labels of namespaces";
    for (manifests, config, warns) in [
        (vec![web.clone()], config.as_str(), true),
        (vec![web.clone(), namespace], &config, false),
        (vec![web], "", false),
    ] {
        let finished = command(&["plan", "-f", "-"], &list(&manifests)).config(config).run().await.assert_code(0);
        assert_eq!(finished.stderr.contains(message), warns, "{finished:?}");
        assert_eq!(finished.stderr.contains("shop"), warns, "{finished:?}");
    }
}

#[tokio::test]
async fn file_names_are_escaped_in_messages() {
    let folder = tempfile::tempdir().unwrap();
    let name = |ending: &str| {
        let path = folder.path().join(format!("x\u{202e}\x1b[2J\nforged{ending}"));
        fs::write(&path, "cases: [").unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (module, cases, manifests) = (name(".wasm"), name(".cases"), name(".yaml"));
    let good = guests::hostile().display().to_string();
    let config = format!("plugins: [{{ name: p, module: {} }}]\n", json!(module));
    let dir = format!("pluginDir: {}\n", json!(folder.path()));
    for (arguments, config) in [
        (&["plugin", "inspect", &module][..], ""),
        (&["plugin", "bench", &module], ""),
        (&["plugin", "wrap", &module, "-o", "out.wasm"], ""),
        (&["plugin", "test", &good, "--cases", &cases], ""),
        (&["plugin", "test", &module, "--cases", "cases.yaml"], ""),
        (&["plan", "-f", &manifests], ""),
        (&["plan", "-f", "-"], &config),
        (&["plan", "-f", "-"], &dir),
    ] {
        let program = command(arguments, "").config(config);
        let program = program.file("cases.yaml", "cases: [{ name: n, image: x, expect: { skip: pass } }]");
        let finished = program.run().await;
        let printed = format!("{}{}", finished.stdout, finished.stderr);
        assert!(finished.code != Some(0) && printed.contains("forged"), "{arguments:?}: {printed}");
        assert!(!printed.contains(HIDDEN) && !printed.contains("\nforged"), "{arguments:?}: {printed:?}");
    }
}
