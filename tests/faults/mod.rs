//! Whatever goes wrong on the way, an image is at the target byte for byte, or its failure is told: thousands of
//! schedules of faults, each for an image of its own.

mod batch;
mod case;
mod controller;
mod cuts;
mod found;
mod killed;
mod neighbours;
mod random;
mod world;

use std::time::Instant;

pub use random::{passing, staying_fault};

/// Images in one run of the program.
const AT_ONCE: usize = 100;

/// What a run of many schedules came to.
#[derive(Default)]
struct Sum {
    schedules: usize,
    faults: usize,
    done: usize,
    /// One to three faults had their turn, and all of the schedule's pass.
    few: usize,
    few_done: usize,
    wrongs: Vec<String>,
    /// Of the few, what was not overcome.
    lost: Vec<String>,
}

impl Sum {
    fn add(&mut self, batch: batch::Batch) {
        self.wrongs.extend(batch.wrongs);
        for ended in batch.ended {
            self.schedules += 1;
            self.faults += ended.played.len();
            self.done += usize::from(ended.is_done());
            if ended.case.passes() && (1..=random::FEW).contains(&ended.played.len()) {
                self.few += 1;
                self.few_done += usize::from(ended.is_done());
                if !ended.is_done() {
                    self.lost.push(format!("{}  said: {}\n  played: {:?}", ended.case, ended.line, ended.played));
                }
            }
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect(name))
}

/// How many schedules are to be played.
fn schedules() -> usize {
    setting("FAULT_SCHEDULES", 300) as usize
}

/// Whether there is time for all of everything.
fn is_long() -> bool {
    schedules() >= 10_000
}

/// As many as [`schedules`] says, from the seed `FAULT_SEED` on.
#[tokio::test]
async fn copies_the_image_or_reports_the_failure_under_random_faults() {
    let (count, first) = (schedules(), setting("FAULT_SEED", 1));
    let begun = Instant::now();
    let mut sum = Sum::default();
    for (seed, before) in (first..).zip((0..count).step_by(AT_ONCE)) {
        let (access, mut cases) = random::cases(seed, AT_ONCE.min(count - before));
        cases.extend(random::neighbours(seed));
        sum.add(batch::run(access, cases).await);
    }
    let Sum { schedules, faults, done, few, few_done, .. } = sum;
    println!(
        "{schedules} schedules with {faults} faults in {:?}: {done} done; of {few} with one to three faults, all of \
         which pass, {few_done} done",
        begun.elapsed()
    );
    for lost in &sum.lost {
        println!("not overcome: {lost}");
    }
    assert!(sum.wrongs.is_empty(), "{} wrongs:\n{}", sum.wrongs.len(), sum.wrongs.join("\n"));
    assert!(few_done * 100 >= few * 95, "faults that pass are not overcome");
}
