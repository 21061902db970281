//! Many images in one run of `sync`, and whether what it said of each is so.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{
    case::Case,
    world::{Played, World},
};
use crate::support::{
    Access, Finished, Program,
    faulty::{Challenge, Fault},
    list,
};

/// With a timeout of one second for requests, an image that nothing goes wrong with is at the target after so long,
/// whatever goes wrong with those beside it; far more than that takes on a machine that has nothing else to do.
const HEALTHY: Duration = Duration::from_secs(100);
/// So many requests for one image may be told to log in elsewhere before the program gives it up.
const CHALLENGES: usize = 100;

/// How one image's way ended.
pub struct Ended {
    pub case: Case,
    /// What the program said of it.
    pub line: String,
    pub played: Vec<Played>,
    /// What is not at the target.
    pub lacking: Vec<String>,
    /// How long after the start all its tags were there.
    pub after: Option<Duration>,
}

/// How all of them ended.
pub struct Batch {
    pub ended: Vec<Ended>,
    /// What must not be, whatever goes wrong.
    pub wrongs: Vec<String>,
}

impl Ended {
    /// Whether the program says that the image is there.
    pub fn is_done(&self) -> bool {
        self.line.starts_with("copied") || self.line.starts_with("already there")
    }

    fn wrong(&self, world: &World) -> Option<String> {
        if self.case.is_healthy() && self.after.is_none_or(|after| after > HEALTHY) {
            return Some(format!("nothing is wrong with it, and it is there after {:?}", self.after));
        }
        let elsewhere = [Challenge::OtherService, Challenge::OtherRealm].map(Fault::Unauthorized);
        let challenges = self.played.iter().filter(|(_, _, fault)| elsewhere.contains(fault)).count();
        if challenges > CHALLENGES {
            return Some(format!("it followed {challenges} challenges that change each time"));
        }
        if self.is_done() {
            let lacking = self.lacking.join(", ");
            return (!self.lacking.is_empty()).then(|| format!("a false \"done\": the target lacks {lacking}"));
        }
        let Some((_, cause)) = self.line.strip_prefix("failed").and_then(|line| line.split_once(": ")) else {
            return Some("it is not told how it ended".to_owned());
        };
        (!world.is_cause(&self.case, cause)).then(|| "the cause is not told".to_owned())
    }
}

/// Mirrors all `cases` by one `sync`.
pub async fn run(access: Access, cases: Vec<Case>) -> Batch {
    let world = World::new(access, &cases);
    let manifests: Vec<_> = world.workloads(&cases).iter().map(|workload| workload.manifest()).collect();
    let program = Program::new(&["sync", "-f", "-"]).config(&world.config(1)).stdin(&list(&manifests));
    let begun = Instant::now();
    let finished = program.run().await;
    judge(&world, cases, &finished, begun)
}

/// What is to be said of a run that began at `begun`.
pub fn judge(world: &World, cases: Vec<Case>, finished: &Finished, begun: Instant) -> Batch {
    let mut lines: HashMap<&str, &str> = HashMap::new();
    let mut wrongs = world.violations();
    for line in finished.stdout.lines() {
        if let Some(repository) = repository(line)
            && lines.insert(repository, line).is_some()
        {
            wrongs.push(format!("told twice: {line}"));
        }
    }
    let ended = cases.into_iter().map(|case| Ended {
        line: lines.get(case.repository.as_str()).copied().unwrap_or_default().to_owned(),
        played: world.played(&case),
        lacking: world.lacking(&case),
        after: world.since(&case).map(|since| since - begun),
        case,
    });
    let ended: Vec<Ended> = ended.collect();
    for ended in &ended {
        if let Some(wrong) = ended.wrong(world) {
            wrongs.push(format!("{wrong}\n{}  said: {}\n  played: {:?}", ended.case, ended.line, ended.played));
        }
    }
    let code = if ended.iter().all(Ended::is_done) { 0 } else { 1 };
    if finished.code != Some(code) {
        wrongs.push(format!("the exit code is {:?} and not {code}", finished.code));
    }
    if finished.stderr.contains("panicked") || finished.stdout.contains("this is a bug") {
        wrongs.push(format!("a panic: {}", finished.stderr));
    }
    Batch { ended, wrongs }
}

/// The repository that a line of `sync` is about.
fn repository(line: &str) -> Option<&str> {
    let (source, _) = line.split_once(" -> ")?;
    let reference = source.rsplit(' ').next()?;
    let path = reference.split_once('/')?.1;
    path.split(['@', ':']).next()
}
