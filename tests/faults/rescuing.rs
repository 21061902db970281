//! Sources that can't give everything, and further sources that fail and lie: what they give is right, or the failure is
//! reported.

use std::time::Instant;

use demo::{Format, Image, Layer};
use fastrand::Rng;

use super::{
    BATCH_SIZE,
    batch::{Batch, evaluate},
    case::TAG,
    environment::TestEnvironment,
    random, schedules, setting,
};
use crate::support::{
    Access, Program,
    faulty::{FaultyRegistry, RequestKind, ScheduledFault},
    list,
};

/// One of so many schedules of copies is repeated with further sources.
const COPIES_FOR_EACH: usize = 3;
const FURTHER: usize = 2;

#[tokio::test]
async fn what_further_sources_give_is_right_or_the_failure_is_reported() {
    let (count, first) = (schedules().div_ceil(COPIES_FOR_EACH), setting("FAULT_SEED", 1));
    let started = Instant::now();
    let (mut copied, mut rescued, mut failed, mut errors) = (0, 0, 0, Vec::new());
    for (seed, before) in (first..).zip((0..count).step_by(BATCH_SIZE)) {
        let batch = copy(seed, BATCH_SIZE.min(count - before)).await;
        errors.extend(batch.errors);
        for result in &batch.results {
            copied += usize::from(result.is_success());
            failed += usize::from(!result.is_success());
            rescued += usize::from(result.is_success() && result.line.contains(" from registry "));
        }
    }
    println!("{copied} copied, {rescued} of them with further sources, {failed} failed, in {:?}", started.elapsed());
    assert!(errors.is_empty(), "{} errors:\n{}", errors.len(), errors.join("\n"));
    assert!(
        rescued * 10 >= count && failed > 0,
        "the faults are too few or too many: {rescued} rescued, {failed} failed"
    );
}

async fn copy(seed: u64, count: usize) -> Batch {
    let (access, mut cases) = random::cases(seed, count);
    let mut random = Rng::with_seed(seed ^ 0xF);
    for case in &mut cases {
        if random.u8(..4) > 0 {
            let at = [RequestKind::ManifestGet, RequestKind::BlobGet, RequestKind::BlobGet][random.usize(..3)];
            let fault = random::permanent_fault(&mut random, at, case.skips_validation);
            case.source_faults.push(ScheduledFault::permanent(at, random.usize(..3), fault));
        }
    }
    let environment = TestEnvironment::new(access, &cases);
    let wrong = Image::single(Format::Oci, "amd64", &[Layer::files(&[("content", "wrong")]).unwrap()]);
    let further = [(); FURTHER].map(|()| FaultyRegistry::start(Access::Anonymous));
    for case in &cases {
        let repository = format!("{}/{}", environment.source_host(case).replace(':', "-"), case.repository);
        for place in &further {
            if random.u8(..4) == 0 {
                continue;
            }
            place.add_image(&repository, "another", &case.image);
            // What a tag means there must not matter.
            place.add_image(&repository, TAG, &wrong);
            if let Some(signature) = case.signature.as_ref().filter(|_| random.bool()) {
                place.add_referrer(&repository, &case.image, signature);
            }
            for damage in random::damages(&mut random) {
                place.damage(&repository, damage);
            }
            place.schedule(&repository, &random::further_faults(&mut random));
        }
    }
    let mut config = environment.config(1);
    config.push_str("sources:\n");
    for place in &further {
        config.push_str(&format!("- {{ registry: '{}' }}\n", place.host()));
    }
    let manifests: Vec<_> = environment.workloads(&cases).iter().map(|workload| workload.manifest()).collect();
    let program = Program::new(&["sync", "-f", "-"]).config(&config).stdin(&list(&manifests)).unset("REFERRERS");
    let started = Instant::now();
    let finished = program.run().await;
    let mut batch = evaluate(&environment, cases, &finished, started);
    batch.errors.extend(further.iter().flat_map(FaultyRegistry::violations));
    batch
}
