//! Compares copying with other tools: between two real registries on loopback, without and with latency.
//!
//! `make bench-copy` builds a release and runs this; by hand:
//! `cargo bench --workspace --bench copy -- PROGRAM [--runs NUMBER] [--cases A,B,…] [--delays MILLISECONDS,…]`.
//! Prints a table in Markdown.
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
mod concurrency;
mod floor;
mod images;
mod link;
mod measure;
mod registry;
mod results;
#[allow(dead_code, reason = "made for tests")]
#[path = "../../tests/support/server_process.rs"]
mod server_process;
#[path = "../../tests/support/servers.rs"]
mod servers;
mod tools;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use certificates::Authority;
use images::Case;
use link::Link;
use registry::{Reference, Registry};
use results::Sample;
use tools::{Job, TOOLS, Tool};

struct Arguments {
    program: PathBuf,
    runs: usize,
    cases: Vec<String>,
    /// Latencies of a round trip.
    delays: Vec<Duration>,
}

fn main() {
    // Cargo adds `--bench`.
    let arguments: Vec<OsString> = std::env::args_os().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|first| first == measure::FLAG) {
        return measure::measure(&arguments[1..]);
    }
    let arguments: Vec<String> = arguments.into_iter().map(|argument| argument.into_string().unwrap()).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match arguments.first().map(String::as_str) {
        Some(floor::FLAG) => runtime.block_on(floor::copy(&arguments[1..])),
        _ => runtime.block_on(compare(&read(&arguments))),
    }
}

fn read(arguments: &[String]) -> Arguments {
    let (program, options) = arguments.split_first().expect("missing argument: the path of the program");
    let mut read = Arguments {
        program: std::fs::canonicalize(program).expect("cannot find the program"),
        runs: 3,
        cases: images::NAMES.map(str::to_owned).to_vec(),
        delays: [0, 50].map(Duration::from_millis).to_vec(),
    };
    for option in options.chunks(2) {
        let [name, value] = option else { panic!("{option:?} requires a value") };
        let list = || value.split(',');
        match name.as_str() {
            "--runs" => read.runs = value.parse().expect("--runs requires a number"),
            "--cases" => read.cases = list().map(str::to_owned).collect(),
            "--delays" => {
                let delays =
                    list().map(|delay| Duration::from_millis(delay.parse().expect("--delays requires numbers")));
                read.delays = delays.collect();
            }
            other => panic!("unknown option {other}"),
        }
    }
    read
}

async fn compare(arguments: &Arguments) {
    println!(
        "Without images the program uses {:.1} MiB of memory.\n",
        results::mebibytes(idle(&arguments.program).await)
    );
    results::print_head();
    for name in &arguments.cases {
        eprintln!("{name}: preparing");
        let plain = Registry::start().await;
        let case = Case::prepare(name, &plain).await;
        let secured = match case.tls {
            true => Some(Registry::over_tls(&plain, &Authority::new()).await),
            false => None,
        };
        let source = secured.as_ref().unwrap_or(&plain);
        for &delay in &arguments.delays {
            passes(arguments, &case, source, delay).await;
        }
    }
}

/// The program's peak memory without images.
async fn idle(program: &Path) -> u64 {
    let nowhere = "127.0.0.1:9";
    let folder = tempfile::tempdir().unwrap();
    let job =
        Job { source: nowhere, target: nowhere, images: &[], authority: None, again: false, folder: folder.path() };
    measure::run(&Tool::Copycat.client(program, &job), &folder.path().join("log")).peak
}

/// Runs all passes of a case with all tools.
async fn passes(arguments: &Arguments, case: &Case, source: &Registry, delay: Duration) {
    let mut passes = vec![("cold", &case.images), ("again", &case.images)];
    if !case.newer.is_empty() {
        passes.push(("with 3 new layers", &case.newer));
    }
    let mut samples: Vec<Vec<Sample>> = passes.iter().map(|_| Vec::new()).collect();
    for run in 0..arguments.runs {
        let mut tools = TOOLS;
        tools.rotate_left(run % TOOLS.len());
        for tool in tools {
            eprintln!("{}, {} ms, run {}: {}", case.name, delay.as_millis(), run + 1, tool.name());
            let target = Registry::start().await;
            for (number, (_, images)) in passes.iter().enumerate() {
                let again = number > 0;
                let sample = pass(&arguments.program, tool, images, again, source, &target, delay).await;
                target.assert_has(images, tool.name()).await;
                samples[number].push(sample);
            }
        }
    }
    let far = if delay.is_zero() { String::new() } else { format!(", {} ms latency", delay.as_millis()) };
    for ((pass, _), samples) in passes.iter().zip(&samples) {
        results::print(&format!("{}{far}, {pass}", case.name), samples);
    }
}

async fn pass(
    program: &Path,
    tool: Tool,
    images: &[Reference],
    again: bool,
    source: &Registry,
    target: &Registry,
    delay: Duration,
) -> Sample {
    let mut links = Vec::new();
    if !delay.is_zero() {
        for registry in [source, target] {
            links.push(Link::to(registry.address(), delay / 2).await);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let client = tool.client(
        program,
        &Job {
            source: links.first().map_or(source.address(), Link::address),
            target: links.last().map_or(target.address(), Link::address),
            images,
            authority: source.authority(),
            again,
            folder: folder.path(),
        },
    );
    for registry in [source, target] {
        registry.take_requests().await;
    }
    let usage = measure::run(&client, &folder.path().join("log"));
    let requests = [source.take_requests().await, target.take_requests().await];
    let bytes = (!links.is_empty()).then(|| [links[0].take_bytes(), links[1].take_bytes()]);
    Sample { tool, usage, requests, bytes }
}
