//! Compatibility with the original: environment, configuration file, flags, listeners and endpoints.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

use crate::{
    mirroring::{arrives, index, single},
    support::{
        Access, Cluster, Fault, PASSWORD, Program, Registry, Running, USER, cron_job, deployment, eventually,
        free_port, pod, set_pod_status, stateful_set,
    },
};

/// Two free addresses.
fn addresses() -> [String; 2] {
    [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"))
}

fn kubeconfig(cluster: &Cluster, program: &Program) -> std::path::PathBuf {
    cluster.kubeconfig(program.directory(), cluster.admin_token())
}

/// Starts the controller for one namespace, with more lines in its configuration file.
async fn controller(cluster: &Cluster, namespace: &str, target: &Registry, more: &str) -> Running {
    let program = Program::new(&["-leader-elect=false"]);
    let program = program.env("TARGET_KIND", "docker").env("TARGET_REGISTRY", target.host());
    let kubeconfig = kubeconfig(cluster, &program);
    let config = format!("includeNamespaces: [{namespace}]\n{more}");
    let mut running = program.env("KUBECONFIG", kubeconfig).config(&config).start();
    running.ready().await;
    running
}

async fn response_body(program: &Running, method: Method, path: &str) -> String {
    program.request(method, path).await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn it_starts_with_the_originals_environment_and_flags() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::distribution(Access::Basic).await;
    let image = index("web");
    let reference = source.push("shop/web", "1", &image).await;
    for name in ["web", "copycat"] {
        deployment(name).image(&reference).apply(&client, &namespace).await;
    }
    stateful_set("redis").image(&reference).apply(&client, &namespace).await;
    cron_job("unwatched").image(&reference).apply(&client, &namespace).await;

    let [metrics, health] = addresses();
    let program = Program::new(&[
        "-leader-elect=false",
        "-zap-log-level=debug",
        "-zap-encoder=json",
        "-zap-devel=false",
        "-zap-stacktrace-level=error",
        "-zap-time-encoding=rfc3339nano",
    ]);
    let kubeconfig = kubeconfig(cluster, &program);
    let mut program = program
        .arg("-kubeconfig")
        .arg(kubeconfig)
        .arg(format!("-health-probe-bind-address={health}"))
        .env("METRICS_ADDR", &metrics)
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", target.host())
        .env("TARGET_REPO_PREFIX", "backup/$namespace/$podname")
        .env("TARGET_USERNAME", USER)
        .env("TARGET_PASSWORD", PASSWORD)
        .env("TARGET_INSECURE", "true")
        .env("ECR_ACCOUNT_ID", "")
        .env("ECR_CREATE_REPO", "true")
        .env("AWS_REGION", "eu-central-1")
        .env("INCLUDE_NAMESPACES", &namespace)
        .env("SKIP_NAMESPACES", "kube-system,copycat")
        .env("SKIP_DEPLOYMENTS", "copycat")
        .env("SKIP_STATEFULSETS", format!("{namespace}/redis"))
        .env("SKIP_DAEMONSETS", "node-agent")
        .env("SKIP_JOBS", "backup")
        .env("SKIP_CRONJOBS", "nightly")
        .env("SKIP_PODS", "custom-pod")
        .env("WATCH_RESOURCES", "deployments,StatefulSets, pods")
        .env("REGISTRY_REQUEST_TIMEOUT", "120")
        .env("FAILURE_COOLDOWN_MINUTES", "1440")
        .env("FORCE_RECONCILE_MINUTES", "30")
        .env("MAX_CONCURRENT_RECONCILES", "3")
        .env("DIGEST_PULL", "true")
        .env("ALLOW_DIFFERENT_DIGEST_REPUSH", "true")
        .env("DRY_RUN", "false")
        .env("DRY_PULL", "0")
        .start_at(metrics, health);
    program.ready().await;
    arrives(&target, &format!("backup/{namespace}/web/shop/web"), "1", &image).await;
    let body = response_body(&program, Method::POST, "/force-reconcile").await;
    assert_eq!(
        body,
        "{\"triggered\":true,\"success\":true,\"workloadsProcessed\":1,\"imagesMirrored\":1,\
         \"message\":\"force reconcile completed\"}\n"
    );
    assert_eq!(program.health("/healthz").await, (200, "ok".to_owned()));
    let pushed = format!("{}/backup/{namespace}/web/shop/web:1", target.host());
    let metrics = program.metrics().await;
    assert_eq!(metrics.sum("k8s_copycat_registry_push_success_total", &[("image", &pushed)]), 1.0, "{metrics:?}");
    assert_eq!(metrics.sum("k8s_copycat_registry_pull_success_total", &[("image", &reference)]), 1.0);
    assert!(metrics.sum("process_cpu_seconds_total", &[]) >= 0.0 && metrics.0.contains("\nprocess_cpu_seconds_total "));

    let finished = program.terminate().await.assert_code(0);
    assert_eq!(finished.stderr, "", "the whole log is on standard output");
    let lines: Vec<Value> = finished.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for (line, text) in lines.iter().zip(finished.stdout.lines()) {
        assert!(text.starts_with("{\"level\":\"") && line["ts"].is_string() && line["msg"].is_string(), "{text}");
        assert!(line["logger"].is_string(), "{text}");
    }
    let copied = lines.iter().find(|line| line["msg"] == "copied").unwrap();
    assert_eq!(
        (&copied["level"], &copied["namespace"], &copied["pod"]),
        (&"info".into(), &namespace.into(), &"web".into())
    );
    assert_eq!((&copied["target"], &copied["source"]), (&pushed.into(), &reference.into()));
    assert!(lines.iter().any(|line| line["level"] == "debug"), "{}", finished.stdout);
}

#[tokio::test]
async fn it_starts_with_the_originals_configuration_file() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Basic).await;
    let target = Registry::crane().await;
    let image = single("moved");
    let legacy = source.push("legacy/app", "1", &image).await;
    let project = source.push("group/project/app", "1", &image).await;
    deployment("web").image(&legacy).image(&project).apply(&client, &namespace).await;
    deployment("copycat").image(&source.push("team/own", "1", &image).await).apply(&client, &namespace).await;

    let file = format!(
        r#"
targetKind: docker
logLevel: debug
dryRun: false
dryPull: no
digestPull: true
allowDifferentDigestRepush: false
includeNamespaces: ["{namespace}"]
watchResources:
  - deployments
  - statefulsets
  - daemonsets
  - jobs
  - cronjobs
  - pods
skipNamespaces: []
skipNames:
  deployments: ["copycat"]
  statefulSets: []
  daemonSets:
  jobs: [backup]
  cronJobs: [nightly]
  pods: []
maxConcurrentReconciles: 2
requestTimeout: 120
failureCooldownMinutes: 60
forceReconcileMinutes: 30
pathMap:
  - from: "group/project"
    to: "prod/project"
  - from: "^legacy/(.*)"
    to: "modern/$1"
    regex: true
registryCredentials:
  - registry: registry-1.docker.io
    usernameEnv: DOCKERHUB_USERNAME
    passwordEnv: DOCKERHUB_PASSWORD
  - registry: ghcr.io
    tokenEnv: GHCR_TOKEN
  - registry: "{}"
    usernameEnv: SOURCE_USERNAME
    passwordEnv: SOURCE_PASSWORD
ecr:
  accountID: "012345678901"
  region: "eu-central-1"
  repoPrefix: "unused"
  createRepo: true
  lifecyclePolicy: |
    {{ "rules": [] }}
docker:
  registry: "{}"
  repoPrefix: "backup"
  insecure: true
"#,
        source.host(),
        target.host()
    );
    let program = Program::new(&["--leader-elect=false"]).config(&file);
    let kubeconfig = kubeconfig(cluster, &program);
    let mut program = program
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .env("DOCKERHUB_USERNAME", "somebody")
        .env("DOCKERHUB_PASSWORD", "else")
        .env("SOURCE_USERNAME", USER)
        .env("SOURCE_PASSWORD", PASSWORD)
        .start();
    program.ready().await;
    arrives(&target, "backup/modern/app", "1", &image).await;
    arrives(&target, "backup/prod/project/app", "1", &image).await;
    let body = response_body(&program, Method::GET, "/force-reconcile").await;
    assert!(body.contains(r#""success":true,"workloadsProcessed":1,"imagesMirrored":2,"#), "{body}");
    let log = program.terminate().await.assert_code(0).stdout;
    assert!(log.contains(r#""level":"debug""#), "{log}");
    assert!(log.contains("registryCredentials[1]"), "a token that is not set is reported: {log}");
    assert!(!log.contains(PASSWORD), "{log}");
}

#[tokio::test]
async fn it_starts_with_the_configuration_of_the_originals_smoke_test() {
    let cluster = Cluster::shared().await;
    let client = cluster.admin();
    cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata: { name: test }\n").await;
    pod("smoke").image("nginx:1.27").apply(&client, "test").await;
    set_pod_status(&client, "test", "smoke", "Running", &[]).await;
    deployment("unwatched").image("redis:7").apply(&client, "test").await;
    let file = r#"
targetKind: docker
logLevel: debug
dryRun: true
dryPull: true
includeNamespaces: ["test"]
watchResources:
  - pods
requestTimeout: 120
docker:
  registry: "registry.test.svc.cluster.local:5000"
  insecure: true
"#;
    let program = Program::new(&["--leader-elect=false"]).config(file);
    let kubeconfig = kubeconfig(cluster, &program);
    let mut program = program.env("KUBECONFIG", kubeconfig).start();
    program.ready().await;
    program.logged("the image is logged", |log| log.contains("dry pull: would pull")).await;
    let body = response_body(&program, Method::POST, "/force-reconcile").await;
    assert!(body.contains(r#""success":true,"workloadsProcessed":1,"imagesMirrored":1,"#), "{body}");
    let log = program.terminate().await.assert_code(0).stdout;
    assert!(log.contains("registry.test.svc.cluster.local:5000/library/nginx:1.27"), "{log}");
    assert!(!log.contains("redis"), "{log}");
}

#[tokio::test]
async fn listeners_use_the_configured_addresses_or_are_disabled() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let target = Registry::crane().await;
    for (with_metrics, with_health) in [(true, false), (false, true)] {
        let [metrics, health] = addresses();
        let program = Program::new(&["run", "--leader-elect=false"]).env("METRICS_ADDR", &metrics);
        let kubeconfig = kubeconfig(cluster, &program);
        let program = if with_metrics { program } else { program.arg("--metrics-bind-address=0") };
        let probes = if with_health { &health } else { "0" };
        let program = program
            .arg(format!("--health-probe-bind-address={probes}"))
            .env("TARGET_KIND", "docker")
            .env("TARGET_REGISTRY", target.host())
            .env("INCLUDE_NAMESPACES", &namespace)
            .env("KUBECONFIG", kubeconfig)
            .start_at(metrics.clone(), health.clone());
        program.logged("it has started", |log| log.contains("all existing workloads are known")).await;
        for (address, listens) in [(metrics, with_metrics), (health, with_health)] {
            let connected = tokio::net::TcpStream::connect(&address).await;
            assert_eq!(connected.is_ok(), listens, "{address}: {}", program.log());
        }
        let log = program.terminate().await.assert_code(0).stdout;
        assert_eq!(log.matches(r#""msg":"listening""#).count(), 1, "{log}");
        assert!(!log.contains(r#""level":"debug""#), "the default level is info: {log}");
    }
}

#[tokio::test]
async fn endpoints_answer_like_the_originals() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let missing = format!("{}/team/missing:1", source.host());
    deployment("app").image(&missing).apply(&client, &namespace).await;
    for (more, reset) in [
        ("failureCooldownMinutes: 60", r#"{"reset":true,"clearedTargets":1,"message":"failure cooldown reset"}"#),
        ("failureCooldownMinutes: 0", r#"{"reset":false,"clearedTargets":0,"message":"failure cooldown disabled"}"#),
    ] {
        let program = controller(cluster, &namespace, &target, more).await;
        let body = response_body(&program, Method::GET, "/force-reconcile").await;
        let answer: Value = serde_json::from_str(&body).unwrap();
        let prefix = format!("force reconcile failed: deployment {namespace}/app: ");
        assert!(answer["message"].as_str().unwrap().starts_with(&prefix), "{body}");
        assert_eq!((&answer["triggered"], &answer["success"]), (&true.into(), &false.into()));
        assert_eq!((&answer["workloadsProcessed"], &answer["imagesMirrored"]), (&1.into(), &0.into()));

        let answer = program.request(Method::POST, "/reset-cooldown").await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["content-type"]),
            (200, &"application/json".parse().unwrap())
        );
        assert_eq!(answer.text().await.unwrap(), format!("{reset}\n"));
        for path in ["/reset-cooldown", "/force-reconcile"] {
            for method in [Method::HEAD, Method::PUT, Method::DELETE] {
                let answer = program.request(method, path).await.unwrap();
                assert_eq!(
                    (answer.status().as_u16(), &answer.headers()["allow"]),
                    (405, &"GET, POST".parse().unwrap())
                );
            }
            assert_eq!(program.get(&format!("{path}/")).await.0, 404);
        }
        let answer = program.request(Method::GET, "/metrics").await.unwrap();
        assert!(answer.headers()["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
        let text = answer.text().await.unwrap();
        assert!(text.contains("# TYPE k8s_copycat_registry_pull_error_total counter\n"), "{text}");
        assert_eq!(program.terminate().await.code, Some(0));
    }
}

#[tokio::test]
async fn concurrent_copies_are_limited() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    // It answers, but its layers take long: a host that never answered gets fewer requests at once.
    source.inject(usize::MAX, |request| request.path.contains("/blobs/"), Fault::Delay(Duration::from_secs(600)));
    for number in 0..9 {
        let name = format!("app-{number}");
        let image = source.push(&format!("team/{name}"), "1", &index(&name)).await;
        deployment(&name).image(&image).apply(&client, &namespace).await;
    }
    for (more, active) in [
        ("watchResources: [deployments]\n", 2.0),
        ("watchResources: [deployments]\nmaxConcurrentReconciles: 1\n", 1.0),
        ("watchResources: [deployments, jobs]\nmaxConcurrentReconciles: 3\n", 6.0),
    ] {
        let program = controller(cluster, &namespace, &target, more).await;
        eventually("the limit of active copies is reached", || async {
            let metrics = program.metrics().await;
            let length = |state| metrics.sum("k8s_copycat_queue_length", &[("state", state)]);
            (length("active") + length("waiting") == 9.0 && length("active") == active).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let active_later = program.metrics().await.sum("k8s_copycat_queue_length", &[("state", "active")]);
        assert_eq!(active_later, active, "{more}");
        program.kill();
    }
}
