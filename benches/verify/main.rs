//! Measures what it costs to verify a mirror of 1,000 small images that share layers as real ones do: requests, time and CPU time,
//! compared with a `sync` of the same images that has nothing to do.
//!
//! `make bench-verify` builds a release and runs this; by hand:
//! `cargo bench --workspace --profile dev --bench verify -- PROGRAM [--images NUMBER] [--runs NUMBER]`. Prints a table in
//! Markdown: medians, and the requests of the last run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    missing_docs,
    reason = "a benchmark stops at the first error and prints results"
)]

#[allow(dead_code, reason = "made for tests")]
#[path = "../../tests/support/certificates.rs"]
mod certificates;
mod images;
#[path = "../copy/measure.rs"]
mod measure;
#[allow(dead_code, reason = "made for another benchmark")]
#[path = "../copy/registry.rs"]
mod registry;
#[allow(dead_code, reason = "made for tests")]
#[path = "../../tests/support/server_process.rs"]
mod server_process;
#[path = "../../tests/support/servers.rs"]
mod servers;

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use measure::{Client, Usage};
use registry::{Reference, Registry, Requests};

/// What is measured, with its arguments; the first fills the target, and ratios are those to the second.
const RUNS: [(&str, &[&str]); 5] = [
    ("`sync` into an empty registry", &["sync"]),
    ("`sync` with nothing to do", &["sync"]),
    ("`verify`", &["verify"]),
    ("`verify --no-source`", &["verify", "--no-source"]),
    ("`verify --deep`", &["verify", "--deep"]),
];
const NOTHING_TO_DO: usize = 1;

struct Arguments {
    program: PathBuf,
    images: usize,
    runs: usize,
}

struct Sample {
    usage: Usage,
    /// At the source, and at the target.
    requests: [Requests; 2],
}

fn main() {
    // Cargo adds `--bench`.
    let arguments: Vec<OsString> = std::env::args_os().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|first| first == measure::FLAG) {
        return measure::measure(&arguments[1..]);
    }
    let arguments: Vec<String> = arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect();
    tokio::runtime::Runtime::new().unwrap().block_on(compare(&read(&arguments)));
}

fn read(arguments: &[String]) -> Arguments {
    let (program, options) = arguments.split_first().expect("missing argument: the path of the program");
    let program = fs::canonicalize(program).expect("cannot find the program");
    let mut read = Arguments { program, images: 1000, runs: 3 };
    for option in options.chunks(2) {
        let [name, value] = option else { panic!("{option:?} requires a value") };
        let number = value.parse().unwrap_or_else(|_| panic!("{name} requires a number"));
        match name.as_str() {
            "--images" => read.images = number,
            "--runs" => read.runs = number,
            other => panic!("unknown option {other}"),
        }
    }
    read
}

async fn compare(arguments: &Arguments) {
    eprintln!("preparing");
    let source = Registry::start().await;
    let images = images::push(&source, arguments.images).await;
    let folder = tempfile::tempdir().unwrap();
    let workloads = folder.path().join("workloads.json");
    fs::write(&workloads, images::workloads(source.address(), &images)).unwrap();
    let mut samples: Vec<Vec<Sample>> = RUNS.iter().map(|_| Vec::new()).collect();
    for run in 0..arguments.runs {
        let target = Registry::start().await;
        for ((name, command), samples) in RUNS.iter().zip(&mut samples) {
            eprintln!("run {}: {name}", run + 1);
            let client = client(&arguments.program, command, &workloads, &target, folder.path());
            for registry in [&source, &target] {
                registry.take_requests().await;
            }
            let usage = measure::run(&client, &folder.path().join("log"));
            let requests = [source.take_requests().await, target.take_requests().await];
            assert_ended_well(&folder.path().join("log"), command[0], images.len());
            samples.push(Sample { usage, requests });
        }
        target.assert_has(&images, "k8s-copycat").await;
    }
    print(&samples, &images);
}

fn client(program: &Path, command: &[&str], workloads: &Path, target: &Registry, folder: &Path) -> Client {
    let mut arguments: Vec<OsString> = command.iter().map(Into::into).collect();
    arguments.splice(1..1, ["-f".into(), workloads.into()]);
    let environment = vec![
        ("HOME", folder.into()),
        ("TARGET_KIND", "docker".into()),
        ("TARGET_REGISTRY", target.address().into()),
        // What belongs to an image is asked for apart.
        ("REFERRERS", "none".into()),
    ];
    Client { program: program.to_owned(), arguments, environment }
}

fn assert_ended_well(log: &Path, command: &str, images: usize) {
    let log = fs::read_to_string(log).unwrap();
    let expected = match command {
        "verify" => format!("{images} whole; "),
        _ => format!("; {images} workloads"),
    };
    assert!(log.lines().last().unwrap().contains(&expected), "{expected}: {log}");
}

fn print(samples: &[Vec<Sample>], images: &[Reference]) {
    println!(
        "| {} images | seconds | CPU, s | peak memory, MiB | requests, source + target | times `sync` |",
        images.len()
    );
    println!("|---|---|---|---|---|---|");
    let wall = |run: usize| median(samples[run].iter().map(|sample| sample.usage.wall.as_secs_f64()).collect());
    for (run, ((name, _), samples)) in RUNS.iter().zip(samples).enumerate() {
        let cpu = median(samples.iter().map(|sample| sample.usage.cpu.as_secs_f64()).collect());
        let peak = median(samples.iter().map(|sample| sample.usage.peak as f64 / f64::from(1 << 20)).collect());
        let [source, target] = samples.last().unwrap().requests;
        let each = target.all as f64 / images.len() as f64;
        println!(
            "| {name} | {:.2} | {cpu:.2} | {peak:.1} | {} + {}, {each:.1} for each image | {:.1} |",
            wall(run),
            source.all,
            target.all,
            wall(run) / wall(NOTHING_TO_DO)
        );
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    if numbers.len() % 2 == 1 { numbers[middle] } else { f64::midpoint(numbers[middle - 1], numbers[middle]) }
}
