//! Isolation: hosts that trickle, stay silent or never accept a login affect only their own images.

use std::time::{Duration, Instant};

use demo::{Format, Image, Layer};

use super::{
    batch::{self, Batch},
    case::Case,
    environment::{SOURCES, TestEnvironment},
};
use crate::{
    mirroring::single,
    support::{
        Access, Program,
        faulty::{Challenge, Fault, RequestKind, ScheduledFault},
        list,
    },
};

/// More images than the concurrency limits allow at once.
const MANY: usize = 120;

fn healthy(number: usize) -> Case {
    let name = format!("healthy/app{number}");
    Case { source: number % SOURCES.len(), ..Case::new(&name, single(&name)) }
}

fn assert_no_errors(batch: &Batch) {
    assert!(batch.errors.is_empty(), "{} errors:\n{}", batch.errors.len(), batch.errors.join("\n"));
}

#[tokio::test]
async fn a_silent_host_delays_no_other_images() {
    let silent = |number| {
        let name = format!("silent/app{number}");
        Case::new(&name, single(&name)).silent()
    };
    let cases: Vec<Case> = (0..MANY).map(silent).chain((0..30).map(healthy)).collect();
    let environment = TestEnvironment::new(Access::Anonymous, &cases);
    let manifests: Vec<_> = environment.workloads(&cases).iter().map(|workload| workload.manifest()).collect();
    let program =
        Program::new(&["sync", "-f", "-"]).unset("REFERRERS").config(&environment.config(1)).stdin(&list(&manifests));
    let started = Instant::now();
    let connections = async {
        while cases.iter().any(|case| case.is_healthy() && environment.tagged_at(case).is_none()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        environment.silent.connections()
    };
    // If a healthy image never arrives, there is no count; the report of the run names the image.
    let (finished, connections) = {
        let mut connections = std::pin::pin!(connections);
        let mut during_run = None;
        let mut run = std::pin::pin!(program.run());
        let finished = loop {
            tokio::select! {
                finished = &mut run => break finished,
                count = &mut connections, if during_run.is_none() => during_run = Some(count),
            }
        };
        (finished, during_run)
    };
    assert_no_errors(&batch::evaluate(&environment, cases, &finished, started));
    let connections = connections.expect("all healthy images were copied");
    assert!(connections < MANY, "{connections} connections to the silent host before the healthy images were copied");
    let all = environment.silent.connections();
    assert!(all <= MANY, "{all} connections to a host that never answered");
}

#[tokio::test]
async fn a_trickling_layer_delays_only_images_that_share_it() {
    let base = Layer::random(7, 100_000).unwrap();
    // Nearly all images that share the layer come from the trickling source, so that one of them starts first.
    let sharing = |number: usize| {
        let own = Layer::random(1000 + number as u64, 2000).unwrap();
        let image = Image::single(Format::Oci, "amd64", &[base.clone(), own]);
        let case = Case::new(&format!("sharing/app{number}"), image);
        if number.is_multiple_of(20) {
            return Case { source: 1, ..case };
        }
        Case { source_faults: vec![ScheduledFault::permanent(RequestKind::BlobGet, 0, Fault::TrickleBody(0))], ..case }
    };
    let others = (0..30).map(healthy).filter(|case| case.source != 0);
    let cases: Vec<Case> = (0..MANY).map(sharing).chain(others).collect();
    let batch = batch::run(Access::Anonymous, cases).await;
    assert_no_errors(&batch);
    assert!(batch.results.iter().any(|result| !result.injected.is_empty()), "no fault was injected");
}

/// An image for each transfer that can trickle.
fn trickling(scheduled: fn(RequestKind, usize, Fault) -> ScheduledFault) -> Vec<Case> {
    let source = [
        (RequestKind::Token, 0, Fault::TrickleBody(5)),
        (RequestKind::Token, 0, Fault::TrickleHead(5)),
        (RequestKind::ManifestHead, 0, Fault::TrickleHead(20)),
        (RequestKind::ManifestGet, 0, Fault::TrickleHead(20)),
        (RequestKind::ManifestGet, 0, Fault::TrickleBody(20)),
        (RequestKind::BlobGet, 0, Fault::TrickleHead(20)),
        (RequestKind::BlobGet, 0, Fault::TrickleBody(0)),
        (RequestKind::BlobGet, 1, Fault::TrickleBody(19_000)),
    ];
    let target = [
        (RequestKind::Token, 0, Fault::TrickleBody(5)),
        (RequestKind::ManifestHead, 0, Fault::TrickleHead(20)),
        (RequestKind::BlobHead, 0, Fault::TrickleHead(20)),
        (RequestKind::UploadPost, 0, Fault::TrickleHead(20)),
        (RequestKind::UploadPut, 0, Fault::TrickleHead(20)),
        (RequestKind::UploadPut, 1, Fault::TrickleRead),
        (RequestKind::ManifestPut, 0, Fault::TrickleHead(20)),
    ];
    let case = |side: &str, number: usize, fault: Fault| {
        // More than a socket buffers.
        let size = if fault == Fault::TrickleRead { 24 << 20 } else { 40_000 };
        let layers = [0, 1].map(|layer| Layer::random((side.len() + 100 * number + layer) as u64, size).unwrap());
        let image = Image::single(Format::Oci, "amd64", &layers);
        let anonymous = SOURCES.iter().position(|access| *access == Access::Anonymous).unwrap();
        let token = SOURCES.iter().position(|access| *access == Access::Token).unwrap();
        let at = if side == "source" && source[number].0 == RequestKind::Token { token } else { anonymous };
        Case { source: at, ..Case::new(&format!("trickles/{side}{number}"), image) }
    };
    let from_source = source.iter().enumerate().map(|(number, (at, after, fault))| {
        let mut case = case("source", number, *fault);
        case.source_faults.push(scheduled(*at, *after, *fault));
        case
    });
    let to_target = target.iter().enumerate().map(|(number, (at, after, fault))| {
        let mut case = case("at-target", number, *fault);
        case.target_faults.push(scheduled(*at, *after, *fault));
        case
    });
    from_source.chain(to_target).chain((0..10).map(healthy)).collect()
}

#[tokio::test]
async fn retries_transfers_that_trickle_once() {
    let batch = batch::run(Access::Token, trickling(ScheduledFault::once)).await;
    assert_no_errors(&batch);
    for result in batch.results {
        assert!(result.is_success(), "{}{}\n{:?}", result.case, result.line, result.injected);
        assert!(result.case.is_healthy() || !result.injected.is_empty(), "no fault was injected:\n{}", result.case);
    }
}

#[tokio::test]
async fn endless_trickling_fails_the_copy() {
    let batch = batch::run(Access::Token, trickling(ScheduledFault::permanent)).await;
    assert_no_errors(&batch);
    // Heads and small bodies may arrive before the minimum transfer rate is checked.
    for result in batch.results {
        let trickles = |scheduled: &ScheduledFault| {
            scheduled.at == RequestKind::BlobGet && matches!(scheduled.fault, Fault::TrickleBody(_))
        };
        let is_layer = result.case.source_faults.iter().any(trickles);
        assert!(!is_layer || !result.is_success(), "{}{}\n{:?}", result.case, result.line, result.injected);
    }
}

/// An image for each kind of changing challenge and each kind of request.
fn challenged(scheduled: fn(RequestKind, usize, Fault) -> ScheduledFault) -> Vec<Case> {
    let mut cases = Vec::new();
    for challenge in [Challenge::ChangingService, Challenge::ChangingRealm] {
        let fault = Fault::Unauthorized(challenge);
        for (source, access) in SOURCES.iter().enumerate() {
            for at in [RequestKind::ManifestHead, RequestKind::ManifestGet, RequestKind::BlobGet] {
                let name = format!("challenged/{challenge:?}-{access:?}-{at:?}").to_lowercase();
                let mut case = Case { source, ..Case::new(&name, single(&name)) };
                case.source_faults.push(scheduled(at, 0, fault));
                cases.push(case);
            }
        }
        for at in [
            RequestKind::ManifestHead,
            RequestKind::BlobHead,
            RequestKind::UploadPost,
            RequestKind::UploadPut,
            RequestKind::ManifestPut,
        ] {
            let name = format!("challenged/{challenge:?}-target-{at:?}").to_lowercase();
            let mut case = Case::new(&name, single(&name));
            case.target_faults.push(scheduled(at, 0, fault));
            cases.push(case);
        }
    }
    cases.extend((0..10).map(healthy));
    cases
}

#[tokio::test]
async fn follows_a_challenge_that_changes_once() {
    for access in SOURCES {
        let batch = batch::run(access, challenged(ScheduledFault::once)).await;
        assert_no_errors(&batch);
        for result in batch.results {
            assert!(result.is_success(), "{}{}\n{:?}", result.case, result.line, result.injected);
            assert!(result.case.is_healthy() || !result.injected.is_empty(), "no fault was injected:\n{}", result.case);
        }
    }
}

#[tokio::test]
async fn endless_changing_challenges_fail_the_copy() {
    for access in SOURCES {
        let batch = batch::run(access, challenged(ScheduledFault::permanent)).await;
        assert_no_errors(&batch);
        for result in batch.results {
            assert_eq!(result.is_success(), result.case.is_healthy(), "{}{}", result.case, result.line);
        }
    }
}
