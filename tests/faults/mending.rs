//! What a failing target loses comes back: `run` finds it, copies it again, and says truly when everything is whole.

use std::time::Duration;

use demo::{Format, Image, Layer};
use fastrand::Rng;
use serde_json::Value;

use super::{
    case::{Case, TAG},
    environment::TestEnvironment,
    is_long, random,
    random::transient_fault,
    setting,
};
use crate::support::{
    Access, Cluster, Program, Running, eventually,
    faulty::{Damage, FaultyRegistry, Reading},
};

const IMAGES: usize = 12;
/// One of so many requests fails while the faults last.
const FAULT_RATE: usize = 8;
/// Between two damages.
const PAUSE: Duration = Duration::from_millis(150);

#[tokio::test]
async fn what_a_failing_target_loses_is_mended_and_said_to_be_whole() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let mut random = Rng::with_seed(setting("FAULT_SEED", 1));
    let base = Layer::files(&[("base", &random.u64(..).to_string())]).unwrap();
    let cases: Vec<Case> = (0..IMAGES)
        .map(|number| {
            let single = |architecture| {
                let own = Layer::files(&[("own", &format!("{number} {architecture}"))]).unwrap();
                Image::single(Format::Oci, architecture, &[base.clone(), own])
            };
            let images = ["amd64", "arm64"].map(single);
            let image = if number % 2 == 0 { Image::index(Format::Oci, &images) } else { images[0].clone() };
            Case::new(&format!("mend/app{number}"), image)
        })
        .collect();
    let environment = TestEnvironment::new(Access::Basic, &cases);
    for workload in environment.workloads(&cases) {
        workload.apply(&client, &namespace).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    // Each image is verified every four seconds.
    let often = "verifyHours: 0.0012\nverifyRequestsPerMinute: 10000\nfailureCooldownMinutes: 0\n";
    let config = format!("{}includeNamespaces: [{namespace}]\n{often}", environment.config(1));
    let mut program = Program::controller(&kubeconfig).unset("VERIFY_HOURS").config(&config).start();
    program.ready().await;

    let target = &environment.target;
    for _ in 0..if is_long() { 20 } else { 2 } {
        eventually("all images are said to be whole", || is_said_to_be_whole(&program)).await;
        let chosen = Rng::with_seed(random.u64(..));
        fail_at_random(target, chosen);
        for _ in 0..2 * IMAGES {
            let case = &cases[random.usize(..IMAGES)];
            target.damage(&case.repository, damage(&mut random));
            tokio::time::sleep(PAUSE).await;
        }
        let faults = target.faults();
        target.clear_faults();
        assert!(faults > 0);
        let is_stored = || async { cases.iter().all(|case| is_whole(target, case)).then_some(()) };
        eventually("everything is stored again", is_stored).await;
    }
    eventually("it is said, too", || is_said_to_be_whole(&program)).await;
    for case in &cases {
        assert!(is_whole(target, case), "{case}");
    }
    assert_eq!(environment.violations(), Vec::<String>::new());
    let finished = program.terminate().await;
    assert!(finished.stdout.contains("mended") && !finished.stdout.contains("panicked"), "{}", finished.stdout);
}

/// Flipped bits are found by `verify --deep` only.
fn damage(random: &mut Rng) -> Damage {
    loop {
        match random::damages(random).pop() {
            None | Some(Damage::FlipBlob(_)) => {}
            Some(damage) => return damage,
        }
    }
}

fn fail_at_random(target: &FaultyRegistry, mut random: Rng) {
    target.fail_with(move |at| (random.usize(..FAULT_RATE) == 0).then(|| transient_fault(&mut random, at, false)));
}

fn is_whole(target: &FaultyRegistry, case: &Case) -> bool {
    target.read(&case.repository, TAG) == Reading::default()
}

/// By the metrics, by `/status`, and by each image in it.
async fn is_said_to_be_whole(program: &Running) -> Option<()> {
    let metrics = program.metrics().await;
    let verified = |result| metrics.sum("k8s_copycat_verified_images", &[("result", result)]);
    let others = ["missing", "incomplete", "corrupt", "unknown", "drifted"].map(verified);
    let (_, status) = program.get("/status").await;
    let status: Value = serde_json::from_str(&status).unwrap();
    let images = status["images"].as_array().unwrap();
    let are_whole =
        images.iter().all(|image| image["verification"]["result"] == "whole" && image["state"] == "mirrored");
    let is_said = verified("whole") == IMAGES as f64 && others == [0.0; 5] && images.len() == IMAGES && are_whole;
    is_said.then_some(())
}
