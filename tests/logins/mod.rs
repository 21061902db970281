//! Where the login at a registry comes from: files and helpers of Docker and Podman, and the identities of clouds.

mod azure;
mod docker;
mod google;
mod helpers;

use serde_json::Value;

use crate::support::{Finished, Program, Registry, deployment};

/// `sync` of these images, with debug logs.
fn sync(target: &Registry, images: &[impl AsRef<str>]) -> Program {
    let workload = images.iter().fold(deployment("app"), |workload, image| workload.image(image.as_ref()));
    Program::new(&["sync", "-f", "-"])
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", target.host())
        .config("logLevel: debug\n")
        .stdin(&workload.manifest().to_string())
}

/// `check` of these images, as JSON, and what it says about a subject: result, finding and remedy.
async fn check(program: Program, subject: &str) -> String {
    let finished = program.run().await;
    let page: Value = serde_json::from_str(&finished.stdout).unwrap_or_else(|_| panic!("{finished:?}"));
    let found = page["checks"].as_array().unwrap().iter().find(|finding| finding["subject"] == subject);
    found.unwrap_or_else(|| panic!("no {subject} in {page:#}")).to_string()
}

/// The only line about a failure.
fn failure(finished: &Finished) -> &str {
    let mut failed = finished.stdout.lines().filter(|line| line.starts_with("failed"));
    let line = failed.next().unwrap_or_else(|| panic!("nothing failed: {finished:?}"));
    assert_eq!(failed.next(), None, "{finished:?}");
    line
}

/// The log lines that contain a text.
fn log_lines(finished: &Finished, text: &str) -> usize {
    finished.stderr.lines().filter(|line| line.contains(text)).count()
}
