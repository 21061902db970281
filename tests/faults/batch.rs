//! Copies many images with one `sync`, and checks what it reports for each of them.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::{
    case::Case,
    environment::{InjectedFault, TestEnvironment},
};
use crate::support::{
    Access, Finished, Program,
    faulty::{Challenge, Fault},
    list,
};

/// With a request timeout of one second, an image without faults is at the target after so long, whatever happens to other
/// images. On an idle machine it takes far less.
const HEALTHY_TIMEOUT: Duration = Duration::from_secs(100);
/// The program follows at most so many changing challenges for one image.
const MAX_CHALLENGES: usize = 100;

/// How the copy of one image ended.
pub struct CaseResult {
    pub case: Case,
    /// The line that the program printed about it.
    pub line: String,
    pub injected: Vec<InjectedFault>,
    /// What is missing at the target.
    pub missing: Vec<String>,
    /// The same, of the signature.
    pub missing_signature: Vec<String>,
    /// Time from the start until all its tags existed.
    pub time: Option<Duration>,
}

/// How all copies ended.
pub struct Batch {
    pub results: Vec<CaseResult>,
    /// What must not happen under any fault.
    pub errors: Vec<String>,
}

impl CaseResult {
    /// Whether the program reports success.
    pub fn is_success(&self) -> bool {
        self.line.starts_with("copied") || self.line.starts_with("already there")
    }

    fn error(&self, environment: &TestEnvironment) -> Option<String> {
        if self.case.is_healthy() && self.time.is_none_or(|time| time > HEALTHY_TIMEOUT) {
            return Some(format!("it has no faults, and was copied after {:?}", self.time));
        }
        let changing = [Challenge::ChangingService, Challenge::ChangingRealm].map(Fault::Unauthorized);
        let challenges = self.injected.iter().filter(|(_, _, fault)| changing.contains(fault)).count();
        if challenges > MAX_CHALLENGES {
            return Some(format!("it followed {challenges} changing challenges"));
        }
        if self.is_success() {
            let mut missing = self.missing.clone();
            if !self.line.contains(" not copied: ") {
                missing.extend(self.missing_signature.iter().cloned());
            }
            let text = || format!("false success: missing at the target: {}", missing.join(", "));
            return (!missing.is_empty()).then(text);
        }
        let Some((_, cause)) = self.line.strip_prefix("failed").and_then(|line| line.split_once(": ")) else {
            return Some("no outcome is reported".to_owned());
        };
        (!environment.is_cause(&self.case, cause)).then(|| "the cause is not reported".to_owned())
    }
}

/// Copies the images of all `cases` with one `sync`.
pub async fn run(access: Access, cases: Vec<Case>) -> Batch {
    run_with(access, cases, |config| config).await
}

/// Copies the images of all `cases` one after another, in their order.
pub async fn run_one_by_one(access: Access, cases: Vec<Case>) -> Batch {
    let one_by_one = "maxConcurrentReconciles: 1\nwatchResources: [deployments]\n";
    run_with(access, cases, |config| config.replace("maxConcurrentReconciles: 8\n", one_by_one)).await
}

async fn run_with(access: Access, cases: Vec<Case>, config: impl Fn(String) -> String) -> Batch {
    let environment = TestEnvironment::new(access, &cases);
    let manifests: Vec<_> = environment.workloads(&cases).iter().map(|workload| workload.manifest()).collect();
    let config = config(environment.config(1));
    let program = Program::new(&["sync", "-f", "-"]).config(&config).stdin(&list(&manifests)).unset("REFERRERS");
    let started = Instant::now();
    let finished = program.run().await;
    evaluate(&environment, cases, &finished, started)
}

/// Checks a run that began at `started`.
pub fn evaluate(environment: &TestEnvironment, cases: Vec<Case>, finished: &Finished, started: Instant) -> Batch {
    let mut lines: HashMap<&str, &str> = HashMap::new();
    let mut errors = environment.violations();
    for line in finished.stdout.lines() {
        if let Some(repository) = repository(line)
            && lines.insert(repository, line).is_some()
        {
            errors.push(format!("reported twice: {line}"));
        }
    }
    let results = cases.into_iter().map(|case| CaseResult {
        line: lines.get(case.repository.as_str()).copied().unwrap_or_default().to_owned(),
        injected: environment.injected(&case),
        missing: environment.missing(&case),
        missing_signature: environment.missing_signature(&case),
        time: environment.tagged_at(&case).map(|tagged_at| tagged_at - started),
        case,
    });
    let results: Vec<CaseResult> = results.collect();
    for result in &results {
        if let Some(error) = result.error(environment) {
            errors.push(format!(
                "{error}\n{}  reported: {}\n  injected: {:?}",
                result.case, result.line, result.injected
            ));
        }
    }
    let code = if results.iter().all(CaseResult::is_success) { 0 } else { 1 };
    if finished.code != Some(code) {
        errors.push(format!("the exit code is {:?} instead of {code}", finished.code));
    }
    if finished.stderr.contains("panicked") || finished.stdout.contains("this is a bug") {
        errors.push(format!("a panic: {}", finished.stderr));
    }
    Batch { results, errors }
}

/// The source repository in a line of `sync`.
fn repository(line: &str) -> Option<&str> {
    let (source, _) = line.split_once(" -> ")?;
    let reference = source.rsplit(' ').next()?;
    let path = reference.split_once('/')?.1;
    path.split(['@', ':']).next()
}
