//! `check` names what would fail, each problem in one line with its remedy, and leaves nothing behind.

use std::fs;

use axum::Router;
use serde_json::{Value, json};

use crate::{
    mirroring::single,
    support::{
        Access, Aws, BackgroundServer, Cluster, Fault, Finished, PASSWORD, Program, Refusal, Registry, SilentHost,
        USER, deployment, free_port,
    },
};

const REGION: &str = "eu-central-1";

/// `check` of a Deployment with this image.
fn check_image(image: &str) -> Program {
    Program::new(&["check", "--output=json", "-f", "-"]).stdin(&deployment("app").image(image).manifest().to_string())
}

/// The same with a target.
fn check_target(host: &str) -> Program {
    check_image("127.0.0.1:1/team/app:1").env("TARGET_KIND", "docker").env("TARGET_REGISTRY", host)
}

/// With a layout as the target, so that the sources are all that can fail.
fn check_source(image: &str) -> Program {
    let program = check_image(image);
    let layout = program.directory().join("layout");
    program.env("TARGET_KIND", "oci-layout").env("TARGET_PATH", layout)
}

/// The JSON object that it prints.
fn page(finished: &Finished) -> Value {
    assert_eq!(finished.stdout.lines().count(), 1, "{}", finished.stdout);
    serde_json::from_str(&finished.stdout).unwrap()
}

/// The only finding about a subject.
#[track_caller]
fn finding<'p>(page: &'p Value, subject: &str) -> &'p Value {
    let mut found = page["checks"].as_array().unwrap().iter().filter(|finding| finding["subject"] == subject);
    let finding = found.next().unwrap_or_else(|| panic!("no {subject} in {page:#}"));
    assert_eq!(found.next(), None, "{page:#}");
    finding
}

/// Asserts that this is the only failure of the group, in words.
#[track_caller]
fn assert_only_failure(page: &Value, group: &str, subject: &str, found: &str, remedy: &str) {
    let finding = finding(page, subject);
    assert_eq!((&finding["group"], &finding["result"]), (&json!(group), &json!("failed")), "{page:#}");
    let text = |key: &str| finding[key].as_str().unwrap().to_owned();
    assert!(text("found").contains(found), "{found:?} is not in {finding:#}");
    assert!(text("remedy").contains(remedy), "{remedy:?} is not in {finding:#}");
    let of_group = page["checks"].as_array().unwrap().iter().filter(|other| other["group"] == group);
    assert_eq!(of_group.filter(|other| other["result"] == "failed").count(), 1, "{page:#}");
}

/// Runs it with exit code 1, and asserts that this is the only failure among the targets.
#[track_caller]
fn assert_target_fails(finished: &Finished, step: &str, found: &str, remedy: &str) {
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(finished.stderr, "", "it is not noisy");
    for secret in [PASSWORD, "wrong-password"] {
        assert!(!finished.stdout.contains(secret), "{}", finished.stdout);
    }
    assert_only_failure(&page(finished), "targets", &format!("default: {step}"), found, remedy);
}

#[tokio::test]
async fn a_working_set_up_is_all_ok_and_nothing_is_left_behind() {
    let source = Registry::distribution(Access::Basic).await;
    let target = Registry::distribution(Access::Token).await;
    let image = source.push("team/app", "1", &single("app")).await;
    let (source_host, target_host) = (source.host(), target.host());
    let config = format!(
        "registryCredentials: [{{ registry: '{source_host}', username: {USER}, password: {PASSWORD} }}]\n\
         docker: {{ registry: '{target_host}/mirror', username: {USER}, password: {PASSWORD} }}\ntargetKind: docker\n"
    );
    source.take_requests();
    let finished = check_image(&image).config(&config).run().await.assert_code(0);
    assert_eq!(finished.stderr, "");
    let page = page(&finished);
    assert!(page["checks"].as_array().unwrap().iter().all(|finding| finding["result"] == "ok"), "{page:#}");
    assert_eq!(finding(&page, "default: login")["found"], format!("accepted as user {USER}"));
    let pushed = format!("an upload to {target_host}/mirror/team/app was begun and cancelled");
    assert_eq!(finding(&page, "default: push")["found"], pushed);
    let found = format!("reached over plain HTTP as user {USER}, 1 image");
    assert_eq!(finding(&page, &source_host)["found"], found);

    let requests = target.take_requests();
    let methods: Vec<_> = requests.iter().filter(|request| request.is_blob()).map(|request| &request.method).collect();
    assert_eq!(methods.last().map(|method| method.as_str()), Some("DELETE"), "{requests:?}");
    assert!(requests.iter().all(|request| !request.is_manifest()), "{requests:?}");
    assert!(!source.take_requests().iter().any(|request| request.method == "GET" && request.is_manifest()));
}

#[tokio::test]
async fn the_json_has_these_keys_and_the_text_these_columns() {
    let program = Program::new(&["check", "--offline"])
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", "https://mirror.test/")
        .config("dryRun: true\n");
    let file = program.directory().join("config.yaml").display().to_string();
    let text = program.run().await.assert_code(0).stdout;
    let expected = format!(
        "configuration
  ok       settings  {file}: 1 target (docker), 6 kinds of workloads, dry run: nothing is copied
  warning  setting   TARGET_REGISTRY: used as \"mirror.test\"; write host[:port][/path]; see docs/configuration.md
plugins
  ok       plugins  0 loaded from files

2 ok, 1 warning, 0 failed
"
    );
    assert_eq!(text, expected);
    let page = page(&program.arg("-o").arg("json").run().await.assert_code(0));
    let setting = json!({
        "group": "configuration", "subject": "setting", "result": "warning",
        "found": "TARGET_REGISTRY: used as \"mirror.test\"; write host[:port][/path]",
        "remedy": "see docs/configuration.md",
    });
    assert_eq!(page["checks"][1], setting);
    let plugins = json!({
        "group": "plugins", "subject": "plugins", "result": "ok", "found": "0 loaded from files", "remedy": null,
    });
    assert_eq!(page["checks"][2], plugins);
    assert_eq!(page["summary"], json!({ "ok": 2, "warning": 1, "failed": 0 }));
}

#[tokio::test]
async fn offline_contacts_nobody() {
    let host = SilentHost::start();
    let program = Program::new(&["check", "--offline"])
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", host.host())
        .env("KUBECONFIG", "/does/not/exist");
    program.run().await.assert_code(0);
    assert_eq!(host.connections(), 0);
    let finished = Program::new(&["check", "--offline", "-f", "x"]).run().await.assert_code(2);
    assert!(finished.stderr.contains("cannot be used with"), "{}", finished.stderr);
}

#[tokio::test]
async fn names_every_invalid_setting_and_exits_with_2() {
    let program = check_target("mirror.test").config("dryrun: true\nmaxConcurrentBlobs: 0\n");
    let page = page(&program.run().await.assert_code(2));
    let checks = page["checks"].as_array().unwrap();
    assert_eq!(checks.len(), 2, "{page:#}");
    for (finding, found) in checks.iter().zip(["did you mean \"dryRun\"", "the minimum is 1"]) {
        assert_eq!((&finding["group"], &finding["result"]), (&json!("configuration"), &json!("failed")));
        assert!(finding["found"].as_str().unwrap().contains(found), "{finding:#}");
    }
}

#[tokio::test]
async fn names_a_certificate_with_the_key_of_another() {
    let (one, other) = (Registry::distribution_mutual_tls().await, Registry::distribution_mutual_tls().await);
    let ([certificate, _], [_, key]) = (one.client_certificate(), other.client_certificate());
    let config = format!(
        "registries: [{{ registry: a.test, clientCertFile: {}, clientKeyFile: {} }}]\n",
        certificate.display(),
        key.display()
    );
    let page = page(&check_target("mirror.test").config(&config).run().await.assert_code(2));
    assert_only_failure(&page, "configuration", "registries", "the certificate can't be used", "docs/configuration.md");
}

#[tokio::test]
async fn names_a_plugin_for_another_contract_and_still_checks_the_rest() {
    let next = wat::parse_str(r#"(component (import "k8s-copycat:policy/log@2.0.0" (instance)))"#).unwrap();
    for arguments in [&["check", "--offline", "-o", "json"][..], &["check", "-o", "json", "-f", "-"]] {
        let program = Program::new(arguments).stdin(&deployment("app").image("a.test/b:1").manifest().to_string());
        let folder = program.directory().join("plugins");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("next.wasm"), &next).unwrap();
        let layout = program.directory().join("layout");
        let program = program.env("PLUGIN_DIR", &folder).env("TARGET_KIND", "oci-layout").env("TARGET_PATH", layout);
        let page = page(&program.run().await.assert_code(2));
        assert_only_failure(&page, "plugins", "plugin", "another major version of the contract", "plugin inspect");
        let has_targets = page["checks"].as_array().unwrap().iter().any(|finding| finding["group"] == "targets");
        assert_eq!(has_targets, !arguments.contains(&"--offline"));
    }
}

#[tokio::test]
async fn names_a_wrong_password() {
    for access in [Access::Basic, Access::Token] {
        let target = Registry::distribution(access).await;
        let program =
            check_target(&target.host()).env("TARGET_USERNAME", USER).env("TARGET_PASSWORD", "wrong-password");
        let finished = program.run().await;
        assert_target_fails(&finished, "login", "401", "credentials were not accepted: check them");
        assert!(target.take_requests().iter().all(|request| request.method != "POST"), "it stops at the first problem");
    }
}

#[tokio::test]
async fn names_a_missing_login() {
    let target = Registry::distribution(Access::Basic).await;
    let finished = check_target(&target.host()).run().await;
    assert_target_fails(&finished, "push", "401", "set a login for the target");
}

#[tokio::test]
async fn names_a_login_that_may_only_pull() {
    let target = Registry::distribution(Access::Token).await;
    target.grant_pulls_only();
    let program = check_target(&target.host()).env("TARGET_USERNAME", USER).env("TARGET_PASSWORD", PASSWORD);
    let remedy = format!("give user {USER} the right to push to {}/team/app", target.host());
    assert_target_fails(&program.run().await, "push", "401", &remedy);
}

#[tokio::test]
async fn names_a_read_only_registry() {
    let target = Registry::distribution_read_only().await;
    let finished = check_target(&target.host()).run().await;
    assert_target_fails(&finished, "push", "405", "the registry is read-only");
}

#[tokio::test]
async fn names_an_unknown_certificate_authority() {
    let target = Registry::distribution_tls().await;
    let finished = check_target(&target.host()).run().await;
    assert_target_fails(&finished, "connection", "certificate was not accepted", "add its CA by caFile");
    let ca = format!("registries: [{{ registry: '{}', caFile: {} }}]\n", target.host(), target.ca_file().display());
    let finished = check_target(&target.host()).config(&ca).run().await;
    assert_eq!(finding(&page(&finished), "default: push")["result"], "ok", "with the CA");
}

#[tokio::test]
async fn names_a_missing_client_certificate() {
    let target = Registry::distribution_mutual_tls().await;
    let ca = format!("registries: [{{ registry: '{}', caFile: {} }}]\n", target.host(), target.ca_file().display());
    let finished = check_target(&target.host()).config(&ca).run().await;
    assert_target_fails(&finished, "connection", "requires a client certificate", "set clientCertFile");
}

#[tokio::test]
async fn names_a_registry_without_tls() {
    let target = Registry::crane().await;
    let tls_only = format!("registries: [{{ registry: '{}', skipVerify: true }}]\n", target.host());
    let finished = check_target(&target.host()).config(&tls_only).run().await;
    assert_target_fails(&finished, "connection", "the server does not use TLS", "set plainHTTP");
}

#[tokio::test]
async fn names_a_host_that_does_not_resolve() {
    let finished = check_target("registry.invalid").run().await;
    assert_target_fails(&finished, "name", "registry.invalid does not resolve", "correct the name");
}

#[tokio::test]
async fn names_a_port_that_nobody_listens_on() {
    let finished = check_target(&format!("127.0.0.1:{}", free_port())).run().await;
    assert_target_fails(&finished, "connection", "can't connect", "check the host name, the port and the network");
}

#[tokio::test]
async fn a_silent_host_costs_one_deadline_and_delays_no_other() {
    let (silent, target) = (SilentHost::start(), Registry::crane().await);
    let config = format!(
        "requestTimeout: 1\ntargets:\n  - {{ name: silent, kind: docker, registry: '{}' }}\n  - {{ name: good, kind: docker, \
         registry: '{}' }}\n",
        silent.host(),
        target.host()
    );
    let page = page(&check_image("127.0.0.1:1/team/app:1").config(&config).run().await.assert_code(1));
    assert_only_failure(&page, "targets", "silent: connection", "nothing received for 1s", "check the host name");
    assert_eq!(finding(&page, "good: push")["result"], "ok");
    assert_eq!(silent.connections(), 1);
}

#[tokio::test]
async fn names_a_server_that_is_no_registry() {
    let server = BackgroundServer::start(Router::new());
    let finished = check_target(&server.host()).run().await;
    assert_target_fails(&finished, "connection", "404", "another server answers there");
}

#[tokio::test]
async fn names_a_folder_that_can_not_be_written() {
    let program = check_image("127.0.0.1:1/team/app:1").file("occupied", "");
    let path = program.directory().join("occupied/layout");
    let finished = program.env("TARGET_KIND", "oci-layout").env("TARGET_PATH", path).run().await;
    assert_target_fails(&finished, "folder", "Not a directory", "choose another folder");
}

#[tokio::test]
async fn a_folder_is_not_created_by_the_check() {
    let program = check_source("127.0.0.1:1/team/app:1");
    let folder = program.directory().join("layout");
    assert_eq!(finding(&page(&program.run().await), "default: folder")["result"], "ok");
    assert!(!folder.exists());
    fs::create_dir(&folder).unwrap();
    assert_eq!(finding(&page(&program.run().await), "default: folder")["result"], "ok");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "nothing is left in it");
}

#[tokio::test]
async fn names_a_used_up_quota() {
    let source = Registry::distribution(Access::Anonymous).await;
    let image = source.push("team/app", "1", &single("app")).await;
    let none = vec![("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "0;w=21600")];
    source.inject(1, |request| request.method == "HEAD", Fault::Answer(200, none));
    let checked = page(&check_source(&image).run().await.assert_code(1));
    assert_only_failure(&checked, "sources", &source.host(), "0 of 100 pulls left", "set registryCredentials");

    let few = vec![("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "7;w=21600")];
    source.inject(1, |request| request.method == "HEAD", Fault::Answer(200, few));
    let checked = page(&check_source(&image).run().await.assert_code(0));
    assert_eq!(finding(&checked, &source.host())["result"], "warning", "{checked:#}");
}

#[tokio::test]
async fn names_a_source_that_limits_requests() {
    let source = Registry::distribution(Access::Anonymous).await;
    let image = source.push("team/app", "1", &single("app")).await;
    let limited = Fault::Answer(429, vec![("retry-after", "600")]);
    source.inject(9, |request| request.method == "HEAD", limited);
    let page = page(&check_source(&image).run().await.assert_code(1));
    assert_only_failure(&page, "sources", &source.host(), "429", "credentials may raise the limit");
}

#[tokio::test]
async fn names_a_source_that_wants_credentials() {
    let source = Registry::distribution(Access::Basic).await;
    let image = source.push("team/app", "1", &single("app")).await;
    let page = page(&check_source(&image).run().await.assert_code(1));
    assert_only_failure(&page, "sources", &source.host(), "401", "set registryCredentials");
}

#[tokio::test]
async fn an_image_that_does_not_exist_is_a_warning_about_its_source() {
    let source = Registry::distribution(Access::Anonymous).await;
    let image = format!("{}/team/app:2", source.host());
    let page = page(&check_source(&image).run().await.assert_code(0));
    let found = finding(&page, &source.host());
    assert_eq!(found["result"], "warning");
    assert!(found["found"].as_str().unwrap().ends_with("team/app:2 does not exist there"), "{found:#}");
}

#[tokio::test]
async fn dry_pull_and_dry_run_limit_what_is_contacted() {
    let target = Registry::crane().await;
    let program = check_target(&target.host()).arg("--dry-pull");
    let pulled = page(&program.run().await.assert_code(0));
    assert!(target.take_requests().is_empty());
    let contacted = pulled["checks"].as_array().unwrap().iter().filter(|finding| finding["subject"] == "registries");
    assert!(contacted.clone().count() == 2 && contacted.clone().all(|finding| finding["result"] == "warning"));

    let program = check_target(&target.host()).arg("--dry-run");
    let run = page(&program.run().await);
    assert_eq!(finding(&run, "default: push")["result"], "warning", "{run:#}");
    assert!(target.take_requests().iter().all(|request| request.method == "GET"));
}

/// `check` with the caller's registry as the target.
fn check_ecr(aws: &Aws, program: Program) -> Program {
    program.env("AWS_REGION", REGION).env("ECR_ACCOUNT_ID", aws.account())
}

#[tokio::test]
async fn asks_ecr_for_all_that_creates_nothing() {
    let aws = Aws::start().await;
    let image = "127.0.0.1:1/team/app:1";
    let program = check_ecr(&aws, check_image(image)).aws(&aws);
    let checked = page(&program.run().await);
    let repository = finding(&checked, "default: repository");
    assert_eq!(repository["result"], "warning");
    assert!(repository["found"].as_str().unwrap().starts_with("team/app does not exist and will be created"));
    for subject in ["identity", "token", "connection", "login"] {
        assert_eq!(finding(&checked, &format!("default: {subject}"))["result"], "ok", "{checked:#}");
    }
    let arn = format!("arn:aws:sts::{}:", aws.account());
    assert!(finding(&checked, "default: identity")["found"].as_str().unwrap().starts_with(&arn));
    let calls = aws.take_calls();
    assert!(calls.iter().all(|call| call.action != "ecr:CreateRepository"), "{calls:?}");

    let registry = aws.registry(aws.account(), REGION).await;
    registry.create("team/app", json!({})).await;
    let checked = page(&program.run().await);
    assert_eq!(finding(&checked, "default: push")["result"], "ok", "{checked:#}");
}

#[tokio::test]
async fn names_what_ecr_denies() {
    let image = "127.0.0.1:1/team/app:1";
    for (action, step) in [("ecr:GetAuthorizationToken", "token"), ("ecr:DescribeRepositories", "repository")] {
        let aws = Aws::start().await;
        aws.refuse(1000, action, Refusal::AccessDenied);
        let finished = check_ecr(&aws, check_image(image)).aws(&aws).run().await;
        assert_target_fails(&finished, step, &format!("AWS denies {action}"), "docs/ecr.md");
    }
    let aws = Aws::start().await;
    let program = check_ecr(&aws, check_image(image)).aws_anonymous(&aws);
    assert_target_fails(&program.run().await, "token", "no AWS credentials found", "docs/ecr.md");
    let program = check_ecr(&aws, check_image(image)).aws(&aws).env("ECR_CREATE_REPO", "false");
    assert_target_fails(&program.run().await, "repository", "team/app does not exist", "set ecr.createRepo");
}

/// `check` of a cluster with a layout as the target.
fn check_cluster(cluster: &Cluster, token: &str, namespace: &str) -> Program {
    let program = Program::new(&["check", "--output=json"]);
    let kubeconfig = cluster.kubeconfig(program.directory(), token);
    let layout = program.directory().join("layout");
    program
        .env("KUBECONFIG", kubeconfig)
        .env("POD_NAMESPACE", namespace)
        .env("TARGET_KIND", "oci-layout")
        .env("TARGET_PATH", layout)
}

/// A ServiceAccount `program` with these rules in its namespace.
async fn account(cluster: &Cluster, rules: &str) -> (String, String) {
    let namespace = cluster.namespace().await;
    let rbac = format!(
        "apiVersion: v1
kind: ServiceAccount
metadata: {{ name: program, namespace: {namespace} }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{ name: program, namespace: {namespace} }}
rules: {rules}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{ name: program, namespace: {namespace} }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: Role, name: program }}
subjects: [{{ kind: ServiceAccount, name: program, namespace: {namespace} }}]
"
    );
    cluster.apply(&rbac).await;
    let token = cluster.service_account_token(&namespace, "program").await;
    (namespace, token)
}

#[tokio::test]
async fn names_each_missing_right_as_the_rule_to_add() {
    let cluster = Cluster::shared().await;
    let rules = "[{ apiGroups: [''], resources: [pods], verbs: [list, watch] }, { apiGroups: [apps], resources: [deployments, \
                 statefulsets, daemonsets, replicasets], verbs: [list] }, { apiGroups: [''], resources: [events], verbs: \
                 [create, patch] }]";
    let (namespace, token) = account(cluster, rules).await;
    let config = format!(
        "includeNamespaces: [{namespace}]\noperationsAuthorization: kubernetes\ndigestPull: true\ncheckNodePlatform: true\n\
         watchResources: [deployments, pods]\n"
    );
    let finished = check_cluster(cluster, &token, &namespace).config(&config).run().await.assert_code(1);
    let page = page(&finished);
    let user = format!("as system:serviceaccount:{namespace}:program");
    assert!(finding(&page, "API server")["found"].as_str().unwrap().ends_with(&user), "{page:#}");
    let role = format!("to a Role in namespace {namespace}");
    let in_namespace = |what: &str| format!("{what} in namespace {namespace}");
    for (subject, result, remedy) in [
        (
            in_namespace("list, watch deployments"),
            "failed",
            format!("add {{apiGroups: [apps], resources: [deployments], verbs: [watch]}} {role}"),
        ),
        (
            "list, watch nodes".to_owned(),
            "warning",
            "add {apiGroups: [\"\"], resources: [nodes], verbs: [list, watch]} to a ClusterRole".to_owned(),
        ),
        (
            in_namespace("create leases"),
            "failed",
            format!("add {{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]}} {role}"),
        ),
        (
            in_namespace("get, update leases"),
            "failed",
            format!(
                "add {{apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [k8s-copycat.k8s-copycat], \
                 verbs: [get, update]}} {role}"
            ),
        ),
        (
            "create tokenreviews".to_owned(),
            "failed",
            "add {apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]} to a ClusterRole"
                .to_owned(),
        ),
        (
            "create subjectaccessreviews".to_owned(),
            "failed",
            "add {apiGroups: [authorization.k8s.io], resources: [subjectaccessreviews], verbs: [create]} to a ClusterRole"
                .to_owned(),
        ),
    ] {
        let found = finding(&page, &subject);
        assert_eq!((&found["result"], &found["remedy"]), (&json!(result), &json!(remedy)), "{page:#}");
    }
    for granted in ["list, watch pods", "create, patch events"] {
        let found = format!("granted in namespace {namespace}");
        assert_eq!(finding(&page, granted)["found"], found, "{page:#}");
    }
    let has_lease = page["checks"].as_array().unwrap().iter().any(|finding| finding["subject"] == "Lease");
    assert!(!has_lease, "the missing right is named once: {page:#}");
    assert!(!finished.stdout.contains(&token));
}

#[tokio::test]
async fn the_shipped_roles_are_enough() {
    let cluster = Cluster::shared().await;
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/k8s.yaml")).unwrap();
    let roles = manifest.split("\n---\n").filter(|document| {
        document.lines().any(|line| line.starts_with("kind: ") && line != "kind: Deployment" && line != "kind: Service")
    });
    cluster.apply(&roles.collect::<Vec<_>>().join("\n---\n")).await;
    let token = cluster.service_account_token("k8s-copycat", "k8s-copycat-manager").await;
    let program = check_cluster(cluster, &token, "k8s-copycat")
        .config("digestPull: true\ncheckNodePlatform: true\ndryPull: true\n");
    let page = page(&program.run().await.assert_code(0));
    let cluster_findings = page["checks"].as_array().unwrap().iter().filter(|finding| finding["group"] == "cluster");
    assert!(cluster_findings.clone().count() > 10, "{page:#}");
    assert!(cluster_findings.clone().all(|finding| finding["result"] == "ok"), "{page:#}");
    assert_eq!(finding(&page, "Lease")["found"], "free in namespace k8s-copycat");
}

#[tokio::test]
async fn tells_who_holds_the_lease() {
    let cluster = Cluster::shared().await;
    let namespace = cluster.namespace().await;
    let lease = |renewed: &str| {
        format!(
            "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {{ name: k8s-copycat.k8s-copycat, namespace: \
             {namespace} }}\nspec: {{ holderIdentity: pod-1_a, leaseDurationSeconds: 15, renewTime: '{renewed}' }}\n"
        )
    };
    let program = check_cluster(cluster, cluster.admin_token(), &namespace)
        .config(&format!("includeNamespaces: [{namespace}]\ndryPull: true\n"));
    cluster.apply(&lease("2999-01-01T00:00:00.000000Z")).await;
    let held = page(&program.run().await.assert_code(0));
    assert_eq!(finding(&held, "Lease")["found"], "held by pod-1_a, renewed 0 s ago");
    cluster.apply(&lease("2001-01-01T00:00:00.000000Z")).await;
    let expired = page(&program.run().await.assert_code(0));
    assert_eq!(finding(&expired, "Lease")["result"], "warning");
    assert!(finding(&expired, "Lease")["found"].as_str().unwrap().ends_with("it has expired, and nobody leads"));
}

#[tokio::test]
async fn names_an_api_server_that_can_not_be_used() {
    let cluster = Cluster::shared().await;
    let (silent, nobody) = (SilentHost::start(), free_port());
    let silent_port: u16 = silent.host().rsplit(':').next().unwrap().parse().unwrap();
    let program = || check_cluster(cluster, "not-a-token", "default");
    let unreachable = program();
    cluster.kubeconfig_for_port(nobody, unreachable.directory(), "token");
    let quiet = program();
    cluster.kubeconfig_for_port(silent_port, quiet.directory(), "token");
    let missing = program().env("KUBECONFIG", "/does/not/exist");
    for (program, found, remedy) in [
        (program(), "does not accept the credentials", "renew the token"),
        (unreachable, "can't be reached", "check the address in the kubeconfig"),
        (quiet, "did not answer within 10 s", "check the address in the kubeconfig"),
        (missing, "/does/not/exist", "set --kubeconfig"),
    ] {
        let page = page(&program.run().await.assert_code(1));
        assert_only_failure(&page, "cluster", "API server", found, remedy);
        assert_eq!(finding(&page, "workloads")["result"], "warning", "{page:#}");
        assert_eq!(finding(&page, "default: folder")["result"], "ok", "targets are checked nevertheless");
    }
}

#[tokio::test]
async fn checks_the_sources_of_the_clusters_workloads() {
    // Its own: a malformed image is undecided in the whole cluster.
    let cluster = &Cluster::start().await;
    let namespace = cluster.namespace().await;
    let source = Registry::distribution(Access::Anonymous).await;
    for name in ["one", "two"] {
        let image = source.push(&format!("team/{name}"), "1", &single(name)).await;
        deployment(name).image(&image).apply(&cluster.admin(), &namespace).await;
    }
    deployment("broken").image("Not An Image").apply(&cluster.admin(), &namespace).await;
    let program = check_cluster(cluster, cluster.admin_token(), &namespace)
        .config(&format!("includeNamespaces: [{namespace}, {namespace}-typo]\n"));
    let page = page(&program.run().await.assert_code(0));
    assert_eq!(finding(&page, &format!("namespace {namespace}-typo"))["result"], "warning", "{page:#}");
    assert_eq!(finding(&page, &source.host())["found"], "reached over plain HTTP anonymously, 2 images");
    let workloads = finding(&page, "workloads");
    assert_eq!(workloads["found"], "3 containers of 3 workloads: 2 images to mirror, 0 skipped, 1 undecided");
    assert_eq!(workloads["result"], "warning");

    let other = Registry::distribution(Access::Anonymous).await;
    let rival = other.push("team/one", "1", &single("rival")).await;
    deployment("rival").image(&rival).apply(&cluster.admin(), &namespace).await;
    let program = check_cluster(cluster, cluster.admin_token(), &namespace);
    let page = self::page(&program.config(&format!("includeNamespaces: [{namespace}]\n")).run().await.assert_code(0));
    let workloads = finding(&page, "workloads");
    assert!(workloads["found"].as_str().unwrap().ends_with(", 1 destination with a conflict"), "{workloads}");
    assert!(workloads["remedy"].as_str().unwrap().contains("$registry"), "{workloads}");
}

#[tokio::test]
async fn config_schema_prints_the_schema_of_the_repository() {
    let finished = Program::new(&["config", "schema"]).run().await.assert_code(0);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/config.schema.json");
    assert_eq!(finished.stdout, fs::read_to_string(file).unwrap());
}

#[tokio::test]
async fn further_sources_are_reached_and_opened() {
    let (mirror, source) =
        (Registry::distribution(Access::Basic).await, Registry::distribution(Access::Anonymous).await);
    let image = source.push("team/app", "1", &single("app")).await;
    let program = check_source(&image);
    let missing = program.directory().join("not-mounted").display().to_string();
    let (host, dead) = (mirror.host(), free_port());
    let config = format!(
        "sources:\n- {{ registry: '{host}/hub', prefix: index.docker.io }}\n- {{ registry: '127.0.0.1:{dead}' }}\n\
         - {{ layout: {missing} }}\n- {{ target: default }}\n\
         registryCredentials: [{{ registry: '{host}', username: {USER}, password: {PASSWORD} }}]\n"
    );
    let finished = program.config(&config).run().await.assert_code(1);
    let page = page(&finished);
    let reached = finding(&page, &format!("registry {host}/hub for docker.io"));
    assert_eq!(reached["result"], "ok", "{page:#}");
    assert!(reached["found"].as_str().unwrap().contains(&format!("user {USER}")), "{page:#}");
    assert_eq!(finding(&page, &format!("registry 127.0.0.1:{dead}"))["result"], "failed", "{page:#}");
    let unmounted = finding(&page, &format!("layout {missing}"));
    assert_eq!(unmounted["result"], "warning", "{page:#}");
    assert!(unmounted["remedy"].as_str().unwrap().contains("mount it"), "{page:#}");
    assert!(!finished.stdout.contains(PASSWORD));
}
