//! Every variable and every key of the original program has an effect.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{
    mirroring::{index, single},
    support::{
        Access, PASSWORD, Program, Registry, Request, USER, Workload, cron_job, daemon_set, deployment, job, pod,
        stateful_set,
    },
};

/// A workload as in a manifest file.
fn in_namespace(workload: &Workload, namespace: &str) -> Value {
    let mut manifest = workload.manifest();
    manifest["metadata"]["namespace"] = namespace.into();
    manifest
}

/// A workload of each kind in one namespace, and one workload in another.
fn manifests() -> String {
    let shop = [
        deployment("web").image("quay.io/group/web:1"),
        stateful_set("db").image("quay.io/group/db:1"),
        daemon_set("agent").image("quay.io/group/agent:1"),
        job("migrate").image("quay.io/group/migrate:1"),
        cron_job("nightly").image("quay.io/group/nightly:1"),
        pod("alone").image("quay.io/group/alone:1"),
    ];
    let elsewhere = in_namespace(&deployment("api").image("ghcr.io/team/api:1"), "prod-eu");
    let all = shop.iter().map(|workload| in_namespace(workload, "shop")).chain([elsewhere]);
    all.map(|manifest| manifest.to_string()).collect::<Vec<_>>().join("\n---\n")
}

/// The destinations of each workload's image; empty if it is skipped.
type Plan = BTreeMap<String, Vec<String>>;

async fn planned(program: Program) -> Plan {
    let finished = program.stdin(&manifests()).run().await.assert_code(0);
    let lines = finished.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines
        .map(|line| {
            let references = line["targets"].as_array().unwrap().iter();
            let references = references.map(|target| target["reference"].as_str().unwrap().to_owned());
            (line["workload"]["name"].as_str().unwrap().to_owned(), references.collect())
        })
        .collect()
}

fn plan() -> Program {
    Program::new(&["plan", "-f", "-", "--output=json"])
}

fn plan_for_docker() -> Program {
    plan().env("TARGET_KIND", "docker").env("TARGET_REGISTRY", "mirror.test")
}

/// The destinations with a setting, given the workload and its default destination. None: the workload is not watched.
type Effect = fn(&str, &str) -> Option<Vec<String>>;

/// Skips the workload of that name.
macro_rules! skips {
    ($name:literal) => {
        |name, destination| Some(if name == $name { vec![] } else { vec![destination.to_owned()] })
    };
}

#[tokio::test]
async fn settings_that_select_or_name_images_change_the_plan() {
    let before = planned(plan_for_docker()).await;
    assert_eq!(before.len(), 7);
    assert_eq!(before["web"], ["mirror.test/group/web:1"]);
    assert_eq!(before["api"], ["mirror.test/team/api:1"]);

    let prefixed: Effect = |name, destination| {
        let namespace = if name == "api" { "prod-eu" } else { "shop" };
        Some(vec![destination.replace("mirror.test/", &format!("mirror.test/m/{namespace}/{name}/main/"))])
    };
    let settings: [(&str, &str, &str, Effect); 14] = [
        ("INCLUDE_NAMESPACES", "shop, other", "includeNamespaces: [shop, other]", skips!("api")),
        ("INCLUDE_NAMESPACES", "sh?p", "includeNamespaces: ['s[f-j]*']", skips!("api")),
        ("SKIP_NAMESPACES", "prod-eu", "skipNamespaces: [prod-eu]", skips!("api")),
        ("SKIP_DEPLOYMENTS", "web", "skipNames: { deployments: [web] }", skips!("web")),
        ("SKIP_STATEFULSETS", "shop/db", "skipNames: { statefulSets: [shop/db] }", skips!("db")),
        ("SKIP_DAEMONSETS", "agent,web", "skipNames: { daemonSets: [agent, web] }", skips!("agent")),
        ("SKIP_JOBS", "migrate", "skipNames: { jobs: [migrate] }", skips!("migrate")),
        ("SKIP_CRONJOBS", "nightly", "skipNames: { cronJobs: [nightly] }", skips!("nightly")),
        ("SKIP_PODS", "*", "skipNames: { pods: ['*'] }", skips!("alone")),
        ("EXCLUDE_REGISTRIES", "ghcr.io/team", "excludeRegistries: [ghcr.io/team]", skips!("api")),
        ("WATCH_RESOURCES", "Pods", "watchResources: [pods]", |name, destination| {
            (name == "alone").then(|| vec![destination.to_owned()])
        }),
        (
            "TARGET_REGISTRY",
            "other.test:5000/x",
            "targets: [{ name: a, kind: docker, registry: 'other.test:5000/x' }]",
            { |_, destination| Some(vec![destination.replace("mirror.test", "other.test:5000/x")]) },
        ),
        (
            "TARGET_REPO_PREFIX",
            "m/$namespace/$podname/$container_name",
            "docker: { repoPrefix: m/$namespace/$podname/$container_name }",
            prefixed,
        ),
        ("TARGET_REPO_PREFIX", "$registry", "repoPrefix: $registry", |name, destination| {
            let registry = if name == "api" { "ghcr.io" } else { "quay.io" };
            Some(vec![destination.replace("mirror.test/", &format!("mirror.test/{registry}/"))])
        }),
    ];
    for (variable, value, file, effect) in settings {
        let after: Plan = before
            .iter()
            .filter_map(|(name, destination)| Some((name.clone(), effect(name, &destination[0])?)))
            .collect();
        assert_ne!(after, before);
        assert_eq!(planned(plan_for_docker().env(variable, value)).await, after, "{variable}");
        let by_key = if file.starts_with("targets") { plan() } else { plan_for_docker() };
        assert_eq!(planned(by_key.config(file)).await, after, "{file}");
    }

    let rules = "pathMap:\n- { from: team, to: prod/team }\n- { from: '^group/(w.*)', to: modern/$1, regex: true }\n";
    let after = planned(plan_for_docker().config(rules)).await;
    assert_eq!(after["api"], ["mirror.test/prod/team/api:1"]);
    assert_eq!(after["web"], ["mirror.test/modern/web:1"]);
    assert_eq!(after["db"], before["db"]);
}

#[tokio::test]
async fn the_kind_of_target_determines_the_destinations() {
    let ecr = plan()
        .env("ECR_ACCOUNT_ID", "123456789012")
        .env("AWS_REGION", "eu-central-1")
        .env("ECR_REPO_PREFIX", "mirrors")
        .env("ECR_CREATE_REPO", "false");
    let file = "targetKind: ECR\necr: { accountID: 123456789012, region: eu-central-1, repoPrefix: mirrors }\n";
    for program in [ecr, plan().config(file)] {
        let reference = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/mirrors/group/web:1";
        assert_eq!(planned(program).await["web"], [reference]);
    }
    let docker = plan().config("targetKind: docker\ndocker: { registry: mirror.test:5000 }\n");
    assert_eq!(planned(docker).await["web"], ["mirror.test:5000/group/web:1"]);
    let layout = plan().env("TARGET_KIND", "oci-layout").env("TARGET_PATH", "/data").env("TARGET_REPO_PREFIX", "p");
    let file = "targetKind: oci-layout\nociLayout: { path: /data, repoPrefix: p }\n";
    for program in [layout, plan().config(file)] {
        assert_eq!(planned(program).await["web"], ["oci:/data:p/group/web:1"]);
    }
}

/// One pass over one workload, into a registry.
fn sync(target: &Registry, manifest: &Value) -> Program {
    Program::new(&["sync", "-f", "-"])
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", target.host())
        .stdin(&manifest.to_string())
}

fn is_write(request: &Request) -> bool {
    request.method != "GET" && request.method != "HEAD"
}

#[tokio::test]
async fn dry_run_writes_nothing_and_dry_pull_contacts_no_registry() {
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let image = single("dry");
    let manifest = deployment("app").image(&source.push("team/app", "1", &image).await).manifest();
    for program in [
        sync(&target, &manifest).env("DRY_RUN", "true"),
        sync(&target, &manifest).config("dryRun: true"),
        sync(&target, &manifest).arg("--dry-run"),
        sync(&target, &manifest).arg("-dry-run=true").env("DRY_RUN", "false"),
    ] {
        program.run().await.assert_code(0);
        assert!(source.take_requests().iter().any(|request| request.method == "GET" && request.is_manifest()));
        let requests = target.take_requests();
        assert!(!requests.is_empty() && !requests.iter().any(is_write), "{requests:#?}");
    }
    for program in [
        sync(&target, &manifest).env("DRY_PULL", "true"),
        sync(&target, &manifest).config("dryPull: true"),
        sync(&target, &manifest).arg("-dry-pull"),
    ] {
        let finished = program.run().await.assert_code(0);
        assert!(finished.stdout.contains("would be pulled"), "{}", finished.stdout);
        assert_eq!((source.take_requests(), target.take_requests()), (vec![], vec![]));
    }
    sync(&target, &manifest).arg("--dry-run=false").env("DRY_RUN", "true").run().await.assert_code(0);
    target.assert_has("team/app", "1", &image).await;
}

#[tokio::test]
async fn moves_a_tag_at_the_target_only_if_allowed() {
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let (old, new) = (single("old"), single("new"));
    let manifest = deployment("app").image(&source.push("team/app", "1", &new).await).manifest();
    target.push("team/app", "1", &old).await;
    for program in [
        sync(&target, &manifest).env("ALLOW_DIFFERENT_DIGEST_REPUSH", "false"),
        sync(&target, &manifest).config("allowDifferentDigestRepush: false"),
    ] {
        let finished = program.run().await.assert_code(1);
        assert!(finished.stdout.contains("allowDifferentDigestRepush"), "{}", finished.stdout);
        target.assert_has("team/app", "1", &old).await;
    }
    sync(&target, &manifest).run().await.assert_code(0);
    target.assert_has("team/app", "1", &new).await;
}

#[tokio::test]
async fn digest_pull_copies_the_digest_that_a_pod_runs() {
    let source = Registry::distribution(Access::Anonymous).await;
    let (running, moved) = (single("running"), single("moved"));
    source.push("team/app", "1", &running).await;
    let reference = source.push("team/app", "1", &moved).await;
    let mut manifest = pod("app").image(&reference).manifest();
    let image_id = format!("{}/team/app@{}", source.host(), running.digest());
    manifest["status"] = json!({ "phase": "Running", "containerStatuses": [{ "name": "main", "imageID": image_id }] });
    for (variable, file, expected) in
        [("DIGEST_PULL", "", &running), ("UNUSED", "digestPull: true", &running), ("UNUSED", "", &moved)]
    {
        let target = Registry::crane().await;
        sync(&target, &manifest).env(variable, "true").config(file).run().await.assert_code(0);
        target.assert_has("team/app", "1", expected).await;
    }
    for file in
        ["digestPull: true\ndigestPullIgnoredTags: ['2', '1']", "digestPull: true\ndigestPullIgnoredTags: ['2']"]
    {
        let target = Registry::crane().await;
        sync(&target, &manifest).config(file).run().await.assert_code(0);
        target.assert_has("team/app", "1", if file.contains("'1'") { &moved } else { &running }).await;
    }
}

#[tokio::test]
async fn verifies_certificates_unless_disabled() {
    let image = index("unchecked");
    let source = Registry::distribution_tls().await;
    let host = source.host();
    let manifest = deployment("app").image(&source.push("team/app", "1", &image).await).manifest();
    let by_key = format!("insecureRegistries: ['{host}']");
    for (variable, value, file) in [
        ("INSECURE_REGISTRIES", host.as_str(), ""),
        ("UNUSED", "", &by_key),
        ("SSL_CERT_FILE", source.ca_file().to_str().unwrap(), ""),
    ] {
        let target = Registry::crane().await;
        // This one is for the target alone.
        let finished = sync(&target, &manifest).env("TARGET_INSECURE", "true").run().await.assert_code(1);
        assert!(finished.stdout.contains(&host), "{}", finished.stdout);
        sync(&target, &manifest).env(variable, value).config(file).run().await.assert_code(0);
        target.assert_has("team/app", "1", &image).await;
    }

    let plain = Registry::crane().await;
    let manifest = deployment("app").image(&plain.push("team/app", "2", &image).await).manifest();
    for (variable, file) in [("TARGET_INSECURE", ""), ("UNUSED", "docker: { insecure: yes }")] {
        let target = Registry::distribution_tls().await;
        sync(&target, &manifest).run().await.assert_code(1);
        assert_eq!(target.manifest("team/app", "2").await, None);
        sync(&target, &manifest).env(variable, "true").config(file).run().await.assert_code(0);
        target.assert_has("team/app", "2", &image).await;
    }
}

#[tokio::test]
async fn sends_credentials_to_their_sources() {
    let source = Registry::distribution(Access::Token).await;
    let image = single("guarded");
    let reference = source.push("team/app", "1", &image).await;
    let manifest = deployment("app").image(&reference).manifest();
    let (host, token) = (source.host(), source.pull_token("team/app"));
    let sync = |target: &Registry, entry: &str| {
        let config = format!("registryCredentials: [{{ {entry} }}]");
        sync(target, &manifest).config(&config).env("THE_TOKEN", &token).env("THE_USER", USER).env("SECRET", PASSWORD)
    };
    let port = host.rsplit_once(':').unwrap().1;
    let alias = format!("registry: registry.example, registryAliases: ['127.0.0.?:{port}']");
    let set = format!("registry: '127.0.0.[0-2]:{port}'");
    for (login, exchanged) in [
        (format!("registry: '{host}', tokenEnv: THE_TOKEN"), false),
        (format!("registry: '{host}', token: {token}"), false),
        (format!("registry: '{host}', usernameEnv: THE_USER, passwordEnv: SECRET"), true),
        (format!("registry: '{host}', username: {USER}, password: '{PASSWORD}'"), true),
        (format!("{set}, username: {USER}, passwordEnv: SECRET"), true),
        (format!("{alias}, username: {USER}, passwordEnv: SECRET"), true),
    ] {
        let target = Registry::crane().await;
        sync(&target, &login).run().await.assert_code(0);
        target.assert_has("team/app", "1", &image).await;
        assert_eq!(!source.take_token_queries().is_empty(), exchanged, "{login}");
        let bearer = format!("Bearer {token}");
        let requests = source.take_requests();
        let as_it_is = requests.iter().any(|request| request.authorization.as_ref() == Some(&bearer));
        assert_eq!(as_it_is, !exchanged, "{login}");
    }
    let target = Registry::crane().await;
    sync(&target, &format!("registry: other.example, username: {USER}, password: '{PASSWORD}'"))
        .run()
        .await
        .assert_code(1);
    assert_eq!(target.manifest("team/app", "1").await, None);
}
