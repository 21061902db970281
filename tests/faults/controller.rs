//! The controller reports outcomes in metrics and events as correctly as `sync` does in its output.

use k8s_openapi::api::events::v1::Event;
use kube::{Api, api::ListParams};

use super::{case::Case, environment::TestEnvironment, random};
use crate::support::{Cluster, Program, Running, eventually};

const IMAGES: usize = 40;

#[tokio::test]
async fn the_controller_reports_each_outcome_correctly() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let (access, cases) = random::cases(1, IMAGES);
    let environment = TestEnvironment::new(access, &cases);
    for workload in environment.workloads(&cases) {
        workload.apply(&client, &namespace).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let config = format!("{}includeNamespaces: [{namespace}]\n", environment.config(1));
    let mut program = Program::controller(&kubeconfig).unset("REFERRERS").config(&config).start();
    program.ready().await;

    let mut failed = Vec::new();
    for case in &cases {
        let succeeded = eventually("an outcome is reported", || is_success(&program, &environment, case)).await;
        if !succeeded {
            failed.push(case);
            continue;
        }
        assert_eq!(environment.missing(case), Vec::<String>::new(), "{case}{:?}", environment.injected(case));
    }
    assert!((1..IMAGES / 2).contains(&failed.len()), "some fail, but fewer than half: {}", failed.len());
    let events: Api<Event> = Api::namespaced(client, &namespace);
    for case in failed {
        let image = environment.reference(case);
        eventually(&format!("an event reports the failure of {image}"), || async {
            let events = events.list(&ListParams::default()).await.unwrap().items;
            let notes = events.iter().filter(|event| event.reason.as_deref() == Some("MirrorFailed"));
            let mut notes = notes.filter_map(|event| event.note.as_deref()?.split_once(": "));
            notes.any(|(head, cause)| head.contains(&image) && environment.is_cause(case, cause)).then_some(())
        })
        .await;
    }
    assert_eq!(environment.violations(), Vec::<String>::new());
    let log = program.log();
    assert!(!log.contains("panicked") && !log.contains("this is a bug"), "{log}");
}

/// The outcome of an image in the metrics, once there is one.
async fn is_success(program: &Running, environment: &TestEnvironment, case: &Case) -> Option<bool> {
    let metrics = program.metrics().await;
    let (pulled, pushed) = (environment.reference(case), case.destination(&environment.target.host()));
    let count =
        |name: &str, image: &str| metrics.sum(&format!("k8s_copycat_registry_{name}_total"), &[("image", image)]);
    if count("push_success", &pushed) > 0.0 {
        return Some(true);
    }
    let attempted = case.reference(&environment.target.host());
    let failed = count("pull_error", &pulled) + count("push_error", &pushed) + count("push_error", &attempted);
    (failed > 0.0).then_some(false)
}
