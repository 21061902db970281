//! Measures the controller in large clusters, and how the cost grows with them.

use std::{
    cell::Cell,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, PostParams},
    core::GroupVersionKind,
};

use crate::{
    QUIET_PERIOD,
    any_name_registry::AnyNameRegistry,
    measure, mebibytes,
    process::Usage,
    support::{Cluster, Program, Running, deployment, list},
};

/// Concurrent requests to the API server during setup.
const WRITERS: usize = 16;
/// The pause between health probes.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);
/// Workloads per manifest file.
const WORKLOADS_PER_FILE: usize = 1000;
/// After this long the program counts as hanging.
const DEADLINE: Duration = Duration::from_secs(30 * 60);

/// The measurements for one size of cluster.
struct Sample {
    deployments: usize,
    ready: Duration,
    last_request: Duration,
    cpu: Duration,
    resident: u64,
    peak: u64,
    probes: usize,
    slowest_probe: Duration,
    requests: [usize; 2],
}

/// Measures clusters with these numbers of Deployments, each with its own image and a common sidecar.
pub async fn deployments(program: &Path, sizes: &[usize]) {
    let mut samples = Vec::new();
    for size in sizes {
        samples.push(sample(program, *size).await);
    }
    table(&samples);
}

async fn sample(program: &Path, deployments: usize) -> Sample {
    let cluster = Cluster::start().await;
    let [source, target] = [AnyNameRegistry::start(), AnyNameRegistry::start()];
    let namespace = cluster.namespace().await;
    let started = Instant::now();
    fill(&cluster.admin(), &namespace, deployments, &source.host()).await;
    eprintln!("created {deployments} Deployments in {:.0} s", started.elapsed().as_secs_f64());

    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let started = Instant::now();
    let mut running = Program::controller(&kubeconfig)
        .binary(program)
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", target.host())
        .start();
    running.ready().await;
    let ready = started.elapsed();
    let images = deployments + 1;
    let is_quiet = Cell::new(false);
    let (last_request, (probes, slowest_probe)) = tokio::join!(
        async {
            let last_request = wait_until_quiet(&target, images, started).await;
            is_quiet.set(true);
            last_request
        },
        probe(&running, &is_quiet)
    );
    let usage = Usage::of(running.id());
    let metrics = running.metrics().await;
    let there = metrics.sum("k8s_copycat_images", &[("state", "already_there")]);
    assert_eq!(there, images as f64, "{}", running.log());
    let sample = Sample {
        deployments,
        ready,
        last_request,
        cpu: usage.cpu,
        resident: usage.resident,
        peak: usage.peak,
        probes,
        slowest_probe,
        requests: [source.requests(), target.requests()],
    };
    assert_eq!(running.terminate().await.code, Some(0));
    sample
}

/// Waits until every image was checked and the registries are quiet; returns the time of the last request.
async fn wait_until_quiet(target: &AnyNameRegistry, images: usize, started: Instant) -> Duration {
    while target.requests() < images || target.last_request().elapsed() < QUIET_PERIOD {
        assert!(started.elapsed() < DEADLINE, "only {} of {images} images were checked", target.requests());
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
    target.last_request() - started
}

/// Probes like the kubelet, with a new connection each time; returns the number of probes and the slowest response.
async fn probe(running: &Running, is_quiet: &Cell<bool>) -> (usize, Duration) {
    let (mut probes, mut slowest) = (0, Duration::ZERO);
    while !is_quiet.get() {
        for path in ["/healthz", "/readyz"] {
            let requested = Instant::now();
            let (status, body) = running.health(path).await;
            assert_eq!(status, 200, "{path}: {body}");
            slowest = slowest.max(requested.elapsed());
            probes += 1;
        }
        tokio::time::sleep(PROBE_INTERVAL).await;
    }
    (probes, slowest)
}

fn table(samples: &[Sample]) {
    let row = |name: &str, target: &str, value: &dyn Fn(&Sample) -> String| {
        let cells: Vec<String> = samples.iter().map(value).collect();
        println!("| {name} | {target} | {} |", cells.join(" | "));
    };
    row("Deployments, each with its own image and a common sidecar", "target", &|it| it.deployments.to_string());
    println!("|---|---|{}", "---|".repeat(samples.len()));
    row("ready after, s", "", &|it| format!("{:.2}", it.ready.as_secs_f64()));
    row("last request after, s", "", &|it| format!("{:.2}", it.last_request.as_secs_f64()));
    row("CPU until quiet, s", "6", &|it| format!("{:.2}", it.cpu.as_secs_f64()));
    row("slowest health probe, ms", "100", &|it| {
        format!("{:.1} of {}", 1000.0 * it.slowest_probe.as_secs_f64(), it.probes)
    });
    row("memory idle, MiB", "", &|it| format!("{:.1}", mebibytes(it.resident)));
    row("memory at its peak, MiB", "", &|it| format!("{:.1}", mebibytes(it.peak)));
    row("requests, source + target", "", &|it| format!("{} + {}", it.requests[0], it.requests[1]));
    for pair in samples.windows(2) {
        let [less, more] = pair else { continue };
        let larger = more.deployments as f64 / less.deployments as f64;
        let costlier = more.cpu.as_secs_f64() / less.cpu.as_secs_f64();
        println!(
            "\n{larger:.1} times the Deployments cost {costlier:.1} times the CPU; the target is {:.1}.",
            larger * 1.3
        );
    }
    println!();
}

async fn fill(client: &Client, namespace: &str, deployments: usize, source: &str) {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("apps", "v1", "Deployment"));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let sidecar = format!("{source}/platform/proxy:1");
    stream::iter(0..deployments)
        .map(|number| {
            let own = format!("{source}/team-{}/app-{number}:1", number % 100);
            let workload = deployment(&format!("app-{number}")).container("app", &own).sidecar("proxy", &sidecar);
            let object: DynamicObject = serde_json::from_value(workload.manifest()).unwrap();
            let api = &api;
            async move { drop(api.create(&PostParams::default(), &object).await.unwrap()) }
        })
        .buffer_unordered(WRITERS)
        .collect::<()>()
        .await;
}

/// Measures `sync` of this many workloads in files, all with one image.
pub fn workloads(program: &Path, workloads: usize) {
    let [source, target] = [AnyNameRegistry::start(), AnyNameRegistry::start()];
    let image = format!("{}/platform/everywhere:1", source.host());
    let directory = tempfile::tempdir().unwrap();
    let files = directory.path().join("manifests");
    fs::create_dir(&files).unwrap();
    for first in (0..workloads).step_by(WORKLOADS_PER_FILE) {
        let numbers = first..workloads.min(first + WORKLOADS_PER_FILE);
        let manifest = |number| deployment(&format!("app-{number}")).image(&image).manifest_in("shop");
        fs::write(files.join(format!("from-{first}.json")), list(&numbers.map(manifest).collect::<Vec<_>>())).unwrap();
    }
    let log = directory.path().join("log");
    let client = measure::Client {
        program: program.to_owned(),
        arguments: ["sync".into(), "-f".into(), files.into_os_string()].to_vec(),
        environment: vec![
            ("HOME", directory.path().into()),
            ("CONFIG_PATH", directory.path().join("none.yaml").into()),
            ("TARGET_KIND", "docker".into()),
            ("TARGET_REGISTRY", target.host().into()),
        ],
    };
    let usage = measure::run(&client, &log);
    let output = fs::read_to_string(&log).unwrap();
    let summary = output.lines().last().unwrap_or_default();
    assert!(summary.starts_with(&format!("1 already there; {workloads} workloads")), "{summary}");
    println!("| `sync -f` of {workloads} workloads of one image | target | |\n|---|---|---|");
    println!("| wall, s | | {:.2} |", usage.wall.as_secs_f64());
    println!("| CPU, s | 12 | {:.2} |", usage.cpu.as_secs_f64());
    println!("| memory at its peak, MiB | 300 | {:.1} |", mebibytes(usage.peak));
    println!("| requests, source + target | | {} + {} |\n", source.requests(), target.requests());
}
