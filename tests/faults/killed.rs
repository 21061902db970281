//! A program that is killed in the middle of its work, and started again.

use demo::{Format, Image, Layer};
use fastrand::Rng;

use super::{case::Case, is_long, setting, world::World};
use crate::support::{Access, Program, list};

const KILLS: usize = 10;

#[tokio::test]
async fn does_not_upload_finished_blobs_again_after_a_kill() {
    let (repositories, base, own) = if is_long() { (200, 100 << 20, 256 << 10) } else { (40, 8 << 20, 64 << 10) };
    let base = Layer::random(1, base).unwrap();
    let cases: Vec<Case> = (0..repositories)
        .map(|number| {
            let own = Layer::random(100 + number, own).unwrap();
            let image = Image::single(Format::Oci, "amd64", &[base.clone(), own]);
            Case::new(&format!("kill/app{number}"), image)
        })
        .collect();
    let world = World::new(Access::Anonymous, &cases);
    let manifests: Vec<_> = world.workloads(&cases).iter().map(|workload| workload.manifest()).collect();
    let program = Program::new(&["sync", "-f", "-"]).config(&world.config(60)).stdin(&list(&manifests));

    let base = cases[0].image.blobs().iter().max_by_key(|blob| blob.bytes.len()).unwrap();
    // Before it has received this much the target can't have all of it, so that each kill comes in time.
    let shared = base.bytes.len() as u64;
    let least = shared + cases.iter().map(|case| bytes(&case.image) - shared).sum::<u64>();
    let mut random = Rng::with_seed(setting("FAULT_SEED", 1));
    let mut moments: Vec<u64> = (0..KILLS).map(|_| random.u64(..least)).collect();
    moments.sort_unstable();
    let received = world.target.received();
    for moment in moments {
        let mut received = received.clone();
        let reached = async move { drop(received.wait_for(|received| *received >= moment).await.unwrap()) };
        let ended = program.run_until(reached).await;
        assert!(ended.is_none(), "it has ended before {moment} of at least {least} bytes: {ended:?}");
    }
    let finished = program.run().await.assert_code(0);
    assert_eq!(world.violations(), Vec::<String>::new());
    let mut sent = 0;
    for case in &cases {
        assert_eq!(world.lacking(case), Vec::<String>::new(), "{case}{}", finished.stdout);
        for (digest, times) in world.target.sent(&case.repository) {
            assert_eq!(times, 1, "{}: blob {digest} was sent again after it had been finished", case.repository);
            sent += usize::from(digest == base.digest);
        }
    }
    println!("{KILLS} kills: what {repositories} repositories share was sent to {sent} of them");
    assert!((1..=KILLS + 1).contains(&sent), "each run sends what is shared at most once, and not {sent} times");
}

fn bytes(image: &Image) -> u64 {
    image.blobs().iter().map(|blob| blob.bytes.len() as u64).sum()
}
