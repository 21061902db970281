//! `/status` tells what is at the targets, what happens now, and why.

use std::time::Duration;

use k8s_openapi::api::core::v1::Event;
use kube::{Api, Client, api::ListParams};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    mirroring::single,
    support::{Access, Cluster, Fault, Program, Registry, Request, Running, deployment, eventually},
};

struct Setup<'a> {
    cluster: &'a Cluster,
    namespace: String,
    source: Registry,
    target: Registry,
}

impl<'a> Setup<'a> {
    async fn new(cluster: &'a Cluster) -> Self {
        let namespace = cluster.namespace().await;
        let source = Registry::distribution(Access::Anonymous).await;
        Self { cluster, namespace, source, target: Registry::crane().await }
    }

    async fn deploy(&self, name: &str) {
        let reference = self.source.push(&format!("team/{name}"), "1", &single(name)).await;
        deployment(name).image(&reference).apply(&self.cluster.admin(), &self.namespace).await;
    }

    /// An image that the source does not have.
    async fn deploy_without_source(&self, name: &str) {
        let reference = format!("{}/team/{name}:1", self.source.host());
        deployment(name).image(&reference).apply(&self.cluster.admin(), &self.namespace).await;
    }

    fn program(&self) -> Program {
        let program = Program::new(&[]);
        let kubeconfig = self.cluster.kubeconfig(program.directory(), self.cluster.admin_token());
        program
            .env("KUBECONFIG", kubeconfig)
            .env("TARGET_KIND", "docker")
            .env("TARGET_REGISTRY", self.target.host())
            .env("INCLUDE_NAMESPACES", &self.namespace)
            .env("WATCH_RESOURCES", "deployments")
    }

    async fn start(&self, config: &str) -> Running {
        let mut running = self.program().config(&format!("registryRetryAttempts: 1\n{config}")).start();
        running.ready().await;
        running
    }

    /// A replica as in a Pod of this name.
    async fn replica(&self, pod: &str) -> Running {
        let mut running = self.program().env("POD_NAMESPACE", &self.namespace).env("HOSTNAME", pod).start();
        running.ready().await;
        running
    }
}

pub async fn status(program: &Running, query: &str) -> Value {
    let (code, body) = program.get(&format!("/status?{query}")).await;
    assert_eq!(code, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// The events of a workload, as `REASON: NOTE`.
async fn events_of(client: &Client, namespace: &str, workload: &str) -> Vec<String> {
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    let events = events.list(&ListParams::default()).await.unwrap().items.into_iter();
    let of_workload = events.filter(|event| event.involved_object.name.as_deref() == Some(workload));
    of_workload.map(|event| format!("{}: {}", event.reason.unwrap(), event.message.unwrap())).collect()
}

/// Waits until the summary has this many images in each state, and in no other.
async fn has_states(program: &Running, expected: &[(&str, u64)]) -> Value {
    eventually(&format!("{expected:?}"), || async {
        let status = status(program, "").await;
        let states = status["summary"]["images"].as_object().unwrap();
        let found = |state: &str| expected.iter().find(|(name, _)| *name == state).map_or(0, |(_, count)| *count);
        states.iter().all(|(state, count)| count.as_u64() == Some(found(state))).then_some(status)
    })
    .await
}

#[tokio::test]
async fn images_at_the_target_are_unverified_while_their_source_fails() {
    let setup = Setup::new(Cluster::shared().await).await;
    for name in ["a", "b", "c", "d", "e"] {
        setup.deploy(name).await;
    }
    let program = setup.start("").await;
    has_states(&program, &[("mirrored", 5)]).await;
    assert_eq!(program.metrics().await.sum("k8s_copycat_oldest_not_mirrored_timestamp_seconds", &[]), 0.0);

    setup.source.inject(100_000, |_: &Request| true, Fault::Answer(503, vec![]));
    program.post("/force-reconcile").await;
    let all = has_states(&program, &[("unverified", 5)]).await;
    let metrics = program.metrics().await;
    assert_eq!(metrics.sum("k8s_copycat_destinations", &[("state", "unverified")]), 5.0);
    assert_eq!(metrics.sum("k8s_copycat_images", &[("state", "failed")]), 5.0);
    assert_eq!(metrics.sum("k8s_copycat_oldest_not_mirrored_timestamp_seconds", &[]), 0.0, "all are at the target");
    assert!(metrics.sum("k8s_copycat_registry_requests_total", &[("status", "503")]) >= 3.0);
    let image = &all["images"][0];
    assert!(image["digestAtTarget"].as_str().unwrap().starts_with("sha256:"), "{image}");
    assert_eq!((&image["activity"], image["workloadCount"].as_u64()), (&"cooldown".into(), Some(1)), "{image}");
    assert!(image["nextTry"].is_string() && image["failingSince"].is_string() && image["reason"].is_string());
    let registries = all["registries"].as_array().unwrap();
    let source = registries.iter().find(|registry| registry["registry"] == setup.source.host()).unwrap();
    assert!(source["failed"].as_u64() >= Some(3) && source["lastFailure"]["status"] == 503, "{source}");
    let notes = eventually("an event", || async {
        let events = events_of(&setup.cluster.admin(), &setup.namespace, "a").await;
        (!events.is_empty()).then_some(events)
    })
    .await;
    assert!(notes.iter().all(|event| event.starts_with("MirrorUnverified: Image ")), "{notes:?}");
    program.terminate().await;

    // After a restart nothing is known but what the target has; and not each image waits for its source to be tried.
    let program = setup.start("").await;
    has_states(&program, &[("unverified", 5)]).await;
    setup.deploy_without_source("f").await;
    has_states(&program, &[("unverified", 5), ("missing", 1)]).await;
    assert!(program.metrics().await.sum("k8s_copycat_oldest_not_mirrored_timestamp_seconds", &[]) > 1.7e9);
    setup.source.clear_faults();
    program.post("/reset-cooldown").await;
    has_states(&program, &[("mirrored", 5), ("missing", 1)]).await;
}

#[tokio::test]
async fn a_tag_that_moved_but_was_not_copied_is_stale() {
    let setup = Setup::new(Cluster::shared().await).await;
    setup.deploy("app").await;
    let program = setup.start("allowDifferentDigestRepush: false").await;
    has_states(&program, &[("mirrored", 1)]).await;
    let new = single("new");
    setup.source.push("team/app", "1", &new).await;
    program.post("/force-reconcile").await;
    let stale = has_states(&program, &[("stale", 1)]).await;
    let image = &stale["images"][0];
    assert_eq!(image["digestAtSource"], new.digest().to_string());
    assert_ne!(image["digestAtTarget"], image["digestAtSource"]);
    assert!(stale["summary"]["oldestNotMirrored"].is_string() && stale["summary"]["passes"]["last"]["failures"] == 1);
    eventually("an event", || async {
        let events = events_of(&setup.cluster.admin(), &setup.namespace, "app").await;
        events.iter().any(|event| event.starts_with("MirrorStale: ")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_copied_now_skipped_undecided_or_in_conflict_is_told() {
    // Its own: a malformed image is undecided in the whole cluster.
    let cluster = Cluster::start().await;
    let setup = Setup::new(&cluster).await;
    let other = Registry::distribution(Access::Anonymous).await;
    let (admin, namespace) = (setup.cluster.admin(), &setup.namespace);
    setup.deploy("first").await;
    let program = setup.start("skipNames: { deployments: [agent] }").await;
    has_states(&program, &[("mirrored", 1)]).await;

    setup.deploy("agent").await;
    deployment("broken").image("Not An Image").apply(&admin, namespace).await;
    let rival = other.push("team/first", "1", &single("rival")).await;
    deployment("rival").image(&rival).apply(&admin, namespace).await;
    let status_now = has_states(&program, &[("mirrored", 1), ("conflict", 1)]).await;
    assert!(status_now["images"][0]["owner"].as_str().unwrap().contains(&format!("deployment {namespace}/first")));
    eventually("undecided and skipped", || async {
        let status = status(&program, "state=undecided,skipped").await;
        let states: Vec<&str> =
            status["images"].as_array()?.iter().filter_map(|image| image["state"].as_str()).collect();
        (states == ["undecided", "skipped"]).then_some(())
    })
    .await;
    let by_workload = status(&program, &format!("workload={namespace}/broken")).await;
    assert_eq!(by_workload["page"]["total"], 1);
    assert!(by_workload["images"][0]["reason"].as_str().unwrap().contains("reference"), "{by_workload}");

    setup.source.inject(1, |request: &Request| request.method == "GET" && request.is_blob(), Fault::Stall);
    setup.deploy("slow").await;
    let copying = eventually("progress", || async {
        let status = status(&program, "state=copying").await;
        status["images"][0]["progress"].is_object().then(|| status["images"][0].clone())
    })
    .await;
    assert!(copying["progress"]["totalBytes"].as_u64() > Some(0), "{copying}");
    assert_eq!(copying["workloads"][0]["name"], "slow");

    let (code, body) = program.get("/status?state=down").await;
    assert!(code == 400 && body.contains("unknown state \\\"down\\\""), "{body}");
}

#[tokio::test]
async fn a_standby_names_the_leader() {
    let setup = Setup::new(Cluster::shared().await).await;
    setup.deploy("app").await;
    let leader = setup.replica("first").await;
    let of_leader = has_states(&leader, &[("mirrored", 1)]).await;
    assert_eq!((&of_leader["leader"]["isLeader"], &of_leader["phase"]), (&true.into(), &"mirroring".into()));
    let standby = setup.replica("second").await;
    let of_standby = eventually("the leader's name", || async {
        let status = tokio::time::timeout(Duration::from_secs(5), status(&standby, "")).await.ok()?;
        status["leader"]["identity"].is_string().then_some(status)
    })
    .await;
    assert_eq!(of_standby["leader"]["identity"], of_leader["leader"]["identity"]);
    assert!(of_standby["leader"]["identity"].as_str().unwrap().starts_with("first_"));
    assert_eq!((&of_standby["leader"]["isLeader"], &of_standby["phase"]), (&false.into(), &"standby".into()));
    assert_eq!(of_standby["images"], serde_json::json!([]));
}

fn status_command(arguments: &[&str]) -> Program {
    Program::new(&["status"]).args(arguments)
}

#[tokio::test]
async fn the_command_shows_what_is_not_mirrored_and_why() {
    let setup = Setup::new(Cluster::shared().await).await;
    setup.deploy("app").await;
    let program = setup.start("").await;
    has_states(&program, &[("mirrored", 1)]).await;
    let url = program.url();
    let healthy = status_command(&["--url", &url]).run().await.assert_code(0);
    assert!(
        healthy.stdout.contains("1 of 1 images mirrored, for 1 workloads\nnow: nothing to do;"),
        "{}",
        healthy.stdout
    );
    assert!(!healthy.stdout.contains("STATE"), "{}", healthy.stdout);
    let all = status_command(&["--url", &url, "--all"]).run().await.assert_code(0);
    assert!(all.stdout.contains("\nmirrored  -"), "{}", all.stdout);

    setup.deploy_without_source("lost").await;
    has_states(&program, &[("mirrored", 1), ("missing", 1)]).await;
    let broken = status_command(&["--url", &url]).run().await.assert_code(1);
    for text in
        ["1 of 2 images mirrored", "1 missing", "not found", "next attempt at 20", "used by deployment ", "/lost\n"]
    {
        assert!(broken.stdout.contains(text), "{text}: {}", broken.stdout);
    }
    let json = status_command(&["--url", &url, "-o", "json", "--text", "LOST"]).run().await.assert_code(1);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["kind"], json["images"].as_array().unwrap().len()), (&"Status".into(), 1));

    let wrong = status_command(&["--url", &url, "--state", "down"]).run().await.assert_code(2);
    assert!(wrong.stderr.contains("unknown state \"down\": the states are"), "{}", wrong.stderr);
    let silent = status_command(&["--url", "http://127.0.0.1:9"]).run().await.assert_code(2);
    assert!(silent.stderr.contains("cannot read the status of http://127.0.0.1:9: "), "{}", silent.stderr);
}

#[tokio::test]
async fn the_command_asks_the_service_through_the_api_server() {
    let cluster = Cluster::shared().await;
    let namespace = &cluster.namespace().await;
    cluster
        .apply(&format!(
            "
apiVersion: v1
kind: Service
metadata: {{ name: copycat, namespace: {namespace} }}
spec: {{ ports: [{{ name: metrics, port: 8080 }}] }}
---
apiVersion: v1
kind: ServiceAccount
metadata: {{ name: nobody, namespace: {namespace} }}
"
        ))
        .await;
    let command = |service: &'static str, token: String| async move {
        let program = status_command(&["--install-namespace", namespace, "--service", service]);
        let kubeconfig = cluster.kubeconfig(program.directory(), &token);
        program.env("KUBECONFIG", kubeconfig).run().await.assert_code(2).stderr
    };
    let nobody = cluster.service_account_token(namespace, "nobody").await;
    for (service, token, place, remedy) in [
        ("copycat", cluster.admin_token().to_owned(), "copycat", "no Pod of it is ready"),
        ("other", cluster.admin_token().to_owned(), "other", "name it with --install-namespace and --service"),
        ("copycat", nobody, "copycat", "grant get on services/proxy in namespace"),
    ] {
        let error = command(service, token).await;
        let place = format!("cannot read the status of Service {namespace}/{place}: ");
        assert!(error.starts_with(&place) && error.contains(remedy), "{error}");
    }
}

/// An HTTP server that answers everything with this status and body.
async fn answering(status: &'static str, body: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = connection.read(&mut request).await;
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = connection.write_all(format!("{head}{body}").as_bytes()).await;
        }
    });
    url
}

#[tokio::test]
async fn the_command_ends_with_2_if_there_is_nothing_to_ask_or_something_else_answers() {
    let nothing = status_command(&[]).unset("KUBECONFIG").run().await.assert_code(2);
    assert!(nothing.stderr.contains("no cluster configuration found; set --kubeconfig"), "{}", nothing.stderr);
    assert_eq!(nothing.stderr.matches("No such file").count(), 1, "the cause is told once: {}", nothing.stderr);
    let missing = answering("404 Not Found", "").await;
    let missing = status_command(&["--url", &missing]).run().await.assert_code(2);
    assert!(
        missing.stderr.contains("the answer has status 404 and no message; name the program's"),
        "{}",
        missing.stderr
    );
    let tls = answering("200 OK", "").await.replace("http:", "https:");
    let tls = status_command(&["--url", &tls]).run().await.assert_code(2);
    assert!(tls.stderr.contains("the program itself serves plain HTTP"), "{}", tls.stderr);
    let other = answering("200 OK", "<html>").await;
    let other = status_command(&["--url", &other]).run().await.assert_code(2);
    assert!(other.stderr.contains("the answer is not the status of k8s-copycat"), "{}", other.stderr);
    // What a server writes does not reach the terminal as it is.
    let hostile = answering("500 Internal Server Error", "\u{1b}[31mred").await;
    let hostile = status_command(&["--url", &hostile]).run().await.assert_code(2);
    assert!(!hostile.stderr.contains('\u{1b}') && hostile.stderr.contains("red"), "{:?}", hostile.stderr);
}
