//! Credential helpers of Docker, as real programs.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use serde_json::{Value, json};

use super::{failure, log_lines, sync};
use crate::{
    mirroring::single,
    support::{Access, Aws, Finished, NEW_PASSWORD, PASSWORD, Program, Registry, USER, eventually},
};

/// With this shell script as `docker-credential-test` in `PATH`, and Docker's configuration. The script appends what it is
/// asked for to the file `asked`.
fn with_helper(program: Program, script: &str, config: &Value) -> Program {
    let directory = program.directory().to_owned();
    let file = directory.join("docker-credential-test");
    let asked = directory.join("asked");
    fs::write(&file, format!("#!/bin/sh\nread server\necho \"$1 $server\" >> {}\n{script}\n", asked.display()))
        .unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir_all(directory.join(".docker")).unwrap();
    fs::write(directory.join(".docker/config.json"), config.to_string()).unwrap();
    let path = format!("{}:/usr/bin:/bin", directory.display());
    program.env("PATH", path)
}

/// A script that answers with a login.
fn answers(password: &str) -> String {
    format!("echo '{}'", json!({ "ServerURL": "x", "Username": USER, "Secret": password }))
}

fn asked(directory: &Path) -> Vec<String> {
    let text = fs::read_to_string(directory.join("asked")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Runs it and asserts that it printed no password.
async fn run(program: &Program) -> Finished {
    let finished = program.run().await;
    for output in [&finished.stdout, &finished.stderr] {
        assert!(!output.contains(PASSWORD) && !output.contains(NEW_PASSWORD), "{output}");
    }
    finished
}

#[tokio::test]
async fn a_helper_is_asked_once_for_its_registry_and_not_for_what_needs_no_login() {
    let (source, public, target) = (
        Registry::distribution(Access::Basic).await,
        Registry::crane().await,
        Registry::distribution(Access::Token).await,
    );
    let app = single("app");
    let mut images = Vec::new();
    for number in 0..10 {
        images.push(source.push(&format!("team/app{number}"), "1", &app).await);
    }
    images.push(public.push("team/public", "1", &app).await);
    let of_registry =
        json!({ "credHelpers": { source.host(): "test", target.host(): "test", "other.example": "none" } });
    for config in [of_registry, json!({ "credsStore": "test", "auths": { source.host(): {} } })] {
        let program = with_helper(sync(&target, &images), &answers(PASSWORD), &config);
        run(&program).await.assert_code(0);
        let mut expected = [format!("get {}", source.host()), format!("get {}", target.host())];
        expected.sort();
        let mut asked = asked(program.directory());
        asked.sort();
        assert_eq!(asked, expected, "{config}");
    }
    target.assert_has("team/app9", "1", &app).await;
}

#[tokio::test]
async fn a_helper_without_a_login_leaves_the_registry_to_the_next_and_to_nobody() {
    let (source, target) = (Registry::distribution(Access::Basic).await, Registry::crane().await);
    let app = single("app");
    let image = source.push("team/app", "1", &app).await;
    let not_found = "echo 'credentials not found in native keychain'; exit 1";
    let store = json!({ "credsStore": "test" });
    let program = with_helper(sync(&target, &[&image]), not_found, &store);
    let finished = run(&program).await.assert_code(1);
    assert!(failure(&finished).contains("no credentials are configured for this registry"), "{finished:?}");
    assert_eq!(log_lines(&finished, "can't be used"), 0, "{finished:?}");
    let podman = json!({ "auths": { source.host(): { "username": USER, "password": PASSWORD } } });
    fs::create_dir_all(program.directory().join("containers")).unwrap();
    fs::write(program.directory().join("containers/auth.json"), podman.to_string()).unwrap();
    run(&program).await.assert_code(0);
    target.assert_has("team/app", "1", &app).await;
}

#[tokio::test]
async fn a_failing_helper_is_told_once_and_by_each_image_that_the_registry_then_refuses() {
    let (source, public, target) =
        (Registry::distribution(Access::Basic).await, Registry::crane().await, Registry::crane().await);
    let app = single("app");
    let images = [source.push("team/app", "1", &app).await, public.push("team/public", "1", &app).await];
    let helper = json!({ "credHelpers": { source.host(): "test" } });
    for (script, told) in [
        ("echo 'the keychain is locked' >&2; exit 3", "it failed (the keychain is locked)"),
        ("echo 'exit status 51: no session'; exit 1", "it failed (exit status 51: no session)"),
        // A helper that prints a login and fails: the login is not quoted.
        (&format!("{}; exit 1", answers(PASSWORD)), "it failed;"),
        ("echo '{\"Username\": 1}'", "its answer is no JSON with Username and Secret"),
        ("head -c 1000000 /dev/zero", "it failed;"),
    ] {
        let finished = run(&with_helper(sync(&target, &images), script, &helper)).await.assert_code(1);
        let line = failure(&finished);
        let operation = format!("asking docker-credential-test for the login at {}", source.host());
        assert!(line.contains("team/app") && line.contains(&operation) && line.contains(told), "{line}");
        assert_eq!(
            log_lines(&finished, "the credential helper docker-credential-test can't be used"),
            1,
            "{finished:?}"
        );
    }
    let missing = json!({ "credHelpers": { source.host(): "missing" } });
    let finished = run(&with_helper(sync(&target, &images), "", &missing)).await.assert_code(1);
    assert!(failure(&finished).contains("docker-credential-missing"), "{finished:?}");
    assert!(failure(&finished).contains("no such program in PATH"), "{finished:?}");
}

#[tokio::test]
async fn a_helper_that_hangs_is_killed_with_what_it_has_started() {
    let (source, target) = (Registry::distribution(Access::Basic).await, Registry::crane().await);
    let image = source.push("team/app", "1", &single("app")).await;
    let helper = json!({ "credHelpers": { source.host(): "test" } });
    let program =
        with_helper(sync(&target, &[image]), "sleep 1000 & echo $! >> $HOME/ids; echo $$ >> $HOME/ids; wait", &helper);
    let finished = run(&program).await.assert_code(1);
    let line = failure(&finished);
    assert!(line.contains("no answer within 20 s, so it was killed") && line.contains("run it by hand"), "{line}");
    let ids = fs::read_to_string(program.directory().join("ids")).unwrap();
    assert_eq!(ids.lines().count(), 2, "one helper with one child: {ids}");
    for id in ids.lines() {
        // What has not been waited for is a zombie until then.
        eventually("it has ended", || async {
            let state = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            (state.is_empty() || state.contains(") Z ")).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn a_helper_is_asked_again_when_its_login_is_no_longer_accepted() {
    let (source, target) = (Registry::distribution(Access::Basic).await, Registry::crane().await);
    let app = single("app");
    let images = [source.push("team/first", "1", &app).await, source.push("team/second", "1", &app).await];
    let helper = json!({ "credHelpers": { source.host(): "test" } });
    // The first answer is one that has expired.
    let script =
        format!("if [ $(wc -l < $HOME/asked) = 1 ]; then {}; else {}; fi", answers("expired"), answers(PASSWORD));
    let program = with_helper(sync(&target, &images), &script, &helper);
    run(&program).await.assert_code(0);
    target.assert_has("team/second", "1", &app).await;
    assert_eq!(asked(program.directory()).len(), 2);
}

#[tokio::test]
async fn what_a_helper_does_not_know_of_amazons_registries_is_pulled_with_the_aws_identity() {
    let aws = Aws::start().await;
    let target = Registry::crane().await;
    let ecr = aws.registry(aws.account(), "eu-central-1").await;
    let image = ecr.push("team/app", "1", &single("app")).await;
    let not_found = "echo 'credentials not found in native keychain'; exit 1";
    let program = with_helper(sync(&target, &[image]).aws(&aws), not_found, &json!({ "credsStore": "test" }));
    run(&program).await.assert_code(0);
    target.assert_has("team/app", "1", &single("app")).await;
    assert!(aws.take_calls().iter().any(|call| call.action == "ecr:GetAuthorizationToken"));
    // Its own login would come first.
    let program = with_helper(program, &answers("of-the-helper"), &json!({ "credsStore": "test" }));
    let finished = run(&program).await.assert_code(1);
    assert!(failure(&finished).contains("docker-credential-test"), "{finished:?}");
    assert!(!finished.stderr.contains("of-the-helper"), "{finished:?}");
}
