//! The chart on a real node: installed, upgraded and uninstalled with Helm, in a namespace that enforces Pod Security
//! `restricted`; the program does its work with the chart's permissions alone.

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        authorization::v1::{NonResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec},
        core::v1::Pod,
        events::v1::Event,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
};
use serde_json::{Value, json};

use super::{
    helm::{Helm, chart},
    node::{Node, REGISTRY, in_own_network, run},
};
use crate::support::{Cluster, Program, deployment, eventually};

const NAMESPACE: &str = "k8s-copycat";

/// Helm's arguments with the values of all installations here.
fn arguments(command: &str, values: &[&str]) -> Vec<String> {
    let chart = chart().display().to_string();
    let registry = format!("docker: {{ registry: '{REGISTRY}/mirror', insecure: true }}");
    let config: Value =
        serde_yaml::from_str(&format!("targetKind: docker\n{registry}\ninsecureRegistries: ['{REGISTRY}']\n")).unwrap();
    let fixed = [
        command,
        NAMESPACE,
        &chart,
        "--namespace",
        NAMESPACE,
        "--wait",
        "--timeout",
        "3m",
        "--set",
        &format!("image.repository={REGISTRY}/k8s-copycat"),
        "--set-string",
        "image.tag=1",
        "--set-json",
        &format!("config={config}"),
    ];
    fixed.iter().chain(values).map(|argument| (*argument).to_owned()).collect()
}

fn helm(node: &Node, command: &str, values: &[&str]) -> String {
    let arguments = arguments(command, values);
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    Helm::for_cluster(&node.kubeconfig()).run(&arguments).unwrap_or_else(|error| panic!("{command}: {error}"))
}

fn uninstall(node: &Node) {
    let helm = Helm::for_cluster(&node.kubeconfig());
    helm.run(&["uninstall", NAMESPACE, "--namespace", NAMESPACE, "--wait"]).unwrap();
}

async fn make_namespaces(cluster: &Cluster) {
    for (name, enforced) in [(NAMESPACE, "restricted"), ("team-a", "privileged"), ("team-b", "privileged")] {
        let labels = json!({ "pod-security.kubernetes.io/enforce": enforced });
        let namespace =
            json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } });
        cluster.apply(&namespace.to_string()).await;
    }
}

/// A workload with an image of the node's registry.
async fn deploy(client: &Client, namespace: &str, name: &str, image: &str) {
    deployment(name).image(&format!("{REGISTRY}/{image}")).apply(client, namespace).await;
}

/// Waits until the registry has this image, and compares its digest.
async fn is_mirrored(image: &str, source: &str) {
    let digest = |image: &str| {
        let output = std::process::Command::new(crate::support::program("crane"))
            .args(["digest", "--insecure", &format!("{REGISTRY}/{image}")])
            .output()
            .unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    let mirrored = eventually(&format!("{image} is mirrored"), || async { digest(image) }).await;
    assert_eq!(Some(mirrored), digest(source));
}

/// Tags the image of the workloads.
fn tag(image: &str) {
    run("crane", &["copy", "--insecure", &format!("{REGISTRY}/team/app:1"), &format!("{REGISTRY}/{image}")]);
}

/// The Pods of the release that are not ending.
async fn pods(client: &Client) -> Vec<Pod> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), NAMESPACE);
    let selector = ListParams::default().labels("app.kubernetes.io/instance=k8s-copycat");
    let found = pods.list(&selector).await.unwrap().items;
    found.into_iter().filter(|pod| pod.metadata.deletion_timestamp.is_none()).collect()
}

/// A request to the first Pod of the release.
async fn request(client: &Client, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
    let address = pods(client).await[0].status.as_ref().unwrap().pod_ip.clone().unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    http.request(method, format!("http://{address}:8080{path}"))
}

async fn get(client: &Client, path: &str) -> String {
    let answer = request(client, reqwest::Method::GET, path).await.send().await.unwrap();
    answer.error_for_status().unwrap().text().await.unwrap()
}

/// Asserts that the API server allowed every request of the program, these among them.
fn assert_all_allowed(cluster: &Cluster, requests: &[(&str, &str)]) {
    let audit = cluster.audit(NAMESPACE, NAMESPACE);
    let refused: Vec<_> = audit.iter().filter(|event| event["responseStatus"]["code"] == 403).collect();
    assert!(refused.is_empty(), "{refused:#?}");
    for (verb, resource) in requests {
        let matches = |event: &&Value| event["verb"] == *verb && event["objectRef"]["resource"] == *resource;
        assert!(audit.iter().any(|event| matches(&event)), "no request to {verb} {resource}");
    }
}

async fn left(client: &Client) -> Vec<String> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), NAMESPACE);
    let found = deployments.list(&ListParams::default()).await.unwrap();
    let deployments = found.items.into_iter().map(|object| object.metadata.name.unwrap());
    let pods = pods(client).await.into_iter().map(|pod| pod.metadata.name.unwrap());
    deployments.chain(pods).collect()
}

#[test]
fn the_chart_mirrors_two_namespaces_under_restricted_pod_security_without_a_refused_request() {
    in_own_network(|| async {
        let node = Node::start().await;
        let client = node.cluster.admin();
        make_namespaces(&node.cluster).await;
        deploy(&client, "team-a", "app", "team/app:1").await;
        let logins = |password: &str| {
            let metadata = json!({ "name": "mirror-login", "namespace": NAMESPACE });
            let data = json!({ "username": "mirror", "password": password });
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data }).to_string()
        };
        node.cluster.apply(&logins("first")).await;
        let scoped = ["--set", "scopedNamespaces={team-a,team-b}", "--set", "existingSecret=mirror-login"];
        let notes = helm(&node, "install", &scoped);
        assert!(notes.contains("mirrors the images of the namespaces team-a, team-b"), "{notes}");
        is_mirrored("mirror/team/app:1", "team/app:1").await;
        let metrics = get(&client, "/metrics").await;
        assert!(metrics.contains("k8s_copycat_destinations{state=\"mirrored\"} 1"), "{metrics}");

        // A failure is an event of its workload.
        deploy(&client, "team-b", "broken", "team/missing:1").await;
        let events: Api<Event> = Api::namespaced(client.clone(), "team-b");
        eventually("the failure has an event", || async {
            let found = events.list(&ListParams::default()).await.unwrap().items;
            found.iter().any(|event| event.reason.as_deref() == Some("MirrorFailed")).then_some(())
        })
        .await;

        // A changed login, and a setting that the running program applies: the Pod stays.
        let before = pods(&client).await;
        node.cluster.apply(&logins("second")).await;
        eventually("the new login is applied", || async {
            let metrics = get(&client, "/metrics").await;
            metrics.contains("k8s_copycat_config_reloads_total{result=\"applied\"} 1").then_some(())
        })
        .await;
        helm(&node, "upgrade", &[&scoped[..], &["--set", "config.docker.repoPrefix=again"]].concat());
        is_mirrored("mirror/again/team/app:1", "team/app:1").await;
        let names = |pods: &[Pod]| pods.iter().map(|pod| pod.metadata.name.clone().unwrap()).collect::<Vec<_>>();
        assert_eq!(names(&pods(&client).await), names(&before));

        // One that needs a restart, and a standby.
        helm(&node, "upgrade", &[&scoped[..], &["--set", "config.logLevel=debug,replicaCount=2"]].concat());
        let after = names(&pods(&client).await);
        assert!(after.len() == 2 && !after.contains(&names(&before)[0]), "{after:?}");
        tag("team/app:2");
        deploy(&client, "team-b", "second", "team/app:2").await;
        is_mirrored("mirror/team/app:2", "team/app:1").await;
        // Through the API server, whichever replica the Service chooses: a standby names the leader.
        for _ in 0..4 {
            let status = eventually("the status", || async {
                let finished = Program::new(&["status"]).env("KUBECONFIG", node.kubeconfig()).run().await;
                (finished.code == Some(1)).then_some(finished.stdout)
            })
            .await;
            for text in
                ["2 of 3 images mirrored", "1 missing", "leader k8s-copycat-", "used by deployment team-b/broken"]
            {
                assert!(status.contains(text), "{text}: {status}");
            }
        }

        assert_all_allowed(
            &node.cluster,
            &[
                ("list", "deployments"),
                ("watch", "pods"),
                ("list", "cronjobs"),
                ("create", "events"),
                ("create", "leases"),
                ("update", "leases"),
            ],
        );
        uninstall(&node);
        eventually("nothing is left", || async { left(&client).await.is_empty().then_some(()) }).await;
    });
}

/// Whether a ServiceAccount may do this.
async fn may(cluster: &Cluster, account: &str, verb: &str, path: &str) -> bool {
    let token = cluster.service_account_token(NAMESPACE, account).await;
    let attributes = NonResourceAttributes { path: Some(path.to_owned()), verb: Some(verb.to_owned()) };
    let spec = SelfSubjectAccessReviewSpec {
        non_resource_attributes: Some(attributes),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let review = SelfSubjectAccessReview { spec, metadata: ObjectMeta::default(), status: None };
    let api = Api::<SelfSubjectAccessReview>::all(cluster.client(&token));
    api.create(&PostParams::default(), &review).await.unwrap().status.unwrap().allowed
}

#[test]
fn the_chart_mirrors_the_whole_cluster_and_lets_only_bound_callers_act() {
    in_own_network(|| async {
        let node = Node::start().await;
        let client = node.cluster.admin();
        make_namespaces(&node.cluster).await;
        for account in ["caller", "stranger"] {
            let metadata = json!({ "name": account, "namespace": NAMESPACE });
            node.cluster
                .apply(&json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata }).to_string())
                .await;
        }
        deploy(&client, "team-a", "app", "team/app:1").await;
        let subject = json!([{ "kind": "ServiceAccount", "name": "caller", "namespace": NAMESPACE }]);
        let notes = helm(
            &node,
            "install",
            &[
                "--set-json",
                &format!("rbac.operationsSubjects={subject}"),
                "--set",
                "config.digestPull=true,config.checkNodePlatform=true",
            ],
        );
        assert!(notes.contains("need") && notes.contains("k8s-copycat-operations"), "{notes}");
        is_mirrored("mirror/team/app:1", "team/app:1").await;
        // Its own image is one of the cluster's.
        is_mirrored("mirror/k8s-copycat:1", "k8s-copycat:1").await;
        assert_all_allowed(&node.cluster, &[("list", "namespaces"), ("list", "nodes"), ("update", "leases")]);
        for path in ["/force-reconcile", "/reset-cooldown"] {
            assert!(may(&node.cluster, "caller", "post", path).await, "{path}");
            assert!(!may(&node.cluster, "stranger", "post", path).await, "{path}");
            let post = request(&client, reqwest::Method::POST, path).await;
            assert_eq!(post.try_clone().unwrap().send().await.unwrap().status(), 401, "{path}");
            for (account, expected) in [("stranger", 403), ("caller", 200)] {
                let token = node.cluster.service_account_token(NAMESPACE, account).await;
                let answer = post.try_clone().unwrap().bearer_auth(token).send().await.unwrap();
                assert_eq!(answer.status(), expected, "{account} {path}");
            }
        }
        assert_all_allowed(&node.cluster, &[("create", "tokenreviews"), ("create", "subjectaccessreviews")]);
        uninstall(&node);
        eventually("nothing is left", || async { left(&client).await.is_empty().then_some(()) }).await;
        assert!(!may(&node.cluster, "caller", "post", "/force-reconcile").await);
    });
}
