//! Files of `docker login` and `podman login`.

use std::{fs, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{check, failure, sync};
use crate::{
    guests,
    mirroring::{arrives, single},
    support::{
        Access, Cluster, ConfigMapVolume, Finished, NEW_PASSWORD, PASSWORD, Program, Registry, USER, deployment,
        eventually, program,
    },
};

fn auth(password: &str) -> Value {
    json!({ "auth": STANDARD.encode(format!("{USER}:{password}")) })
}

/// A file with this entry in `auths`.
fn file(key: &str, entry: &Value) -> String {
    json!({ "auths": { key: entry } }).to_string()
}

/// Runs it and asserts that it printed no password.
async fn run(program: &Program) -> Finished {
    let finished = program.run().await;
    for output in [&finished.stdout, &finished.stderr] {
        for password in [PASSWORD, &STANDARD.encode(format!("{USER}:{PASSWORD}"))] {
            assert!(!output.contains(password), "{output}");
        }
    }
    finished
}

/// Writes a file in the program's home, and its folders.
fn in_home(program: Program, path: &str, content: &str) -> Program {
    let file = program.directory().join(path);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, content).unwrap();
    program
}

#[tokio::test]
async fn sync_pulls_and_pushes_with_the_logins_of_the_user() {
    let source = Registry::distribution(Access::Basic).await;
    let app = single("app");
    let image = source.push("team/app", "1", &app).await;
    let host = source.host();
    let plain = json!({ "username": USER, "password": PASSWORD });
    for (path, variable, text) in [
        (".docker/config.json", None, file(&host, &auth(PASSWORD))),
        (".docker/config.json", None, file(&host, &plain)),
        (".docker/config.json", None, file(&format!("https://{host}/v1/"), &auth(PASSWORD))),
        ("elsewhere/config.json", Some(("DOCKER_CONFIG", "elsewhere")), file(&host, &auth(PASSWORD))),
        ("any.json", Some(("REGISTRY_AUTH_FILE", "any.json")), file(&format!("{host}/team"), &auth(PASSWORD))),
        ("containers/auth.json", None, file(&format!("{host}/team/app"), &auth(PASSWORD))),
        (".config/containers/auth.json", None, file(&host, &auth(PASSWORD))),
    ] {
        let target = Registry::crane().await;
        let program = in_home(sync(&target, &[&image]), path, &text);
        let program = match variable {
            Some((name, path)) => {
                let path = program.directory().join(path);
                program.env(name, path)
            }
            None => program,
        };
        run(&program).await.assert_code(0);
        target.assert_has("team/app", "1", &app).await;
    }
    // The target's login is found as well.
    let (source, target) = (Registry::crane().await, Registry::distribution(Access::Token).await);
    let image = source.push("team/app", "1", &app).await;
    let refused = run(&sync(&target, &[&image])).await.assert_code(1);
    assert!(failure(&refused).contains("401"), "{refused:?}");
    let program = in_home(sync(&target, &[&image]), ".docker/config.json", &file(&target.host(), &auth(PASSWORD)));
    run(&program).await.assert_code(0);
    target.assert_has("team/app", "1", &app).await;
}

#[tokio::test]
async fn the_file_that_crane_writes_is_read() {
    let (source, target) = (Registry::distribution(Access::Basic).await, Registry::crane().await);
    let app = single("app");
    let sync = sync(&target, &[source.push("team/app", "1", &app).await]);
    let folder = sync.directory().join("docker");
    let login = Command::new(program("crane"))
        .args(["auth", "login", &source.host(), "-u", USER, "-p", PASSWORD])
        .env("DOCKER_CONFIG", &folder)
        .status();
    assert!(login.unwrap().success());
    run(&sync.env("DOCKER_CONFIG", folder)).await.assert_code(0);
    target.assert_has("team/app", "1", &app).await;
}

#[tokio::test]
async fn a_login_for_a_path_is_for_the_repositories_below_it_alone() {
    let (source, target) = (Registry::distribution(Access::Basic).await, Registry::crane().await);
    let app = single("app");
    let images = [source.push("team/app", "1", &app).await, source.push("other/app", "1", &app).await];
    let (host, team) = (source.host(), format!("{}/team", source.host()));
    let text = json!({ "auths": { host: auth("wrong"), team: auth(PASSWORD) } }).to_string();
    let finished = run(&in_home(sync(&target, &images), ".docker/config.json", &text)).await.assert_code(1);
    target.assert_has("team/app", "1", &app).await;
    let line = failure(&finished);
    assert!(line.contains("other/app") && line.contains("docker login") && line.contains("config.json"), "{line}");
}

#[tokio::test]
async fn configured_credentials_come_first() {
    let (source, target) = (Registry::distribution(Access::Basic).await, Registry::crane().await);
    let image = source.push("team/app", "1", &single("app")).await;
    let configured =
        format!("registryCredentials: [{{ registry: '{}', username: {USER}, password: wrong }}]\n", source.host());
    let program = in_home(sync(&target, &[image]), ".docker/config.json", &file(&source.host(), &auth(PASSWORD)));
    let finished = run(&program.config(&configured)).await.assert_code(1);
    assert!(failure(&finished).contains("the configured credentials were not accepted"), "{finished:?}");
}

#[tokio::test]
async fn a_broken_file_is_one_error_with_its_line() {
    let target = Registry::crane().await;
    let images: Vec<String> = (0..3).map(|number| format!("127.0.0.1:1/team/app:{number}")).collect();
    let text = "{\n  \"auths\": {\n    \"ghcr.io\": { \"auth\": \"c2VjcmV0\" }\n  }\n}\n";
    let finished = run(&in_home(sync(&target, &images), ".docker/config.json", text)).await.assert_code(2);
    let error = finished.stderr.trim();
    assert!(error.contains("config.json:3:") && error.contains("log in to that registry again"), "{error}");
    assert_eq!((error.lines().count(), finished.stdout.as_str()), (1, ""), "{finished:?}");
    assert!(!error.contains("c2VjcmV0") && !error.contains("secret"), "{error}");
}

#[tokio::test]
async fn check_tells_as_whom_a_registry_is_used_and_plugins_are_pushed_with_the_same_login() {
    let registry = Registry::distribution(Access::Basic).await;
    let image = registry.push("team/app", "1", &single("app")).await;
    let login = file(&registry.host(), &auth(PASSWORD));
    let program = Program::new(&["check", "--output=json", "-f", "-"])
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", registry.host())
        .stdin(&deployment("app").image(&image).manifest().to_string());
    let program = in_home(program, ".docker/config.json", &login);
    let whom = format!("user {USER} (of {}", program.directory().join(".docker/config.json").display());
    let source = run(&program).await;
    assert!(source.stdout.contains(&format!("as {whom}")), "{source:?}");
    assert!(source.stdout.contains("config.json, for registries without configured credentials"), "{source:?}");
    let target = check(program, "default: login").await;
    assert!(target.contains("\"ok\"") && target.contains(&whom), "{target}");

    let push = Program::new(&["plugin", "push"]).arg(guests::hostile()).arg(format!("{}/acme/p:1", registry.host()));
    run(&push).await.assert_code(1);
    run(&in_home(push, ".docker/config.json", &login)).await.assert_code(0);
}

#[tokio::test]
async fn run_reads_a_mounted_file_again_when_it_changes_and_none_of_the_user() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Basic).await;
    let target = Registry::crane().await;
    let (first, second) = (single("first"), single("second"));
    let images = [source.push("team/first", "1", &first).await, source.push("team/second", "1", &second).await];
    let secret = |password: &str| vec![(".dockerconfigjson", file(&source.host(), &auth(password)).into_bytes())];
    let mut mount = ConfigMapVolume::new(&secret(PASSWORD));
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let config = |more: &str| {
        format!(
            "includeNamespaces: [{namespace}]\nregistryRetryAttempts: 1\ntargetKind: docker\n\
             docker: {{ registry: '{}' }}\n{more}",
            target.host()
        )
    };
    let program = in_home(
        Program::controller(&kubeconfig).config(&config("")),
        ".docker/config.json",
        &file(&source.host(), &auth(PASSWORD)),
    );
    let mut program = program.start();
    program.ready().await;
    deployment("first").image(&images[0]).apply(&client, &namespace).await;
    let failures = || async { program.metrics().await.sum("k8s_copycat_copy_failures_total", &[("kind", "source")]) };
    eventually("it fails without a login", || async { (failures().await >= 1.0).then_some(()) }).await;

    program.rewrite_config(&config(&format!("dockerConfigFile: {}\n", mount.file(".dockerconfigjson").display())));
    arrives(&target, "team/first", "1", &first).await;
    source.change_password();
    mount.swap(&secret(NEW_PASSWORD));
    deployment("second").image(&images[1]).apply(&client, &namespace).await;
    arrives(&target, "team/second", "1", &second).await;
    let log = program.log();
    assert!(!log.contains(PASSWORD) && !log.contains(NEW_PASSWORD), "{log}");
}

#[tokio::test]
async fn a_login_that_is_not_accepted_is_not_sent_for_every_repository() {
    let source = Registry::distribution(Access::Token).await;
    let target = Registry::crane().await;
    let names: Vec<String> = (0..20).map(|number| format!("team/app-{number}")).collect();
    let mut images = Vec::new();
    for name in &names {
        images.push(source.push(name, "1", &single("app")).await);
    }
    source.take_logins();
    let login = json!({ "auth": STANDARD.encode("old-account:expired") });
    let program = sync(&target, &images).env("MAX_CONCURRENT_RECONCILES", "1");
    let program = in_home(program, "login.json", &file(&source.host(), &login));
    let path = program.directory().join("login.json");
    let finished = run(&program.env("DOCKER_CONFIG_FILE", path)).await.assert_code(1);
    let sent = source.take_logins().into_iter().filter(|(user, _)| user == "old-account").count();
    // Those that are copied at the same time.
    assert!((1..=6).contains(&sent), "{sent}: {finished:?}");
    let last = finished.stdout.lines().rev().find(|line| line.starts_with("failed")).unwrap();
    assert!(last.contains("old-account") && last.contains("docker login"), "{last}");
}
