//! Measures the controller in a cluster whose images are all mirrored, and `plan`.
//!
//! `make bench` builds a release and runs this; by hand:
//! `cargo bench --workspace --profile dev --bench cluster -- PROGRAM [--pods NUMBER]`. Prints tables in Markdown.
//!
//! With `--scale` (`make bench-scale`) it measures large clusters: `--deployments 5000,20000` sets their sizes, `--workloads
//! 40000` the number of workloads with one image for `sync`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark stops at the first error and prints results"
)]

mod any_name_registry;
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
/// Concurrent requests to the API server or to a registry during setup.
const WRITERS: usize = 8;
/// The pass has ended after this long without a request.
const QUIET_PERIOD: Duration = Duration::from_secs(5);
/// How long the idle controller is measured.
const IDLE_PERIOD: Duration = Duration::from_secs(20);
/// Runs to average, because CPU time has a resolution of 10 ms.
const PLANS: u32 = 20;

fn main() {
    // Cargo adds `--bench`.
    let arguments: Vec<OsString> = std::env::args_os().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|first| first == measure::FLAG) {
        return measure::measure(&arguments[1..]);
    }
    let arguments: Vec<String> = arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect();
    let (program, options) = arguments.split_first().expect("missing argument: the path of the program");
    let program = std::fs::canonicalize(program).expect("cannot find the program");
    tokio::runtime::Runtime::new().unwrap().block_on(run(&program, options));
}

async fn run(program: &Path, options: &[String]) {
    if let Some(("--scale", options)) = options.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        let (mut deployments, mut workloads) = (vec![5000, 20_000], 40_000);
        for option in options.chunks(2) {
            match option {
                [name, list] if name == "--deployments" => deployments = list.split(',').map(number).collect(),
                [name, count] if name == "--workloads" => workloads = number(count),
                other => panic!("unknown option {other:?}"),
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
        other => panic!("unknown option {other:?}"),
    };
    plan(program).await;
    idle(program, 0).await;
    if pods > 0 {
        idle(program, pods).await;
    }
}

fn number(text: &str) -> usize {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not a number"))
}

/// `plan` for one manifest with the default plugins.
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
    println!("| started from disk | 500 | {:.1} |", milliseconds(first / PLANS));
    println!("| started again | 50 | {:.1} |\n", milliseconds(later / PLANS));
}

/// The controller in a cluster whose images are all at the target.
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
    let (read, written, last_request) = wait_until_quiet(&source, &target, started).await;
    assert_all_mirrored(&running).await;
    let usage = Usage::of(running.id());
    tokio::time::sleep(IDLE_PERIOD).await;
    let idling = Usage::of(running.id()).cpu - usage.cpu;

    let targets = if pods == 0 { ["2", "", "64", "128", "600"] } else { ["", "7", "", "80", "600"] };
    let [at_ready, at_cpu, at_idle, at_peak, at_requests] = targets;
    println!("| {DEPLOYMENTS} Deployments, {pods} Pods, {IMAGES} images at the target | target | |\n|---|---|---|");
    println!("| ready after, s | {at_ready} | {:.2} |", ready.as_secs_f64());
    println!("| last request after, s | | {:.2} |", last_request.as_secs_f64());
    println!("| CPU until quiet, s | {at_cpu} | {:.2} |", usage.cpu.as_secs_f64());
    println!("| CPU while idle, % of one | | {:.2} |", 100.0 * idling.as_secs_f64() / IDLE_PERIOD.as_secs_f64());
    println!("| memory idle, MiB | {at_idle} | {:.1} |", mebibytes(usage.resident));
    println!("| of which pages of the program's file | | {:.1} |", mebibytes(usage.file));
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

/// Pushes small images to both registries; returns their references at the source and their digests.
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

/// Creates Deployments and, for `pods` Pods, their ReplicaSets and Pods.
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

/// Waits until both registries are quiet; returns the requests at the source and the target, and the time of the last one.
async fn wait_until_quiet(source: &Registry, target: &Registry, started: Instant) -> (usize, usize, Duration) {
    let (mut read, mut written, mut last) = (0, 0, started);
    while last.elapsed() < QUIET_PERIOD {
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

/// Asserts that the measured controller has done its work.
async fn assert_all_mirrored(running: &Running) {
    let metrics = running.metrics().await;
    let there = metrics.sum("k8s_copycat_images", &[("state", "already_there")]);
    assert_eq!(there, IMAGES as f64, "{}\n{}", metrics.0, running.log());
}
