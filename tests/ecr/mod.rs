//! Amazon ECR as a target and as a source.

mod credentials;
mod mirroring;
mod quirks;
mod refusals;
mod repositories;
mod sources;
mod tokens;

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::{Aws, Call, Cluster, Finished, Program, Request, Running, deployment};

const REGION: &str = "eu-central-1";

/// `sync` of these images to the caller's registry, with debug logs.
fn sync(aws: &Aws, images: &[impl AsRef<str>]) -> Program {
    let workload = images.iter().fold(deployment("app"), |workload, image| workload.image(image.as_ref()));
    Program::new(&["sync", "-f", "-"])
        .aws(aws)
        .env("AWS_REGION", REGION)
        .env("ECR_ACCOUNT_ID", aws.account())
        .config("logLevel: debug\n")
        .stdin(&workload.manifest().to_string())
}

/// Runs it and asserts that it printed no secret.
async fn run(aws: &Aws, program: &Program) -> Finished {
    let finished = program.run().await;
    for output in [&finished.stdout, &finished.stderr] {
        assert_eq!(aws.find_secret(output), None, "{output}");
    }
    finished
}

/// Starts the controller for one namespace and the caller's registry; `ecr` has more keys for that section.
async fn controller(aws: &Aws, cluster: &Cluster, namespace: &str, ecr: &str, more: &str) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let config = format!(
        "logLevel: debug\nincludeNamespaces: [{namespace}]\n{more}\n\
         ecr:\n  accountID: {}\n  region: {REGION}\n{ecr}",
        aws.account()
    );
    let mut program = Program::controller(&kubeconfig).aws(aws).config(&config).start();
    program.ready().await;
    program
}

/// Terminates it and asserts that it printed no secret.
async fn terminate(aws: &Aws, program: Running) {
    let finished = program.terminate().await.assert_code(0);
    for output in [&finished.stdout, &finished.stderr] {
        assert_eq!(aws.find_secret(output), None, "{output}");
    }
}

/// How often each action was called.
fn actions(calls: &[Call]) -> BTreeMap<&str, usize> {
    let mut actions = BTreeMap::new();
    for call in calls {
        *actions.entry(call.action.as_str()).or_default() += 1;
    }
    actions
}

/// How often an action was called.
fn times(calls: &[Call], action: &str) -> usize {
    calls.iter().filter(|call| call.action == action).count()
}

/// The only line about a failure.
fn failure(finished: &Finished) -> &str {
    let mut failed = finished.stdout.lines().filter(|line| line.starts_with("failed"));
    let line = failed.next().unwrap_or_else(|| panic!("nothing failed: {finished:?}"));
    assert_eq!(failed.next(), None, "{finished:?}");
    line
}

fn is_manifest_put(request: &Request) -> bool {
    request.method == "PUT" && request.is_manifest()
}

/// The response to a forced pass.
async fn forced_pass(program: &Running) -> Value {
    let (status, body) = program.post("/force-reconcile").await;
    assert_eq!(status, 200);
    serde_json::from_str(&body).unwrap()
}
