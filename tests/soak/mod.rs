//! A controller that runs for long while workloads come, change and go, and registries fail at random. In the end what
//! `plan` says, what the target has and what the gauges say is one and the same.
//!
//! `SOAK_MINUTES=30` runs it for so long, with 2,000 workloads; `SOAK_WORKLOADS` and `SOAK_SEED` say otherwise.
//! `SOAK_LOG` names a file for all that the program has logged where it fails.

mod catalog;
mod churn;
mod registries;
mod truth;

use std::{
    cell::Cell,
    env, fs,
    time::{Duration, Instant},
};

use fastrand::Rng;

use crate::support::{Cluster, Program, Running};
use churn::Churn;
use registries::Registries;

/// Once nothing goes wrong any more, all is as it should be after so long.
const SETTLED: Duration = Duration::from_secs(60);
/// The same where other tests may keep the machine busy.
const SETTLED_BESIDE_OTHERS: Duration = Duration::from_secs(300);
/// An operator who has seen the end of an outage resets the cooldowns, and looks again after so long.
const BETWEEN_RESETS: Duration = Duration::from_secs(10);
/// What the program may have in memory at the end beyond a third more than at half time.
const MORE_MEMORY: u64 = 24 << 20;

struct Length {
    time: Duration,
    workloads: usize,
    is_long: bool,
    seed: u64,
}

impl Length {
    fn read() -> Self {
        let setting = |name: &str| env::var(name).ok().map(|value| value.parse::<u64>().expect(name));
        let minutes = setting("SOAK_MINUTES");
        let is_long = minutes.is_some_and(|minutes| minutes > 1);
        Self {
            time: Duration::from_secs(minutes.map_or(40, |minutes| 60 * minutes)),
            workloads: setting("SOAK_WORKLOADS").unwrap_or(if is_long { 2000 } else { 120 }) as usize,
            is_long,
            seed: setting("SOAK_SEED").unwrap_or(1),
        }
    }
}

#[tokio::test]
async fn target_and_gauges_match_the_plan_after_all_failures() {
    let length = Length::read();
    let mut cluster = Cluster::start().await;
    let namespace = cluster.namespace().await;
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let mut random = Rng::with_seed(length.seed);
    let registries = Registries::start(&mut random);
    let mut churn = Churn::new(&mut random, &registries, length.workloads);
    churn.fill(&cluster.admin(), &namespace).await;

    let config = registries.config(&namespace);
    let mut program = Program::controller(&kubeconfig).config(&config).start();
    program.ready().await;
    let begun = Instant::now();
    let is_over = Cell::new(false);
    let ((), watched) = tokio::join!(
        async {
            let mut next_restart = length.time / 2;
            while begun.elapsed() < length.time {
                churn.step(&mut random, &cluster.admin(), &namespace, &registries).await;
                registries.change_weather(&mut random);
                if begun.elapsed() > next_restart {
                    next_restart += length.time;
                    cluster.stop_apiserver();
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    cluster.start_apiserver().await;
                }
            }
            is_over.set(true);
        },
        watch(&program, begun, length.time / 2, &is_over)
    );
    println!(
        "{} steps of {} workloads in {:?}; {} faults; slowest answer about its health {:?}; {} MiB at half time, {} MiB \
         at the end",
        churn.steps(),
        length.workloads,
        begun.elapsed(),
        registries.faults(),
        watched.slowest,
        watched.resident_at_half >> 20,
        watched.resident >> 20,
    );
    if length.is_long {
        let most = watched.resident_at_half * 4 / 3 + MORE_MEMORY;
        assert!(watched.resident <= most, "memory grew from {} to {}", watched.resident_at_half, watched.resident);
    }

    registries.calm();
    churn.push_all(&registries);
    let plan = Program::new(&["plan", "--output", "json"]).env("KUBECONFIG", &kubeconfig).config(&config);
    let plan = truth::Plan::read(&plan.run().await.assert_code(0).stdout);
    assert_eq!(plan.differences(&churn), Vec::<String>::new(), "the plan is of what is in the cluster");
    let settling = Instant::now();
    let longest = if length.is_long { SETTLED } else { SETTLED_BESIDE_OTHERS };
    let mut next_reset = Duration::ZERO;
    loop {
        if settling.elapsed() >= next_reset {
            let (status, body) = program.post("/reset-cooldown").await;
            assert_eq!(status, 200, "{body}");
            // Only a pass asks sources again what their tags mean.
            force_pass(&program).await;
            next_reset += BETWEEN_RESETS;
        }
        let wrongs = plan.wrongs(&registries, &program.metrics().await);
        if wrongs.is_empty() {
            break;
        }
        let elapsed = settling.elapsed();
        if elapsed >= longest
            && let Some(file) = env::var_os("SOAK_LOG")
        {
            fs::write(file, program.log()).unwrap();
        }
        let shown = wrongs.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
        assert!(elapsed < longest, "{} wrongs after {elapsed:?}:\n{shown}\n{}", wrongs.len(), tail(&program.log()));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!("all was right {:?} after the last fault", settling.elapsed());
    assert_eq!(registries.violations(), Vec::<String>::new());
    let log = program.log();
    assert!(!log.contains("panicked") && !log.contains("this is a bug"), "{log}");
    assert_eq!(program.terminate().await.code, Some(0));
}

/// What was seen of the program from outside.
struct Watched {
    slowest: Duration,
    resident_at_half: u64,
    resident: u64,
}

/// Probes it as a kubelet does, and does to it what operators do.
async fn watch(program: &Running, begun: Instant, half: Duration, is_over: &Cell<bool>) -> Watched {
    let mut watched = Watched { slowest: Duration::ZERO, resident_at_half: 0, resident: 0 };
    let mut seconds = 0;
    while !is_over.get() {
        let asked = Instant::now();
        let (status, body) = program.health("/healthz").await;
        assert_eq!(status, 200, "{body}");
        watched.slowest = watched.slowest.max(asked.elapsed());
        if begun.elapsed() < half {
            watched.resident_at_half = resident(program.id());
        }
        seconds += 1;
        if seconds % 20 == 0 {
            program.post("/reset-cooldown").await;
        }
        if seconds % 15 == 0 {
            force_pass(program).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    watched.resident = resident(program.id());
    watched
}

/// As a script with a timeout does: it goes away before the pass has ended.
async fn force_pass(program: &Running) {
    let _ = tokio::time::timeout(Duration::from_secs(2), program.post("/force-reconcile")).await;
}

/// Bytes that a process has in memory.
fn resident(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
