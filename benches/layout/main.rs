//! What a pass into an image layout costs, and how that grows: small images from a registry on loopback, each of its own
//! name and content, first into an empty layout and then once more, where all is there.
//!
//! `make bench-layout` builds the program for release and runs this; by hand:
//! `cargo bench --workspace --profile dev --bench layout -- PROGRAM [--images NUMBER,…]`. The layouts are made in
//! `TMPDIR`. Prints a table in Markdown.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    missing_docs,
    reason = "a benchmark stops at the first surprise, and prints what it found"
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

/// What a pass took.
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
    let program = program.expect("name the program to measure");
    println!("| images | first pass, s | CPU, s | times | once more, s | CPU, s | times |");
    println!("|---|---|---|---|---|---|---|");
    let mut before: Option<[Pass; 2]> = None;
    for count in counts {
        let passes = measure(&program, count);
        let times = |index: usize| {
            let before = before.map(|before| before[index].wall.as_secs_f64());
            before.map_or_else(|| "–".to_owned(), |before| format!("{:.2}", passes[index].wall.as_secs_f64() / before))
        };
        let [first, again] =
            passes.map(|pass| format!("{:.1} | {:.1}", pass.wall.as_secs_f64(), pass.cpu.as_secs_f64()));
        println!("| {count} | {first} | {} | {again} | {} |", times(0), times(1));
        before = Some(passes);
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

/// A registry with so many images, each of one small layer, as long as this process lives.
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
    let begun = Instant::now();
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
    let wall = begun.elapsed();
    let said = fs::read_to_string(output).unwrap();
    assert!(ended.status.success() && said.lines().last().unwrap().starts_with(summary), "{said}");
    Pass { wall, cpu: ended.rusage.utime + ended.rusage.stime }
}
