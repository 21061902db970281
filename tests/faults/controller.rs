//! The controller says by its metrics and events what `sync` says by its lines, and it is as true.

use k8s_openapi::api::events::v1::Event;
use kube::{Api, api::ListParams};

use super::{case::Case, random, world::World};
use crate::support::{Cluster, Program, Running, eventually};

const IMAGES: usize = 40;

#[tokio::test]
async fn the_controller_reports_each_outcome_correctly() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let (access, cases) = random::cases(1, IMAGES);
    let world = World::new(access, &cases);
    for workload in world.workloads(&cases) {
        workload.apply(&client, &namespace).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let config = format!("{}includeNamespaces: [{namespace}]\n", world.config(1));
    let mut program = Program::controller(&kubeconfig).config(&config).start();
    program.ready().await;

    let mut failed = Vec::new();
    for case in &cases {
        let done = eventually("it is told how it ended", || is_done(&program, &world, case)).await;
        if !done {
            failed.push(case);
            continue;
        }
        assert_eq!(world.lacking(case), Vec::<String>::new(), "{case}{:?}", world.played(case));
    }
    assert!((1..IMAGES / 2).contains(&failed.len()), "some fail: {}", failed.len());
    let events: Api<Event> = Api::namespaced(client, &namespace);
    for case in failed {
        let image = world.reference(case);
        eventually(&format!("an event tells the failure of {image}"), || async {
            let events = events.list(&ListParams::default()).await.unwrap().items;
            let notes = events.iter().filter(|event| event.reason.as_deref() == Some("MirrorFailed"));
            let mut notes = notes.filter_map(|event| event.note.as_deref()?.split_once(": "));
            notes.any(|(head, cause)| head.contains(&image) && world.is_cause(case, cause)).then_some(())
        })
        .await;
    }
    assert_eq!(world.violations(), Vec::<String>::new());
    let log = program.log();
    assert!(!log.contains("panicked") && !log.contains("this is a bug"), "{log}");
}

/// What the metrics say of an image, once they say something.
async fn is_done(program: &Running, world: &World, case: &Case) -> Option<bool> {
    let metrics = program.metrics().await;
    let (pulled, pushed) = (world.reference(case), case.destination(&world.target.host()));
    let count =
        |name: &str, image: &str| metrics.sum(&format!("k8s_copycat_registry_{name}_total"), &[("image", image)]);
    if count("push_success", &pushed) > 0.0 {
        return Some(true);
    }
    let attempted = case.reference(&world.target.host());
    let failed = count("pull_error", &pulled) + count("push_error", &pushed) + count("push_error", &attempted);
    (failed > 0.0).then_some(false)
}
