//! The program is killed during its work and started again.

use demo::{Format, Image, Layer};
use fastrand::Rng;

use super::{case::Case, environment::TestEnvironment, is_long, setting};
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
    let environment = TestEnvironment::new(Access::Anonymous, &cases);
    let manifests: Vec<_> = environment.workloads(&cases).iter().map(|workload| workload.manifest()).collect();
    let program =
        Program::new(&["sync", "-f", "-"]).unset("REFERRERS").config(&environment.config(60)).stdin(&list(&manifests));

    let base = cases[0].image.blobs().iter().max_by_key(|blob| blob.bytes.len()).unwrap();
    // The target has received at least this many bytes when all is copied, so that each kill comes before the end.
    let shared = base.bytes.len() as u64;
    let least = shared + cases.iter().map(|case| bytes(&case.image) - shared).sum::<u64>();
    let mut random = Rng::with_seed(setting("FAULT_SEED", 1));
    let mut moments: Vec<u64> = (0..KILLS).map(|_| random.u64(..least)).collect();
    moments.sort_unstable();
    let received = environment.target.received();
    for moment in moments {
        let mut received = received.clone();
        let reached = async move { drop(received.wait_for(|received| *received >= moment).await.unwrap()) };
        let ended = program.run_until(reached).await;
        assert!(ended.is_none(), "it exited before byte {moment} of at least {least}: {ended:?}");
    }
    let finished = program.run().await.assert_code(0);
    assert_eq!(environment.violations(), Vec::<String>::new());
    let mut uploads = 0;
    for case in &cases {
        assert_eq!(environment.missing(case), Vec::<String>::new(), "{case}{}", finished.stdout);
        for (digest, times) in environment.target.upload_counts(&case.repository) {
            assert_eq!(times, 1, "{}: blob {digest} was uploaded again after it was finished", case.repository);
            uploads += usize::from(digest == base.digest);
        }
    }
    println!("{KILLS} kills: the layer shared by {repositories} repositories was uploaded to {uploads} of them");
    assert!((1..=KILLS + 1).contains(&uploads), "each run uploads the shared layer at most once, not {uploads} times");
}

fn bytes(image: &Image) -> u64 {
    image.blobs().iter().map(|blob| blob.bytes.len() as u64).sum()
}
