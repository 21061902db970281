//! Measures a pass into an image layout and how its cost grows: small images with different names and contents, from a
//! registry on loopback, first into an empty layout and then again, when all exist.
//!
//! `make bench-layout` builds a release and runs this; by hand:
//! `cargo bench --workspace --profile dev --bench layout -- PROGRAM [--images NUMBER,…]`. The layouts are created
//! in `TMPDIR`. Prints a table in Markdown.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark stops at the first error and prints results"
)]

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use demo::{Format, Image, Layer, Registry};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use wait4::Wait4 as _;

/// The duration of a pass.
#[derive(Clone, Copy)]
struct Pass {
    wall: Duration,
    cpu: Duration,
}

fn main() {
    let mut program = None;
    let mut counts = vec![5_000, 10_000];
    // Cargo adds `--bench`.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--images" => counts = arguments.next().unwrap().split(',').map(|count| count.parse().unwrap()).collect(),
            _ => program = Some(PathBuf::from(argument)),
        }
    }
    let program = program.expect("missing argument: the path of the program");
    println!("| images | first pass, s | CPU, s | ratio | second pass, s | CPU, s | ratio |");
    println!("|---|---|---|---|---|---|---|");
    let mut previous: Option<[Pass; 2]> = None;
    for count in counts {
        let passes = measure(&program, count);
        let ratio = |index: usize| {
            let previous = previous.map(|previous| previous[index].wall.as_secs_f64());
            previous.map_or_else(|| "–".to_owned(), |wall| format!("{:.2}", passes[index].wall.as_secs_f64() / wall))
        };
        let [first, again] =
            passes.map(|pass| format!("{:.1} | {:.1}", pass.wall.as_secs_f64(), pass.cpu.as_secs_f64()));
        println!("| {count} | {first} | {} | {again} | {} |", ratio(0), ratio(1));
        previous = Some(passes);
    }
}

fn measure(program: &Path, count: usize) -> [Pass; 2] {
    let folder = tempfile::tempdir().unwrap();
    let host = serve(count);
    let manifests = folder.path().join("manifests.json");
    fs::write(&manifests, manifests_of(&host, count)).unwrap();
    let layout = folder.path().join("layout");
    let first = pass(program, &manifests, &layout, &format!("{count} copied; {count} workloads"));
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), count);
    [first, pass(program, &manifests, &layout, &format!("{count} already there; {count} workloads"))]
}

/// Starts a registry with this many images, each with one small layer; it runs until the process ends.
fn serve(count: usize) -> String {
    let mut registry = Registry::default();
    for number in 0..count {
        let layer = Layer::random(number as u64, 64).unwrap();
        registry = registry.with(&repository(number), "1", &Image::single(Format::Oci, "amd64", &[layer]));
    }
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.set_nonblocking(true).unwrap();
    let host = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        Runtime::new().unwrap().block_on(async {
            registry.serve(tokio::net::TcpListener::from_std(listener).unwrap()).await.unwrap();
        });
    });
    host
}

fn repository(number: usize) -> String {
    format!("team-{}/app-{number}", number % 50)
}

fn manifests_of(host: &str, count: usize) -> String {
    let items = (0..count).map(|number| {
        let image = format!("{host}/{}:1", repository(number));
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": format!("app-{number}") },
            "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": image }] } } },
        })
    });
    json!({ "apiVersion": "v1", "kind": "List", "items": items.collect::<Vec<_>>() }).to_string()
}

fn pass(program: &Path, manifests: &Path, layout: &Path, summary: &str) -> Pass {
    let output = layout.with_extension("out");
    let started = Instant::now();
    let child = Command::new(program)
        .args(["sync", "-f"])
        .arg(manifests)
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("TARGET_KIND", "oci-layout")
        .env("TARGET_PATH", layout)
        .stdin(Stdio::null())
        .stdout(fs::File::create(&output).unwrap())
        .spawn()
        .unwrap();
    let ended = child.wait4().unwrap();
    let wall = started.elapsed();
    let printed = fs::read_to_string(output).unwrap();
    assert!(ended.status.success() && printed.lines().last().unwrap().starts_with(summary), "{printed}");
    Pass { wall, cpu: ended.rusage.utime + ended.rusage.stime }
}
