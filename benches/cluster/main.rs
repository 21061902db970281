//! What the program costs beside a cluster where all is done, and what `plan` costs.
//!
//! `make bench` builds the program for release and runs this; by hand:
//! `cargo bench --workspace --profile dev --bench cluster -- PROGRAM [--pods NUMBER]`. Prints tables in Markdown.
//!
//! With `--scale` instead (`make bench-scale`), what it costs in large clusters: `--deployments 5000,20000` says in how
//! large ones, `--workloads 40000` how many of one image `sync` is given.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark stops at the first surprise, and prints what it found"
)]

mod any_name;
#[path = "../copy/measure.rs"]
mod measure;
mod process;
mod scale;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::{
    ffi::OsString,
    path::Path,
    time::{Duration, Instant},
};

use demo::{Format, Image, Layer};
use futures::{StreamExt as _, stream};
use kube::Client;

use process::Usage;
use support::{Access, Cluster, Program, Registry, Running, Workload, deployment, pod, replica_set, set_pod_status};

const DEPLOYMENTS: usize = 1000;
const CONTAINERS: usize = 3;
const IMAGES: usize = 200;
/// Requests to the API server, or to a registry, at a time.
const WRITERS: usize = 8;
/// Without a request for this long, the pass is over.
const QUIET: Duration = Duration::from_secs(5);
/// For so long it is watched having nothing to do.
const IDLE: Duration = Duration::from_secs(20);
/// So many runs are averaged, since CPU time is counted in hundredths of a second.
const PLANS: u32 = 20;

fn main() {
    // Cargo adds `--bench`.
    let arguments: Vec<OsString> = std::env::args_os().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|first| first == measure::FLAG) {
        return measure::measure(&arguments[1..]);
    }
    let arguments: Vec<String> = arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect();
    let (program, options) = arguments.split_first().expect("the path of the program is missing");
    let program = std::fs::canonicalize(program).expect("the program is not there");
    tokio::runtime::Runtime::new().unwrap().block_on(run(&program, options));
}

async fn run(program: &Path, options: &[String]) {
    if let Some(("--scale", options)) = options.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        let (mut deployments, mut workloads) = (vec![5000, 20_000], 40_000);
        for option in options.chunks(2) {
            match option {
                [name, list] if name == "--deployments" => deployments = list.split(',').map(number).collect(),
                [name, count] if name == "--workloads" => workloads = number(count),
                other => panic!("what is {other:?}?"),
            }
        }
        if workloads > 0 {
            scale::workloads(program, workloads);
        }
        deployments.retain(|size| *size > 0);
        return scale::deployments(program, &deployments).await;
    }
    let pods = match options {
        [] => 0,
        [name, pods] if name == "--pods" => number(pods),
        other => panic!("what is {other:?}?"),
    };
    plan(program).await;
    idle(program, 0).await;
    if pods > 0 {
        idle(program, pods).await;
    }
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is no number"))
}

/// `plan` for one manifest with the default plugins alone.
async fn plan(program: &Path) {
    let manifest = deployment("web").image("nginx:1.27").manifest().to_string();
    let plan = Program::new(&["plan", "-f", "-", "--output", "json"])
        .binary(program)
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", "registry.example.com")
        .stdin(&manifest);
    let mut first = Duration::ZERO;
    let mut later = Duration::ZERO;
    for _ in 0..PLANS {
        process::forget_pages(program);
        let before = process::cpu_of_children();
        plan.run().await.assert_code(0);
        let between = process::cpu_of_children();
        plan.run().await.assert_code(0);
        first += between - before;
        later += process::cpu_of_children() - between;
    }
    println!("| `plan` of one manifest | target | CPU, ms |\n|---|---|---|");
    println!("| started from the disk | 500 | {:.1} |", milliseconds(first / PLANS));
    println!("| started again | 50 | {:.1} |\n", milliseconds(later / PLANS));
}

/// The controller beside a cluster whose images are all at the target.
async fn idle(program: &Path, pods: usize) {
    let cluster = Cluster::start().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution(Access::Anonymous).await;
    let images = images(&source, &target).await;
    let namespace = cluster.namespace().await;
    fill(&cluster.admin(), &namespace, &images, pods).await;

    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let started = Instant::now();
    let mut running = Program::controller(&kubeconfig)
        .binary(program)
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", target.host())
        .env("INCLUDE_NAMESPACES", "*")
        .start();
    running.ready().await;
    let ready = started.elapsed();
    let (read, written, quiet) = quiet(&source, &target, started).await;
    all_there(&running).await;
    let usage = Usage::of(running.id());
    tokio::time::sleep(IDLE).await;
    let idling = Usage::of(running.id()).cpu - usage.cpu;

    let targets = if pods == 0 { ["2", "", "64", "128", "600"] } else { ["", "7", "", "80", "600"] };
    let [at_ready, at_cpu, at_idle, at_peak, at_requests] = targets;
    println!("| {DEPLOYMENTS} Deployments, {pods} Pods, {IMAGES} images at the target | target | |\n|---|---|---|");
    println!("| ready after, s | {at_ready} | {:.2} |", ready.as_secs_f64());
    println!("| last request after, s | | {:.2} |", quiet.as_secs_f64());
    println!("| CPU until quiet, s | {at_cpu} | {:.2} |", usage.cpu.as_secs_f64());
    println!("| CPU while idle, % of one | | {:.2} |", 100.0 * idling.as_secs_f64() / IDLE.as_secs_f64());
    println!("| memory idle, MiB | {at_idle} | {:.1} |", mebibytes(usage.resident));
    println!("| of it pages of the program's file | | {:.1} |", mebibytes(usage.file));
    println!("| memory at its peak, MiB | {at_peak} | {:.1} |", mebibytes(usage.peak));
    println!("| requests, source + target | {at_requests} | {read} + {written} |\n");
    assert_eq!(running.terminate().await.code, Some(0));
}

fn milliseconds(duration: Duration) -> f64 {
    1000.0 * duration.as_secs_f64()
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Small images in both registries: their references at the source, and their digests.
async fn images(source: &Registry, target: &Registry) -> Vec<(String, String)> {
    stream::iter(0..IMAGES)
        .map(|number| async move {
            let layers = [Layer::files(&[("number", &number.to_string())]).unwrap()];
            let image = Image::single(Format::Oci, "amd64", &layers);
            let repository = format!("bench/image-{number}");
            target.push(&repository, "1", &image).await;
            (source.push(&repository, "1", &image).await, image.digest().to_owned())
        })
        .buffered(WRITERS)
        .collect()
        .await
}

/// Deployments, and where there are to be Pods, their ReplicaSets and the Pods, evenly.
async fn fill(client: &Client, namespace: &str, images: &[(String, String)], pods: usize) {
    let each = |workload: Workload, number: usize| {
        (0..CONTAINERS).fold(workload, |workload, container| {
            workload.container(&format!("c{container}"), &images[(number * CONTAINERS + container) % IMAGES].0)
        })
    };
    stream::iter(0..DEPLOYMENTS)
        .map(|number| async move {
            let owner = each(deployment(&format!("web-{number}")), number).apply(client, namespace).await;
            if pods == 0 {
                return;
            }
            let set = each(replica_set(&format!("web-{number}-1")), number).owned_by(&owner);
            let owner = set.apply(client, namespace).await;
            for pod_number in (number..pods).step_by(DEPLOYMENTS) {
                let name = format!("web-{number}-1-{pod_number}");
                each(pod(&name), number).owned_by(&owner).apply(client, namespace).await;
                let running: Vec<_> = (0..CONTAINERS)
                    .map(|container| {
                        let (reference, digest) = &images[(number * CONTAINERS + container) % IMAGES];
                        let repository = reference.rsplit_once(':').unwrap().0;
                        (format!("c{container}"), format!("{repository}@{digest}"))
                    })
                    .collect();
                let running: Vec<_> = running.iter().map(|(name, id)| (name.as_str(), id.as_str())).collect();
                set_pod_status(client, namespace, &name, "Running", &running).await;
            }
        })
        .buffer_unordered(WRITERS)
        .collect::<()>()
        .await;
}

/// Waits until the registries are left alone: requests at the source, at the target, and when the last one came.
async fn quiet(source: &Registry, target: &Registry, started: Instant) -> (usize, usize, Duration) {
    let (mut read, mut written, mut last) = (0, 0, started);
    while last.elapsed() < QUIET {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let (more_read, more_written) = (source.take_requests().len(), target.take_requests().len());
        if more_read + more_written > 0 {
            last = Instant::now();
        }
        read += more_read;
        written += more_written;
    }
    (read, written, last - started)
}

/// Insists that what was measured did its work.
async fn all_there(running: &Running) {
    let metrics = running.metrics().await;
    let there = metrics.sum("k8s_copycat_images", &[("state", "already_there")]);
    assert_eq!(there, IMAGES as f64, "{}\n{}", metrics.0, running.log());
}
