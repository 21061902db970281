//! Demonstrates k8s-copycat without a cluster and without a network: serves some images on loopback, and runs the program
//! on a folder of manifests that use them.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "it explains its steps to the user")]

mod scene;

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use demo::Counts;
use tokio::net::TcpListener;

const USAGE: &str = "usage: demo PROGRAM [DIRECTORY]\n\n\
    PROGRAM is the path of k8s-copycat; configuration, manifests and copies go to DIRECTORY (default: target/demo).\n\
    `make demo` builds the program and passes its path.";

#[tokio::main]
async fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let Some(program) = arguments.next().filter(|argument| argument.is_file()) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let directory = arguments.next().unwrap_or_else(|| PathBuf::from("target/demo"));
    match run_demo(&program, &directory).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run_demo(program: &Path, directory: &Path) -> io::Result<()> {
    let scene = scene::Scene::new()?;
    let registry = scene.registry();
    let counter = registry.counter();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let host = listener.local_addr()?.to_string();
    tokio::spawn(registry.serve(listener));

    let files = fs::create_dir_all(directory)
        .and_then(|()| scene.write(directory, &host))
        .map_err(|error| io::Error::new(error.kind(), format!("cannot write to {}: {error}", directory.display())))?;
    println!(
        "A registry on {host} serves {} images; the manifests in {} use them.",
        scene.len(),
        files.manifests.display()
    );

    let run = |command: &str| run(program, command, &files);
    println!("\n1. Show what would be mirrored where, and why:");
    run("plan")?;
    println!("\n2. Mirror the images:");
    run("sync")?;
    let first = counter.counts();
    print_requests(first);
    println!("\n3. Mirror them again; nothing is copied, because all images exist:");
    run("sync")?;
    let second = counter.counts().since(first);
    print_requests(second);
    if first.blob_gets == 0 || second.manifest_gets + second.blob_gets > 0 {
        return Err(io::Error::other("the first pass should copy everything, the second nothing"));
    }
    println!("\nThe copies are in an OCI image layout: {}", files.layout.display());
    println!("Other tools can read it: skopeo inspect --raw oci:{}:library/nginx:1.27", files.layout.display());
    Ok(())
}

/// Runs the program without settings in the environment.
fn run(program: &Path, command: &str, files: &scene::Files) -> io::Result<()> {
    println!("$ k8s-copycat {command} --config {} -f {}", files.config.display(), files.manifests.display());
    let kept = ["PATH", "HOME", "TERM"].map(|name| (name, env::var_os(name)));
    let status = Command::new(program)
        .arg(command)
        .arg("--config")
        .arg(&files.config)
        .arg("-f")
        .arg(&files.manifests)
        .env_clear()
        .envs(kept.into_iter().filter_map(|(name, value)| Some((name, value?))))
        .status()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot start {}: {error}", program.display())))?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("k8s-copycat {command} failed with {status}"))) }
}

fn print_requests(Counts { manifest_heads, manifest_gets, blob_gets }: Counts) {
    println!("Requests to the registry: {manifest_heads} digests, {manifest_gets} manifests, {blob_gets} blobs.");
}
