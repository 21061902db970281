//! The shipped manifests, on a real API server with only the rights that they grant.

use k8s_openapi::api::{core::v1::Secret, events::v1::Event};
use kube::{Api, api::ListParams};
use serde_json::Value;

use crate::{
    mirroring::{arrives, index, single},
    support::{
        Access, Aws, Cluster, Program, Registry, Running, cron_job, daemon_set, deployment, eventually, job, pod,
        set_pod_status, stateful_set,
    },
};

const MANIFEST: &str = include_str!("../manifests/k8s.yaml");
/// An overlay for EKS.
const EKS: &str = include_str!("../manifests/eks.yaml");

/// The parts of the manifest that a kubelet uses.
struct Shipped {
    namespace: String,
    account: String,
    container: Value,
    config: String,
}

impl Shipped {
    fn read() -> Self {
        let objects = serde_yaml::from_multiple::<Value>(MANIFEST).unwrap();
        let of_kind = |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let controller = of_kind("Deployment");
        let pod = &controller["spec"]["template"]["spec"];
        let container = pod["containers"][0].clone();
        let volume = &pod["volumes"].as_array().unwrap().iter().find(|volume| {
            let mounts = container["volumeMounts"].as_array().unwrap();
            mounts.iter().any(|mount| mount["mountPath"] == "/config" && mount["name"] == volume["name"])
        });
        let config = of_kind("ConfigMap");
        assert_eq!(volume.unwrap()["configMap"]["name"], config["metadata"]["name"]);
        Self {
            namespace: text(&controller["metadata"]["namespace"]),
            account: text(&pod["serviceAccountName"]),
            container,
            config: text(&config["data"]["config.yaml"]),
        }
    }

    /// Starts the program as in the Pod, except for the paths of files and its addresses.
    async fn start(&self, cluster: &Cluster, config: &str) -> Running {
        let list = |key: &str| self.container[key].as_array().cloned().unwrap_or_default();
        let mut program = Program::new(&[]).config(config).env("POD_NAMESPACE", &self.namespace);
        for argument in list("args") {
            program = program.arg(argument.as_str().unwrap());
        }
        for variable in list("env") {
            program = program.env(variable["name"].as_str().unwrap(), variable["value"].as_str().unwrap());
        }
        let token = cluster.service_account_token(&self.namespace, &self.account).await;
        let kubeconfig = cluster.kubeconfig(program.directory(), &token);
        let mut running = program.env("KUBECONFIG", kubeconfig).start();
        running.ready().await;
        for probe in ["livenessProbe", "readinessProbe"] {
            let path = self.container[probe]["httpGet"]["path"].as_str().unwrap();
            assert_eq!(running.health(path).await.0, 200, "{probe}");
        }
        running
    }

    /// Asserts that no request of the ServiceAccount was forbidden.
    fn assert_all_allowed(&self, cluster: &Cluster) {
        let audit = cluster.audit(&self.namespace, &self.account);
        let refused: Vec<_> = audit.iter().filter(|event| status(event) == 403).collect();
        assert!(refused.is_empty(), "{refused:#?}");
        for (verb, resource) in
            [("list", "deployments"), ("watch", "pods"), ("watch", "namespaces"), ("update", "leases")]
        {
            let matches = |event: &&Value| event["verb"] == verb && event["objectRef"]["resource"] == resource;
            assert!(audit.iter().any(|event| matches(&event)), "no request to {verb} {resource}");
        }
    }
}

fn status(event: &Value) -> i64 {
    event["responseStatus"]["code"].as_i64().unwrap()
}

async fn events(cluster: &Cluster, reason: &str) -> Vec<Event> {
    let events: Api<Event> = Api::namespaced(cluster.admin(), "test");
    let found = events.list(&ListParams::default()).await.unwrap().items;
    found.into_iter().filter(|event| event.reason.as_deref() == Some(reason)).collect()
}

#[tokio::test]
async fn the_shipped_manifest_grants_sufficient_rights() {
    // A separate cluster, because the names in the manifest are fixed.
    let cluster = Cluster::start().await;
    let client = cluster.admin();
    // A namespace of other workloads.
    cluster.apply("{ apiVersion: v1, kind: Namespace, metadata: { name: test } }").await;
    cluster.apply(MANIFEST).await;
    let shipped = Shipped::read();
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let image = index("shipped");
    let reference = source.push("shop/app", "1", &image).await;
    let owner = job("batch").image(&reference).apply(&client, "test").await;
    for workload in [
        deployment("web").image(&reference),
        stateful_set("db").image(&reference),
        daemon_set("agent").image(&reference),
        cron_job("nightly").image(&reference),
        pod("alone").image(&reference),
        pod("batch-1").image(&reference).owned_by(&owner),
    ] {
        workload.apply(&client, "test").await;
    }
    for name in ["alone", "batch-1"] {
        set_pod_status(&client, "test", name, "Running", &[]).await;
    }

    let program = shipped.start(&cluster, &shipped.config).await;
    program.logged("the images are logged", |log| log.contains("dry pull: would pull")).await;
    let body = program.post("/force-reconcile").await.1;
    assert!(
        body.contains(r#""success":true,"workloadsProcessed":7,"imagesMirrored":7,"#),
        "including its own workload: {body}"
    );
    let log = program.terminate().await.assert_code(0).stdout;
    assert!(log.contains("registry.test.svc.cluster.local:5000/shop/app:1"), "{log}");
    assert_eq!(log.matches("dry pull: would pull").count(), 4, "two at the start, two in the forced pass: {log}");
    assert!(!log.contains("orbidden") && !log.contains("\"status\":403"), "{log}");
    assert_eq!(source.take_requests(), []);
    shipped.assert_all_allowed(&cluster);

    // Edited as its first lines say, for one namespace only, because the program's own image does not exist here.
    let for_real: String = shipped
        .config
        .lines()
        .filter(|line| !["dryRun:", "dryPull:"].iter().any(|key| line.starts_with(key)))
        .map(|line| format!("{}\n", line.replace("registry.test.svc.cluster.local:5000", &target.host())))
        .map(|line| line.replace("includeNamespaces: [\"*\"]", "includeNamespaces: [test]"))
        .collect();
    assert_ne!(for_real, shipped.config);
    let for_real = for_real + "digestPull: true\ncheckNodePlatform: true\n";
    let missing = format!("{}/shop/missing:1", source.host());
    deployment("broken").image(&missing).apply(&client, "test").await;
    let program = shipped.start(&cluster, &for_real).await;
    arrives(&target, "shop/app", "1", &image).await;
    eventually("the workload has an event", || async {
        (events(&cluster, "MirrorFailed").await.len() == 1).then_some(())
    })
    .await;
    let event = &events(&cluster, "MirrorFailed").await[0];
    let regarding = event.regarding.as_ref().unwrap();
    assert_eq!((regarding.kind.as_deref(), regarding.name.as_deref()), (Some("Deployment"), Some("broken")));
    assert!(regarding.uid.is_some() && event.note.as_ref().unwrap().contains(&missing), "{event:?}");

    // The same failure updates the event if it names the same second for the next attempt, which needs another right.
    eventually("the event is updated", || async {
        program.post("/reset-cooldown").await;
        let events = events(&cluster, "MirrorFailed").await;
        events.iter().find_map(|event| event.series.as_ref()).map(|series| assert!(series.count > 1))
    })
    .await;
    source.push("shop/missing", "1", &single("found")).await;
    program.post("/reset-cooldown").await;
    eventually("the success has an event", || async { events(&cluster, "Mirrored").await.first().map(|_| ()) }).await;
    let body = program.post("/force-reconcile").await.1;
    assert!(body.contains(r#""success":true,"workloadsProcessed":7,"imagesMirrored":7,"#), "{body}");
    let log = program.terminate().await.assert_code(0).stdout;
    assert!(log.contains(r#""level":"debug""#), "{log}");
    assert!(!log.contains("orbidden") && !log.contains("\"status\":403"), "{log}");
    shipped.assert_all_allowed(&cluster);
    let audit = cluster.audit(&shipped.namespace, &shipped.account);
    assert!(audit.iter().any(|event| event["verb"] == "list" && event["objectRef"]["resource"] == "nodes"));

    let token = cluster.service_account_token(&shipped.namespace, &shipped.account).await;
    let secrets: Api<Secret> = Api::all(cluster.client(&token));
    assert!(secrets.list(&ListParams::default()).await.is_err(), "no Secret is read");
    eventually("the refusal is in the audit log", || async {
        cluster.audit(&shipped.namespace, &shipped.account).iter().any(|event| status(event) == 403).then_some(())
    })
    .await;
}

/// Documents about the installation.
const TEXTS: [&str; 4] = [
    include_str!("../README.md"),
    include_str!("../docs/install.md"),
    include_str!("../docs/ecr.md"),
    include_str!("../docs/configuration.md"),
];

#[test]
fn the_manifests_contain_only_objects_of_this_program() {
    for text in [MANIFEST, EKS] {
        for object in serde_yaml::from_multiple::<Value>(text).unwrap() {
            let (kind, metadata) = (object["kind"].as_str().unwrap(), &object["metadata"]);
            match kind {
                "Namespace" => assert_eq!(metadata["name"], "k8s-copycat"),
                "ClusterRole" | "ClusterRoleBinding" => {
                    assert!(metadata["name"].as_str().unwrap().starts_with("k8s-copycat-"), "{metadata}");
                }
                _ => assert_eq!(metadata["namespace"], "k8s-copycat", "{kind} {metadata}"),
            }
        }
    }
}

#[test]
fn the_image_placeholder_occurs_once_and_can_not_be_pulled() {
    let image = Shipped::read().container["image"].as_str().unwrap().to_owned();
    // The TLD `.invalid` never resolves (RFC 2606, section 2).
    assert!(image.split('/').next().unwrap().ends_with(".invalid"), "{image}");
    assert_eq!(image.rsplit(':').next(), Some(env!("CARGO_PKG_VERSION")));
    let lines = MANIFEST.lines().chain(EKS.lines()).filter(|line| line.contains(".invalid"));
    assert_eq!(lines.count(), 1);
    let [readme, install, ..] = TEXTS;
    assert!(readme.contains(&image) && install.contains(&image), "the documents say what to replace");
    for text in TEXTS.into_iter().chain([MANIFEST, EKS]) {
        assert!(!text.contains("ghcr.io/matzegebbe"), "the image of another program");
    }
}

#[test]
fn upgrade_and_uninstall_are_documented() {
    let [readme, install, ..] = TEXTS;
    assert!(readme.contains("docs/install.md"));
    for text in ["\n## Upgrade\n", "\n## Uninstall\n", "kubectl delete -f k8s.yaml", "kubectl set image -n k8s-copycat"]
    {
        assert!(install.contains(text), "{text}");
    }
    // Its examples are valid.
    let parts = install.split("```yaml\n").skip(1).map(|part| part.split("```").next().unwrap());
    let objects: Vec<Value> = parts.map(|part| serde_yaml::from_str(part).unwrap()).collect();
    // The first one has values of the chart.
    let [_, overlay, config] = objects.as_slice() else { panic!("{objects:#?}") };
    let image = Shipped::read().container["image"].as_str().unwrap().to_owned();
    assert_eq!(Some(overlay["images"][0]["name"].as_str().unwrap()), image.rsplit_once(':').map(|(name, _)| name));
    let shipped = serde_yaml::from_multiple::<Value>(MANIFEST).unwrap();
    assert!(shipped.iter().any(|object| object["kind"] == "ConfigMap" && object["metadata"] == config["metadata"]));
}

#[tokio::test]
async fn the_eks_manifest_overlays_the_other_and_mirrors_to_ecr() {
    let identity = |object: &Value| {
        let metadata = &object["metadata"];
        [&object["apiVersion"], &object["kind"], &metadata["namespace"], &metadata["name"]].map(ToString::to_string)
    };
    let base: Vec<_> = serde_yaml::from_multiple::<Value>(MANIFEST).unwrap().iter().map(identity).collect();
    let overlay = serde_yaml::from_multiple::<Value>(EKS).unwrap();
    assert!(overlay.iter().all(|object| base.contains(&identity(object))), "each object replaces an existing one");
    let aws = Aws::start().await;
    let config = overlay.iter().find_map(|object| object["data"]["config.yaml"].as_str()).unwrap();
    assert!(config.contains("region: eu-central-1"), "{config}");
    let config = config.replace("123456789012", aws.account());
    let source = Registry::distribution(Access::Anonymous).await;
    let image = index("eks");
    let reference = source.push("shop/app", "1", &image).await;
    let manifest = deployment("web").image(&reference).manifest().to_string();
    Program::new(&["sync", "-f", "-"]).aws(&aws).config(&config).stdin(&manifest).run().await.assert_code(0);
    let repository = format!("mirror/{}/shop/app", source.host().replace(':', "-"));
    aws.registry(aws.account(), "eu-central-1").await.assert_has(&repository, "1", &image).await;
}

/// Rights that a namespace administrator can grant.
const ROLE: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: { name: copycat, namespace: NAMESPACE }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: { name: copycat, namespace: NAMESPACE }
rules:
  - { apiGroups: ['', apps, batch], resources: ['*'], verbs: [get, list, watch] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: { name: copycat, namespace: NAMESPACE }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: Role, name: copycat }
subjects:
  - { kind: ServiceAccount, name: copycat, namespace: NAMESPACE }
";

#[tokio::test]
async fn a_role_in_each_included_namespace_is_sufficient() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    cluster.apply(&ROLE.replace("NAMESPACE", &namespace)).await;
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let image = single("alone");
    let reference = source.push("team/alone", "1", &image).await;
    deployment("app").image(&reference).apply(&cluster.admin(), &namespace).await;
    let directory = tempfile::tempdir().unwrap();
    let token = cluster.service_account_token(&namespace, "copycat").await;
    let program = Program::controller(&cluster.kubeconfig(directory.path(), &token))
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", target.host())
        .env("INCLUDE_NAMESPACES", &namespace);
    let mut program = program.start();
    program.ready().await;
    arrives(&target, "team/alone", "1", &image).await;
    program.terminate().await.assert_code(0);
    let audit = cluster.audit(&namespace, "copycat");
    let refused = audit.iter().filter(|event| status(event) == 403);
    let refused: Vec<_> = refused.map(|event| event["objectRef"]["resource"].as_str().unwrap()).collect();
    assert!(refused.is_empty(), "{refused:?}");
}
