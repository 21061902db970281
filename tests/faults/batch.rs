//! Many images in one run of `sync`, and whether what it said of each is so.

use std::{collections::HashMap, time::Instant};

use super::case::{Case, TAG};
use crate::support::{
    Access, Finished, PASSWORD, Program, USER, deployment,
    faulty::{Fault, Faulty, Kind},
    list,
};

/// The sources, each with its own way to know its users.
pub const SOURCES: [Access; 3] = [Access::Anonymous, Access::Basic, Access::Token];

/// How one image's way ended.
pub struct Ended {
    pub case: Case,
    /// What the program said of it.
    pub line: String,
    /// Faults that had their turn.
    pub played: Vec<(Kind, usize, Fault)>,
    /// What is not at the target.
    pub lacking: Vec<String>,
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

    fn wrong(&self, hosts: &[String]) -> Option<String> {
        if self.is_done() {
            let lacking = self.lacking.join(", ");
            return (!self.lacking.is_empty()).then(|| format!("FALSE DONE, the target lacks {lacking}"));
        }
        let Some((_, cause)) = self.line.strip_prefix("failed").and_then(|line| line.split_once(": ")) else {
            return Some("not told how it ended".to_owned());
        };
        // Which registry, and which repository of it.
        let named = hosts.iter().any(|host| cause.contains(host.as_str())) && cause.contains(&self.case.repository);
        (!named).then(|| "the cause is not told".to_owned())
    }
}

/// Mirrors all `cases` by one `sync`.
pub async fn run(access: Access, cases: Vec<Case>) -> Batch {
    let sources = SOURCES.map(Faulty::start);
    let target = Faulty::start(access);
    let mut manifests = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let source = &sources[case.source];
        source.hold(&case.repository, TAG, &case.image);
        source.plan(&case.repository, &case.at_source);
        target.plan(&case.repository, &case.at_target);
        if case.lax {
            target.make_lax(&case.repository);
        }
        manifests.push(deployment(&format!("app-{number}")).image(&case.reference(&source.host())).manifest());
    }
    let begun = Instant::now();
    let finished = sync(&sources, &target, access, &list(&manifests)).await;
    if let Ok(path) = std::env::var("FAULTS_LOG") {
        std::fs::write(path, format!("{:?}\n{}\n{}", begun.elapsed(), finished.stdout, finished.stderr)).unwrap();
    }
    judge(&sources, &target, cases, &finished)
}

async fn sync(sources: &[Faulty], target: &Faulty, access: Access, manifests: &str) -> Finished {
    let mut config = "requestTimeout: 1\nregistryRetryBackoff: 0\nmaxConcurrentReconciles: 8\n".to_owned();
    config.push_str("registryCredentials:\n");
    for (source, _) in sources.iter().zip(SOURCES).filter(|(_, access)| *access != Access::Anonymous) {
        config.push_str(&format!("- {{ registry: '{}', username: {USER}, password: '{PASSWORD}' }}\n", source.host()));
    }
    let program = Program::new(&["sync", "-f", "-"]).config(&config).stdin(manifests);
    let program = program.env("TARGET_KIND", "docker").env("TARGET_REGISTRY", target.host());
    let program = match access {
        Access::Anonymous => program,
        _ => program.env("TARGET_USERNAME", USER).env("TARGET_PASSWORD", PASSWORD),
    };
    program.run().await
}

fn judge(sources: &[Faulty], target: &Faulty, cases: Vec<Case>, finished: &Finished) -> Batch {
    let mut lines: HashMap<&str, &str> = HashMap::new();
    let mut wrongs: Vec<String> = sources.iter().chain([target]).flat_map(Faulty::violations).collect();
    for line in finished.stdout.lines() {
        if let Some(repository) = repository(line)
            && lines.insert(repository, line).is_some()
        {
            wrongs.push(format!("told twice: {line}"));
        }
    }
    let mut hosts: Vec<String> = sources.iter().map(Faulty::host).collect();
    hosts.push(target.host());
    let ended: Vec<Ended> = cases
        .into_iter()
        .map(|case| Ended {
            line: lines.get(case.repository.as_str()).copied().unwrap_or_default().to_owned(),
            played: [&sources[case.source], target].iter().flat_map(|it| it.played(&case.repository)).collect(),
            lacking: target.lacks(&case.repository, &case.tags(), &case.image),
            case,
        })
        .collect();
    for ended in &ended {
        if let Some(wrong) = ended.wrong(&hosts) {
            wrongs.push(format!("{wrong}\n{}  said: {}\n  played: {:?}", ended.case, ended.line, ended.played));
        }
    }
    let code = if ended.iter().all(Ended::is_done) { 0 } else { 1 };
    if finished.code != Some(code) {
        wrongs.push(format!("the exit code is {:?} and not {code}", finished.code));
    }
    if finished.stderr.contains("panicked") || finished.stdout.contains("defect of this program") {
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
