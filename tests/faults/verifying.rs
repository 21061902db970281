//! Whatever the registries answer, `verify` calls no image whole that is not: its answers are compared with what the target
//! stores, while images are copied, after damage to the storage, with faults and without.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use demo::{Format, Image, Layer};
use fastrand::Rng;
use serde_json::Value;

use super::{
    BATCH_SIZE,
    case::{Case, ReferenceForm, TAG},
    environment::TestEnvironment,
    random, schedules, setting,
};
use crate::support::{
    Program,
    faulty::{Fault, Reading},
    list,
};

/// One of so many schedules of copies is followed by verifications.
const COPIES_FOR_EACH: usize = 3;
/// Runs of `verify` while images are copied.
const DURING_COPY: usize = 3;

/// What was said in all runs.
#[derive(Default)]
struct Said {
    images: usize,
    /// By result, with faults and without.
    results: [BTreeMap<String, usize>; 2],
    errors: Vec<String>,
}

/// What one run says about one image.
struct Answer {
    result: String,
    digest_at_source: Option<String>,
    text: String,
}

/// How `verify` is called.
#[derive(Clone, Copy, Debug)]
struct Call {
    is_deep: bool,
    asks_sources: bool,
}

#[tokio::test]
async fn nothing_is_called_whole_that_is_not() {
    let (count, first) = (schedules().div_ceil(COPIES_FOR_EACH), setting("FAULT_SEED", 1));
    let started = Instant::now();
    let mut said = Said::default();
    for (seed, before) in (first..).zip((0..count).step_by(BATCH_SIZE)) {
        verify_batch(seed, BATCH_SIZE.min(count - before), &mut said).await;
    }
    let [exact, with_faults] = &said.results;
    println!(
        "{} images verified in {:?}: without faults {exact:?}, with faults {with_faults:?}",
        said.images,
        started.elapsed()
    );
    assert!(said.errors.is_empty(), "{} errors:\n{}", said.errors.len(), said.errors.join("\n"));
    if count >= BATCH_SIZE {
        for result in ["whole", "missing", "incomplete", "corrupt", "drifted"] {
            assert!(exact.contains_key(result), "the damage does not cause {result}: {exact:?}");
        }
        assert!(with_faults.contains_key("unknown"), "the faults hide nothing: {with_faults:?}");
    }
}

async fn verify_batch(seed: u64, count: usize, said: &mut Said) {
    let (access, cases) = random::cases(seed, count);
    let environment = TestEnvironment::new(access, &cases);
    verify_during_copy(&environment, &cases, said).await;
    let mut random = Rng::with_seed(seed);
    for is_deep in [false, true] {
        for case in &cases {
            for damage in random::damages(&mut random) {
                environment.target.damage(&case.repository, damage);
            }
            if case.reference_form == ReferenceForm::Tag && random.u8(..20) == 0 {
                environment.target.add_image(&case.repository, TAG, &other(&mut random));
            }
            let is_damaged = environment.target.read(&case.repository, pulled(case)) != Reading::default();
            let at_source = random::source_faults(&mut random);
            environment.reschedule(case, &at_source, &random::target_faults(&mut random, is_damaged));
        }
        let call = Call { is_deep, asks_sources: random.bool() };
        let answers = verify(&environment, &cases, call, said).await;
        for case in &cases {
            let answer = &answers[&case.repository];
            said.count(1, answer);
            if !may_be_whole(&environment, case, call, answer) {
                said.is_false(&environment, case, call, answer, "not whole");
            }
            environment.reschedule(case, &[], &[]);
        }
        let call = Call { is_deep, asks_sources: true };
        let answers = verify(&environment, &cases, call, said).await;
        for case in &cases {
            let answer = &answers[&case.repository];
            said.count(0, answer);
            if answer.result == "whole" && has_damaged_signature(&environment, case, call) {
                said.is_false(&environment, case, call, answer, "signed, and its signature is not whole");
            }
            if let Some(expected) = expected(&environment, case, call).filter(|expected| *expected != answer.result) {
                said.is_false(&environment, case, call, answer, expected);
            }
        }
    }
    said.errors.extend(environment.violations());
}

/// The target only gains content during a copy, unless a fault loses it: what was whole is whole at the end.
async fn verify_during_copy(environment: &TestEnvironment, cases: &[Case], said: &mut Said) {
    let sync = program(environment, cases, &["sync", "-f", "-"]).unset("REFERRERS");
    let (is_copied, answers) = (Cell::new(false), RefCell::new(Vec::new()));
    let call = Call { is_deep: false, asks_sources: false };
    let verifying = async {
        for _ in 0..DURING_COPY {
            if !is_copied.get() {
                let mut during = Said::default();
                let answer = verify(environment, cases, call, &mut during).await;
                answers.borrow_mut().push((answer, during));
            }
        }
    };
    let copying = async {
        sync.run().await;
        is_copied.set(true);
    };
    futures::join!(copying, verifying);
    for (answers, during) in answers.into_inner() {
        said.images += during.images;
        said.errors.extend(during.errors);
        for case in cases {
            let loses = environment.injected(case).iter().any(|(_, _, fault)| matches!(fault, Fault::LoseContent(_)));
            let answer = &answers[&case.repository];
            if !loses && !may_be_whole(environment, case, call, answer) {
                said.is_false(environment, case, call, answer, "not whole, while it was copied");
            }
        }
    }
}

fn program(environment: &TestEnvironment, cases: &[Case], arguments: &[&str]) -> Program {
    let manifests: Vec<_> = environment.workloads(cases).iter().map(|workload| workload.manifest()).collect();
    Program::new(arguments).config(&environment.config(1)).stdin(&list(&manifests))
}

/// The answers by repository.
async fn verify(environment: &TestEnvironment, cases: &[Case], call: Call, said: &mut Said) -> HashMap<String, Answer> {
    let mut arguments = vec!["verify", "-f", "-", "-o", "json"];
    arguments.extend(call.is_deep.then_some("--deep"));
    arguments.extend((!call.asks_sources).then_some("--no-source"));
    let finished = program(environment, cases, &arguments).unset("REFERRERS").run().await;
    let document: Value = serde_json::from_str(&finished.stdout)
        .unwrap_or_else(|error| panic!("{error}: {:?} {}", finished.code, finished.stderr));
    let images = document["images"].as_array().unwrap();
    let answers: HashMap<String, Answer> = images
        .iter()
        .map(|image| {
            let path = image["source"].as_str().unwrap().split_once('/').unwrap().1;
            let repository = path.split(['@', ':']).next().unwrap().to_owned();
            let result = image["result"].as_str().unwrap().to_owned();
            let digest_at_source = image["digestAtSource"].as_str().map(str::to_owned);
            (repository, Answer { result, digest_at_source, text: image.to_string() })
        })
        .collect();
    assert_eq!((images.len(), answers.len()), (cases.len(), cases.len()), "each image once: {document}");
    let fails = ["missing", "incomplete", "corrupt", "unknown"];
    let code = i32::from(answers.values().any(|answer| fails.contains(&answer.result.as_str())));
    if finished.code != Some(code) {
        said.errors.push(format!("the exit code is {:?} instead of {code}: {}", finished.code, finished.stderr));
    }
    if finished.stderr.contains("panicked") {
        said.errors.push(format!("a panic: {}", finished.stderr));
    }
    said.images += images.len();
    answers
}

/// What nodes pull by.
fn pulled(case: &Case) -> &str {
    match case.reference_form {
        ReferenceForm::Tag => TAG,
        ReferenceForm::Digest | ReferenceForm::Both => case.image.digest(),
    }
}

/// False for an answer that would make somebody trust what is not there. A registry that does not tell the length of a blob
/// is believed, unless the blob is read.
fn may_be_whole(environment: &TestEnvironment, case: &Case, call: Call, answer: &Answer) -> bool {
    let target = &environment.target;
    let Reading { has_no_root, lacks_parts, has_wrong_manifests, has_wrong_bytes, .. } =
        target.read(&case.repository, pulled(case));
    let is_damaged = has_no_root || lacks_parts || has_wrong_manifests || call.is_deep && has_wrong_bytes;
    let at_target = target.digest(&case.repository, pulled(case));
    let has_moved = answer.digest_at_source.is_some() && answer.digest_at_source != at_target;
    answer.result != "whole" || !is_damaged && !has_moved && !has_damaged_signature(environment, case, call)
}

/// Of a signature that the target lists: without the source nothing tells that there should be one.
fn has_damaged_signature(environment: &TestEnvironment, case: &Case, call: Call) -> bool {
    let Some(signature) = &case.signature else { return false };
    let (target, repository) = (&environment.target, &case.repository);
    let Reading { has_no_root, lacks_parts, has_wrong_manifests, has_wrong_bytes, .. } =
        target.read(repository, signature.digest());
    let is_damaged = has_no_root || lacks_parts || has_wrong_manifests || call.is_deep && has_wrong_bytes;
    // What a moved tag names is not signed.
    let is_signed = target.digest(repository, pulled(case)).as_deref() == Some(case.image.digest());
    is_damaged && is_signed && environment.lists_signature(case)
}

/// What is to be said without faults. None for a digest that is there without the tags that keep it (it can be pulled, and may
/// be gone tomorrow), and for an image whose signature is damaged in whatever way.
fn expected(environment: &TestEnvironment, case: &Case, call: Call) -> Option<&'static str> {
    let (target, repository) = (&environment.target, &case.repository);
    let read = target.read(repository, pulled(case));
    if read.has_no_root {
        return Some("missing");
    }
    if !target.has_tags(repository, &case.tags()) || !environment.missing_signature(case).is_empty() {
        return None;
    }
    Some(match read {
        Reading { lacks_parts: true, .. } => "incomplete",
        Reading { has_wrong_manifests: true, .. } | Reading { has_wrong_lengths: true, .. } => "corrupt",
        Reading { has_wrong_bytes: true, .. } if call.is_deep => "corrupt",
        _ if target.digest(repository, pulled(case)).as_deref() != Some(case.image.digest()) => "drifted",
        _ => "whole",
    })
}

/// Another image, whole, under the tag.
fn other(random: &mut Rng) -> Image {
    let layers = [Layer::files(&[("moved", &random.u64(..).to_string())]).unwrap()];
    Image::single(Format::Oci, "amd64", &layers)
}

impl Said {
    fn count(&mut self, faults: usize, answer: &Answer) {
        *self.results[faults].entry(answer.result.clone()).or_default() += 1;
    }

    fn is_false(&mut self, environment: &TestEnvironment, case: &Case, call: Call, answer: &Answer, truth: &str) {
        let stored = environment.target.read(&case.repository, pulled(case));
        let injected = environment.injected(case);
        self.errors.push(format!(
            "{call:?} says {} of what is {truth}: {stored:?}\n{case}  said: {}\n  injected: {injected:?}",
            answer.result, answer.text
        ));
    }
}
