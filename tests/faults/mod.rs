//! Under any faults, an image is copied byte for byte, or its failure is reported: thousands of random fault schedules,
//! each for one image.

mod batch;
mod case;
mod controller;
mod cut_connections;
mod environment;
mod isolation;
mod kills;
mod mending;
mod random;
mod regressions;
mod rescuing;
mod verifying;

use std::time::Instant;

pub use random::{permanent_fault, transient_fault};

/// Images per run of the program.
const BATCH_SIZE: usize = 100;

/// The totals of many runs.
#[derive(Default)]
struct Totals {
    schedules: usize,
    faults: usize,
    succeeded: usize,
    /// Schedules of which one to three faults were injected, all of them transient.
    few: usize,
    few_succeeded: usize,
    errors: Vec<String>,
    /// Those of the few that failed.
    unrecovered: Vec<String>,
}

impl Totals {
    fn add(&mut self, batch: batch::Batch) {
        self.errors.extend(batch.errors);
        for result in batch.results {
            self.schedules += 1;
            self.faults += result.injected.len();
            self.succeeded += usize::from(result.is_success());
            if result.case.is_transient() && (1..=random::FEW).contains(&result.injected.len()) {
                self.few += 1;
                self.few_succeeded += usize::from(result.is_success());
                if !result.is_success() {
                    self.unrecovered
                        .push(format!("{}  reported: {}\n  injected: {:?}", result.case, result.line, result.injected));
                }
            }
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect(name))
}

/// How many schedules to run.
fn schedules() -> usize {
    setting("FAULT_SCHEDULES", 300) as usize
}

/// Whether to run the long variants of tests.
fn is_long() -> bool {
    schedules() >= 10_000
}

/// Runs [`schedules`] schedules, starting with seed `FAULT_SEED`.
#[tokio::test]
async fn copies_the_image_or_reports_the_failure_under_random_faults() {
    let (count, first) = (schedules(), setting("FAULT_SEED", 1));
    let started = Instant::now();
    let mut totals = Totals::default();
    for (seed, before) in (first..).zip((0..count).step_by(BATCH_SIZE)) {
        let (access, mut cases) = random::cases(seed, BATCH_SIZE.min(count - before));
        cases.extend(random::extra_cases(seed));
        totals.add(batch::run(access, cases).await);
    }
    let Totals { schedules, faults, succeeded, few, few_succeeded, .. } = totals;
    println!(
        "{schedules} schedules with {faults} faults in {:?}: {succeeded} succeeded; of {few} with one to three faults, all \
         transient, {few_succeeded} succeeded",
        started.elapsed()
    );
    for unrecovered in &totals.unrecovered {
        println!("failed: {unrecovered}");
    }
    assert!(totals.errors.is_empty(), "{} errors:\n{}", totals.errors.len(), totals.errors.join("\n"));
    assert!(few_succeeded * 100 >= few * 95, "too many transient faults fail the copy");
}
