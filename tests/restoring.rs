//! `restore` writes files from the decisions and reports what they cover. That runtimes pull by them is tested in `drills`.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::{
    guests,
    planning::command,
    support::{Cluster, Finished, deployment, list},
};

fn restore(folder: &Path, runtime: &str, more: &[&str]) -> Vec<String> {
    let folder = folder.display().to_string();
    let arguments = ["restore", "-o", &folder, "--runtime", runtime];
    arguments.iter().chain(more).map(|argument| (*argument).to_owned()).collect()
}

async fn run(folder: &Path, runtime: &str, more: &[&str], stdin: &str, config: &str) -> Finished {
    let arguments = restore(folder, runtime, more);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    command(&arguments, stdin).config(config).run().await
}

async fn report(folder: &Path, runtime: &str, stdin: &str, config: &str) -> Value {
    let finished = run(folder, runtime, &["-f", "-", "--output", "json"], stdin, config).await.assert_code(0);
    let printed: Value = serde_json::from_str(&finished.stdout).unwrap();
    let stored: Value = serde_json::from_slice(&fs::read(folder.join("restore.json")).unwrap()).unwrap();
    assert_eq!(printed, stored);
    printed
}

fn image<'r>(report: &'r Value, name: &str) -> &'r Value {
    report["images"].as_array().unwrap().iter().find(|image| image["image"] == name).unwrap()
}

#[tokio::test]
async fn the_images_of_a_cluster_are_restored_from_its_decisions() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let client = cluster.admin();
    deployment("web").image("nginx:1").image("quay.io/acme/app:1").apply(&client, &namespace).await;
    let folder = tempfile::tempdir().unwrap();
    let config = format!("includeNamespaces: [{namespace}]\nrepoPrefix: $registry\n");
    let arguments = restore(&folder.path().join("files"), "containerd", &["--strict"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let kubeconfig = cluster.kubeconfig(folder.path(), cluster.admin_token());
    let finished = command(&arguments, "").config(&config).env("KUBECONFIG", kubeconfig).run().await.assert_code(0);
    assert!(finished.stdout.contains("2 images: 2 covered, 0 not covered\n"), "{finished:?}");
    let hosts = fs::read_to_string(folder.path().join("files/certs.d/docker.io/hosts.toml")).unwrap();
    assert!(hosts.contains("[host.\"https://registry.example/v2/docker.io\"]"), "{hosts}");
    let report: Value = serde_json::from_slice(&fs::read(folder.path().join("files/restore.json")).unwrap()).unwrap();
    let workloads = json!([format!("deployment {namespace}/web")]);
    assert_eq!(image(&report, "docker.io/library/nginx:1")["workloads"], workloads);
}

#[tokio::test]
async fn exit_codes_tell_uncovered_images_only_when_asked() {
    let good = list(&[deployment("web").image("nginx:1").manifest()]);
    let undecided = list(&[deployment("web").image("nginx:1").image("No Image").manifest()]);
    let prefix = "repoPrefix: $registry\n";
    for (stdin, more, code, message) in [
        (&good, &["--strict"][..], 0, ""),
        (&undecided, &[], 0, ""),
        (&undecided, &["--strict"], 1, ""),
        (&list(&[]), &[], 1, "no workload names an image: "),
        (
            &good,
            &["--target", "other"],
            2,
            "--target \"other\": there is no such target; the configuration has \"default\"",
        ),
        (&good, &["--tags", "--digest-only"], 2, "error: the argument '--tags' cannot be used with '--digest-only'"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let more: Vec<&str> = ["-f", "-"].iter().chain(more).copied().collect();
        let finished = run(folder.path(), "crio", &more, stdin, prefix).await.assert_code(code);
        assert!(finished.stderr.starts_with(message), "{finished:?}");
        if code == 2 {
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let finished = run(folder.path(), "k3s", &["-f", "-", "--digest-only"], &good, prefix).await.assert_code(2);
    assert!(finished.stderr.starts_with("--digest-only: k3s can't be told"), "{finished:?}");
    let config = "targets: [{ name: here, kind: oci-layout, path: /tmp/images }]\n";
    let arguments = restore(folder.path(), "crio", &["-f", "-"]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let layout = command(&arguments, &good).config(config).unset("TARGET_KIND").unset("TARGET_REGISTRY");
    let finished = layout.run().await.assert_code(2);
    assert!(finished.stderr.starts_with("no target is a registry"), "{finished:?}");
}

#[tokio::test]
async fn an_earlier_restore_stays_unless_it_is_to_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path().join("files");
    let stdin = list(&[deployment("web").image("nginx:1").manifest()]);
    let both = list(&[deployment("web").image("nginx:1").image("quay.io/a/b:1").manifest()]);
    let config = "repoPrefix: $registry\n";
    run(&at, "containerd", &["-f", "-"], &stdin, config).await.assert_code(0);
    // The same bytes are no change.
    let finished = run(&at, "containerd", &["-f", "-"], &stdin, config).await.assert_code(0);
    assert!(finished.stdout.contains("2 files there already, unchanged"), "{finished:?}");
    let refused = run(&at, "containerd", &["-f", "-"], &both, config).await.assert_code(1);
    assert!(refused.stderr.contains("has files already") && refused.stderr.contains("--force"), "{refused:?}");
    assert!(!at.join("certs.d/quay.io").exists());
    let hosts = at.join("certs.d/docker.io/hosts.toml");
    fs::write(&hosts, "with a login").unwrap();
    let finished = run(&at, "containerd", &["-f", "-", "--force"], &both, config).await.assert_code(0);
    assert!(finished.stdout.contains("hosts.toml.edited"), "{finished:?}");
    assert_eq!(fs::read_to_string(hosts.with_extension("toml.edited")).unwrap(), "with a login");
    assert!(at.join("certs.d/quay.io/hosts.toml").exists());
    // Another runtime's files replace them all.
    run(&at, "crio", &["-f", "-", "--force"], &both, config).await.assert_code(0);
    assert!(at.join("registries.conf.d/50-k8s-copycat.conf").exists() && !at.join("daemonset.yaml").exists());
}

#[tokio::test]
async fn a_plugins_own_naming_is_restored_as_far_as_a_runtime_can() {
    let config = format!(
        "plugins: [{{ name: teams, module: '{}', config: {{ namespace: payments, target: vault }} }}]\ntargets:\n\
         - {{ name: all, kind: docker, registry: all.example }}\n- {{ name: vault, kind: docker, registry: vault.example }}\n",
        guests::rust_path().display()
    );
    let team = |name: &str, team: &str, image: &str| deployment(name).label("team", team).image(image);
    let manifests = list(&[
        team("web", "red", "nginx:1").manifest_in("shop"),
        team("api", "blue", "nginx:2").manifest_in("shop"),
        team("pay", "blue", "redis:1").manifest_in("payments"),
    ]);
    let folder = tempfile::tempdir().unwrap();
    // Two images of one name have two places: two mirrors where a runtime has them.
    for (runtime, covered) in [("containerd", 3), ("crio", 3), ("k3s", 2), ("kustomize", 1)] {
        let arguments = restore(&folder.path().join(runtime), runtime, &["-f", "-", "--output", "json"]);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let program = command(&arguments, &manifests).config(&config).unset("TARGET_KIND").unset("TARGET_REGISTRY");
        let report: Value = serde_json::from_str(&program.run().await.assert_code(0).stdout).unwrap();
        // The only one that has all of them.
        let found = (&report["target"]["name"], &report["summary"]["covered"]);
        assert_eq!(found, (&json!("vault"), &json!(covered)), "{report:#}");
        assert_eq!(image(&report, "docker.io/library/redis:1")["mirror"], "vault.example/blue/library/redis:1");
    }
    let more = ["-f", "-", "--target", "all", "--output", "json"];
    let arguments = restore(&folder.path().join("all"), "containerd", &more);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let program = command(&arguments, &manifests).config(&config).unset("TARGET_KIND").unset("TARGET_REGISTRY");
    let report: Value = serde_json::from_str(&program.run().await.assert_code(0).stdout).unwrap();
    let payments = image(&report, "docker.io/library/redis:1");
    assert_eq!(payments["reason"], "it is not mirrored to target all");
    assert_eq!(payments["remedy"], "name its target with --target");
}

#[tokio::test]
async fn conflicts_and_their_names_are_left_out() {
    let manifests = list(&[
        deployment("one").image("quay.io/team/app:1").manifest(),
        deployment("two").image("ghcr.io/team/app:1").manifest(),
        deployment("three").image("ghcr.io/team/other:1").manifest(),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let report = report(folder.path(), "crio", &manifests, "").await;
    for (name, other) in [("quay.io/team/app:1", "ghcr.io/team/app:1"), ("ghcr.io/team/app:1", "quay.io/team/app:1")] {
        let image = image(&report, name);
        let reason = image["reason"].as_str().unwrap();
        assert!(reason.starts_with(&format!("conflict: {other} of deployment default/")), "{reason}");
        assert_eq!(image["remedy"], "set `repoPrefix: $registry`, so that each registry has a path of its own");
    }
    assert_eq!(image(&report, "ghcr.io/team/other:1")["status"], "covered");
}

/// Names of a cluster that try to leave their place in a file, in a shell or on a terminal.
#[tokio::test]
async fn hostile_names_stay_in_the_report_and_are_escaped() {
    let hostile = [
        "x\"]\n[host.\"https://evil.example\"]",
        "evil.example/$(poweroff):1",
        "a: b\n- name: evil",
        "\u{1b}[31mred:1",
        "../../../etc/passwd:1",
        "'; poweroff; '",
    ];
    let web = hostile.iter().fold(deployment("web").image("nginx:1"), |web, image| web.image(image));
    let manifests = list(&[web.manifest()]);
    for runtime in ["containerd", "crio", "k3s", "talos", "openshift", "docker", "kustomize"] {
        let folder = tempfile::tempdir().unwrap();
        let report = report(folder.path(), runtime, &manifests, "").await;
        assert_eq!(
            (&report["summary"]["covered"], &report["summary"]["uncovered"]),
            (&json!(1), &json!(6)),
            "{report:#}"
        );
        for file in report["files"].as_array().unwrap() {
            let text = fs::read_to_string(folder.path().join(file["path"].as_str().unwrap())).unwrap();
            assert!(!text.contains("evil") && !text.contains("poweroff") && !text.contains('\u{1b}'), "{text}");
        }
        let finished = run(folder.path(), runtime, &["-f", "-"], &manifests, "").await.assert_code(0);
        assert!(!finished.stdout.contains('\u{1b}') && !finished.stdout.contains("\n- name: evil"), "{finished:?}");
        let json = fs::read_to_string(folder.path().join("restore.json")).unwrap();
        assert!(!json.contains('\u{1b}'));
    }
}

#[tokio::test]
async fn no_secret_of_the_configuration_is_in_the_files() {
    let secret = "correct-horse-battery";
    let config = format!(
        "docker: {{ registry: registry.example, username: me, password: {secret} }}\ntargetKind: docker\nrepoPrefix: $registry\n"
    );
    let manifests = list(&[deployment("web").image("nginx:1").manifest()]);
    for runtime in ["containerd", "crio", "k3s", "talos", "openshift", "docker", "kustomize"] {
        let folder = tempfile::tempdir().unwrap();
        let report = report(folder.path(), runtime, &manifests, &config).await;
        assert!(!report["notes"].as_array().unwrap().is_empty(), "{runtime} {report:#}");
        let mut folders = vec![folder.path().to_owned()];
        while let Some(next) = folders.pop() {
            for entry in fs::read_dir(next).unwrap().flatten() {
                match entry.path() {
                    path if path.is_dir() => folders.push(path),
                    path => assert!(!fs::read_to_string(&path).unwrap().contains(secret), "{path:?}"),
                }
            }
        }
    }
}
