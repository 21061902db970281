//! Bad neighbours: whoever drips, is silent or never lets anybody in harms no image but its own.

use std::time::{Duration, Instant};

use demo::{Format, Image, Layer};

use super::{
    batch::{self, Batch},
    case::Case,
    world::{SOURCES, World},
};
use crate::{
    mirroring::single,
    support::{
        Access, Program,
        faulty::{Challenge, Fault, Kind, Planned},
        list,
    },
};

/// More images than there are places, so that they could fill all of them.
const MANY: usize = 120;

fn healthy(number: usize) -> Case {
    let name = format!("healthy/app{number}");
    Case { source: number % SOURCES.len(), ..Case::new(&name, single(&name)) }
}

fn assert_right(batch: &Batch) {
    assert!(batch.wrongs.is_empty(), "{} wrongs:\n{}", batch.wrongs.len(), batch.wrongs.join("\n"));
}

#[tokio::test]
async fn a_silent_host_delays_no_other_images() {
    let silent = |number| {
        let name = format!("silent/app{number}");
        Case::new(&name, single(&name)).silent()
    };
    let cases: Vec<Case> = (0..MANY).map(silent).chain((0..30).map(healthy)).collect();
    let world = World::new(Access::Anonymous, &cases);
    let manifests: Vec<_> = world.workloads(&cases).iter().map(|workload| workload.manifest()).collect();
    let program = Program::new(&["sync", "-f", "-"]).config(&world.config(1)).stdin(&list(&manifests));
    let begun = Instant::now();
    let connections = async {
        while cases.iter().any(|case| case.is_healthy() && world.since(case).is_none()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world.silent.connections()
    };
    // Where a healthy image does not come there is no number, but the end of the run says which one.
    let (finished, connections) = {
        let mut connections = std::pin::pin!(connections);
        let mut meanwhile = None;
        let mut run = std::pin::pin!(program.run());
        let finished = loop {
            tokio::select! {
                finished = &mut run => break finished,
                count = &mut connections, if meanwhile.is_none() => meanwhile = Some(count),
            }
        };
        (finished, meanwhile)
    };
    assert_right(&batch::judge(&world, cases, &finished, begun));
    let connections = connections.expect("all healthy images are there");
    assert!(connections < MANY, "{connections} connections to the silent host before the healthy images were done");
    let all = world.silent.connections();
    assert!(all <= MANY, "{all} connections to a host that has never answered one");
}

#[tokio::test]
async fn a_trickling_layer_delays_only_images_that_share_it() {
    let base = Layer::random(7, 100_000).unwrap();
    // Nearly all of those that share the layer have it from the source that drips, so that one of them comes first.
    let sharing = |number: usize| {
        let own = Layer::random(1000 + number as u64, 2000).unwrap();
        let image = Image::single(Format::Oci, "amd64", &[base.clone(), own]);
        let case = Case::new(&format!("sharing/app{number}"), image);
        if number.is_multiple_of(20) {
            return Case { source: 1, ..case };
        }
        Case { at_source: vec![Planned::staying(Kind::BlobGet, 0, Fault::Drip(0))], ..case }
    };
    let others = (0..30).map(healthy).filter(|case| case.source != 0);
    let cases: Vec<Case> = (0..MANY).map(sharing).chain(others).collect();
    let batch = batch::run(Access::Anonymous, cases).await;
    assert_right(&batch);
    assert!(batch.ended.iter().any(|ended| !ended.played.is_empty()), "nothing dripped");
}

/// All that can drip, each for an image of its own.
fn dripping(planned: fn(Kind, usize, Fault) -> Planned) -> Vec<Case> {
    let source = [
        (Kind::Token, 0, Fault::Drip(5)),
        (Kind::Token, 0, Fault::DripHead(5)),
        (Kind::ManifestHead, 0, Fault::DripHead(20)),
        (Kind::ManifestGet, 0, Fault::DripHead(20)),
        (Kind::ManifestGet, 0, Fault::Drip(20)),
        (Kind::BlobGet, 0, Fault::DripHead(20)),
        (Kind::BlobGet, 0, Fault::Drip(0)),
        (Kind::BlobGet, 1, Fault::Drip(19_000)),
    ];
    let target = [
        (Kind::Token, 0, Fault::Drip(5)),
        (Kind::ManifestHead, 0, Fault::DripHead(20)),
        (Kind::BlobHead, 0, Fault::DripHead(20)),
        (Kind::UploadPost, 0, Fault::DripHead(20)),
        (Kind::UploadPut, 0, Fault::DripHead(20)),
        (Kind::UploadPut, 1, Fault::Sip),
        (Kind::ManifestPut, 0, Fault::DripHead(20)),
    ];
    let case = |side: &str, number: usize, fault: Fault| {
        // What a socket takes at once must not be all of it.
        let size = if fault == Fault::Sip { 24 << 20 } else { 40_000 };
        let layers = [0, 1].map(|layer| Layer::random((side.len() + 100 * number + layer) as u64, size).unwrap());
        let image = Image::single(Format::Oci, "amd64", &layers);
        let anonymous = SOURCES.iter().position(|access| *access == Access::Anonymous).unwrap();
        let token = SOURCES.iter().position(|access| *access == Access::Token).unwrap();
        let at = if side == "source" && source[number].0 == Kind::Token { token } else { anonymous };
        Case { source: at, ..Case::new(&format!("drips/{side}{number}"), image) }
    };
    let at_source = source.iter().enumerate().map(|(number, (at, after, fault))| {
        let mut case = case("source", number, *fault);
        case.at_source.push(planned(*at, *after, *fault));
        case
    });
    let at_target = target.iter().enumerate().map(|(number, (at, after, fault))| {
        let mut case = case("at-target", number, *fault);
        case.at_target.push(planned(*at, *after, *fault));
        case
    });
    at_source.chain(at_target).chain((0..10).map(healthy)).collect()
}

#[tokio::test]
async fn retries_transfers_that_trickle_once() {
    let batch = batch::run(Access::Token, dripping(Planned::once)).await;
    assert_right(&batch);
    for ended in batch.ended {
        assert!(ended.is_done(), "{}{}\n{:?}", ended.case, ended.line, ended.played);
        assert!(ended.case.is_healthy() || !ended.played.is_empty(), "nothing went wrong:\n{}", ended.case);
    }
}

#[tokio::test]
async fn endless_trickling_fails_the_copy() {
    let batch = batch::run(Access::Token, dripping(Planned::staying)).await;
    assert_right(&batch);
    // Heads and small bodies may be through before a least rate says anything: what is told is true all the same.
    for ended in batch.ended {
        let drips = |planned: &Planned| planned.at == Kind::BlobGet && matches!(planned.fault, Fault::Drip(_));
        let is_layer = ended.case.at_source.iter().any(drips);
        assert!(!is_layer || !ended.is_done(), "{}{}\n{:?}", ended.case, ended.line, ended.played);
    }
}

/// Challenges that change, in whatever way and at whatever is asked for, with an image for each.
fn challenged(planned: fn(Kind, usize, Fault) -> Planned) -> Vec<Case> {
    let mut cases = Vec::new();
    for challenge in [Challenge::OtherService, Challenge::OtherRealm] {
        let fault = Fault::Unauthorized(challenge);
        for (source, access) in SOURCES.iter().enumerate() {
            for at in [Kind::ManifestHead, Kind::ManifestGet, Kind::BlobGet] {
                let name = format!("challenged/{challenge:?}-{access:?}-{at:?}").to_lowercase();
                let mut case = Case { source, ..Case::new(&name, single(&name)) };
                case.at_source.push(planned(at, 0, fault));
                cases.push(case);
            }
        }
        for at in [Kind::ManifestHead, Kind::BlobHead, Kind::UploadPost, Kind::UploadPut, Kind::ManifestPut] {
            let name = format!("challenged/{challenge:?}-target-{at:?}").to_lowercase();
            let mut case = Case::new(&name, single(&name));
            case.at_target.push(planned(at, 0, fault));
            cases.push(case);
        }
    }
    cases.extend((0..10).map(healthy));
    cases
}

#[tokio::test]
async fn follows_a_challenge_that_changes_once() {
    for access in SOURCES {
        let batch = batch::run(access, challenged(Planned::once)).await;
        assert_right(&batch);
        for ended in batch.ended {
            assert!(ended.is_done(), "{}{}\n{:?}", ended.case, ended.line, ended.played);
            assert!(ended.case.is_healthy() || !ended.played.is_empty(), "nothing went wrong:\n{}", ended.case);
        }
    }
}

#[tokio::test]
async fn endless_changing_challenges_fail_the_copy() {
    for access in SOURCES {
        let batch = batch::run(access, challenged(Planned::staying)).await;
        assert_right(&batch);
        for ended in batch.ended {
            assert_eq!(ended.is_done(), ended.case.is_healthy(), "{}{}", ended.case, ended.line);
        }
    }
}
