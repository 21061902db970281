//! Runs the controller for long while workloads are created, changed and deleted, and registries fail at random. In the end
//! the plan, the content of the target and the gauges must match.
//!
//! `SOAK_MINUTES=30` runs it for so long, with 2,000 workloads; `SOAK_WORKLOADS` and `SOAK_SEED` override the defaults.
//! `SOAK_LOG` names a file for the program's log if the test fails.

mod catalog;
mod churn;
mod plan;
mod registries;

use std::{
    cell::Cell,
    env, fs,
    time::{Duration, Instant},
};

use fastrand::Rng;

use crate::support::{Cluster, Program, Running};
use churn::Churn;
use registries::Registries;

/// After the last fault, everything must match after so long.
const SETTLE_TIME: Duration = Duration::from_secs(60);
/// The same while other tests may keep the machine busy.
const SETTLE_TIME_BESIDE_OTHERS: Duration = Duration::from_secs(300);
/// After the last fault the cooldowns are reset this often, as an operator would do.
const RESET_INTERVAL: Duration = Duration::from_secs(10);
/// Memory that the program may use at the end, in bytes, beyond 4/3 of what it used at half time.
const MORE_MEMORY: u64 = 24 << 20;

struct Settings {
    time: Duration,
    workloads: usize,
    is_long: bool,
    seed: u64,
}

impl Settings {
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
    let settings = Settings::read();
    let mut cluster = Cluster::start().await;
    let namespace = cluster.namespace().await;
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let mut random = Rng::with_seed(settings.seed);
    let registries = Registries::start(&mut random);
    let mut churn = Churn::new(&mut random, &registries, settings.workloads);
    churn.create_all(&cluster.admin(), &namespace).await;

    let config = registries.config(&namespace);
    let mut program = Program::controller(&kubeconfig).config(&config).start();
    program.ready().await;
    let started = Instant::now();
    let is_over = Cell::new(false);
    let ((), observed) = tokio::join!(
        async {
            let mut next_restart = settings.time / 2;
            while started.elapsed() < settings.time {
                churn.step(&mut random, &cluster.admin(), &namespace, &registries).await;
                registries.change_faults(&mut random);
                if started.elapsed() > next_restart {
                    next_restart += settings.time;
                    cluster.stop_apiserver();
                    tokio::time::sleep(Duration::from_secs(3)).await;
                    cluster.start_apiserver().await;
                }
            }
            is_over.set(true);
        },
        observe(&program, started, settings.time / 2, &is_over)
    );
    println!(
        "{} steps of {} workloads in {:?}; {} faults; slowest health probe {:?}; {} MiB at half time, {} MiB \
         at the end",
        churn.steps(),
        settings.workloads,
        started.elapsed(),
        registries.faults(),
        observed.slowest,
        observed.resident_at_half >> 20,
        observed.resident >> 20,
    );
    if settings.is_long {
        let limit = observed.resident_at_half * 4 / 3 + MORE_MEMORY;
        assert!(observed.resident <= limit, "memory grew from {} to {}", observed.resident_at_half, observed.resident);
    }

    registries.clear_faults();
    churn.push_all(&registries);
    let plan = Program::new(&["plan", "--output", "json"]).env("KUBECONFIG", &kubeconfig).config(&config);
    let plan = plan::Plan::read(&plan.run().await.assert_code(0).stdout);
    assert_eq!(plan.differences(&churn), Vec::<String>::new(), "the plan and the cluster match");
    let settling = Instant::now();
    let longest = if settings.is_long { SETTLE_TIME } else { SETTLE_TIME_BESIDE_OTHERS };
    let mut next_reset = Duration::ZERO;
    loop {
        if settling.elapsed() >= next_reset {
            let (status, body) = program.post("/reset-cooldown").await;
            assert_eq!(status, 200, "{body}");
            // Only a pass resolves tags again.
            force_pass(&program).await;
            next_reset += RESET_INTERVAL;
        }
        let errors = plan.errors(&registries, &program.metrics().await);
        if errors.is_empty() {
            break;
        }
        let elapsed = settling.elapsed();
        if elapsed >= longest
            && let Some(file) = env::var_os("SOAK_LOG")
        {
            fs::write(file, program.log()).unwrap();
        }
        let shown = errors.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
        assert!(elapsed < longest, "{} errors after {elapsed:?}:\n{shown}\n{}", errors.len(), tail(&program.log()));
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    println!("everything matched {:?} after the last fault", settling.elapsed());
    assert_eq!(registries.violations(), Vec::<String>::new());
    let log = program.log();
    assert!(!log.contains("panicked") && !log.contains("this is a bug"), "{log}");
    assert_eq!(program.terminate().await.code, Some(0));
}

/// Measurements of the program.
struct Observations {
    slowest: Duration,
    resident_at_half: u64,
    resident: u64,
}

/// Probes the program as a kubelet does; resets cooldowns and forces passes as operators do.
async fn observe(program: &Running, started: Instant, half: Duration, is_over: &Cell<bool>) -> Observations {
    let mut observed = Observations { slowest: Duration::ZERO, resident_at_half: 0, resident: 0 };
    let mut seconds = 0;
    while !is_over.get() {
        let sent = Instant::now();
        let (status, body) = program.health("/healthz").await;
        assert_eq!(status, 200, "{body}");
        observed.slowest = observed.slowest.max(sent.elapsed());
        if started.elapsed() < half {
            observed.resident_at_half = resident(program.id());
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
    observed.resident = resident(program.id());
    observed
}

/// Disconnects after two seconds, as a script with a timeout does.
async fn force_pass(program: &Running) {
    let _ = tokio::time::timeout(Duration::from_secs(2), program.post("/force-reconcile")).await;
}

/// Resident memory of a process in bytes.
fn resident(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
