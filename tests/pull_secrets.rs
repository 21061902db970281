//! Images that only the pull secrets of their own namespaces open.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::{Api, api::DeleteParams};
use serde_json::{Value, json};

use crate::{
    mirroring::{arrives, index, single},
    support::{Access, Cluster, Finished, Program, Registry, Running, deployment, eventually, pod, stateful_set},
};

/// The namespace that the program is installed in.
const OWN: &str = "mirror-system";
const ACCOUNT: &str = "copycat";

fn password(user: &str) -> String {
    format!("geheim-{user}")
}

/// A pull secret with a login for each key.
fn secret(namespace: &str, name: &str, logins: &[(&str, &str)]) -> Value {
    let auths: Value = logins
        .iter()
        .map(|(key, user)| {
            let auth = STANDARD.encode(format!("{user}:{}", password(user)));
            ((*key).to_owned(), json!({ "auth": auth }))
        })
        .collect::<serde_json::Map<_, _>>()
        .into();
    json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": name, "namespace": namespace },
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": { ".dockerconfigjson": json!({ "auths": auths }).to_string() },
    })
}

/// One in the format before that.
fn legacy_secret(namespace: &str, name: &str, key: &str, user: &str) -> Value {
    let mut entries = json!({});
    entries[key] = json!({ "username": user, "password": password(user), "email": "a@b.example" });
    let mut secret = secret(namespace, name, &[]);
    secret["type"] = "kubernetes.io/dockercfg".into();
    secret["stringData"] = json!({ ".dockercfg": entries.to_string() });
    secret
}

fn account(namespace: &str, name: &str, secrets: &[&str]) -> Value {
    let secrets: Vec<Value> = secrets.iter().map(|name| json!({ "name": name })).collect();
    json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": name, "namespace": namespace },
        "imagePullSecrets": secrets,
    })
}

fn names(secrets: &[&str]) -> Value {
    json!({ "imagePullSecrets": secrets.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>() })
}

async fn apply(cluster: &Cluster, objects: &[Value]) {
    for object in objects {
        cluster.apply(&object.to_string()).await;
    }
}

/// A cluster of its own with the namespaces `team-a`, `team-b`, `team-c` and the program's, since the roles have fixed names.
async fn cluster() -> Cluster {
    let cluster = Cluster::start().await;
    for namespace in [OWN, "team-a", "team-b", "team-c"] {
        let metadata = json!({ "name": namespace });
        apply(&cluster, &[json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata })]).await;
    }
    apply(&cluster, &[account(OWN, ACCOUNT, &[])]).await;
    cluster
}

fn config(target: &Registry) -> String {
    format!(
        "targetKind: docker\ndocker: {{ registry: '{}' }}\nincludeNamespaces: [team-a, team-b, team-c]\npullSecrets: all\n\
         logLevel: debug\nregistryRetryAttempts: 1\n",
        target.host()
    )
}

/// What `rbac` prints for the cluster.
async fn rbac(cluster: &Cluster, target: &Registry, token: &str, more: &[&str]) -> Finished {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), token);
    let arguments = [&["rbac", "--install-namespace", OWN, "--service-account", ACCOUNT], more].concat();
    Program::new(&arguments).arg("--kubeconfig").arg(kubeconfig).config(&config(target)).run().await
}

/// The controller with the rights of the ServiceAccount.
async fn controller(cluster: &Cluster, target: &Registry) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let token = cluster.service_account_token(OWN, ACCOUNT).await;
    let kubeconfig = cluster.kubeconfig(directory.path(), &token);
    let mut program = Program::controller(&kubeconfig).env("POD_NAMESPACE", OWN).config(&config(target)).start();
    program.ready().await;
    program
}

#[tokio::test]
async fn images_arrive_that_only_the_secrets_of_their_namespaces_open() {
    let cluster = cluster().await;
    let (source, target) = (Registry::distribution(Access::Token).await, Registry::crane().await);
    let host = source.host();
    let port = host.rsplit(':').next().unwrap();
    // Each may read the repositories of one team only.
    for (user, repositories) in [("anna", "a/"), ("ben", "b/"), ("carl", "c/"), ("nobody", "nothing/")] {
        source.add_user(user, &password(user), repositories);
    }
    let images = ["a/app", "a/model", "b/app", "b/job", "c/app", "c/old"].map(|name| (name, index(name)));
    let mut references = Vec::new();
    for (repository, image) in &images {
        references.push(source.push(repository, "1", image).await);
    }
    let [a_app, a_model, b_app, b_job, c_app, c_old] = &references[..] else { panic!("{references:?}") };
    apply(
        &cluster,
        &[
            // Two secrets for one host, of which the first is wrong; and one that has nothing for it.
            secret("team-a", "other", &[("registry.example", "anna")]),
            secret("team-a", "wrong", &[(&host, "nobody")]),
            secret("team-a", "right", &[(&host, "anna")]),
            // A glob, by way of a ServiceAccount.
            secret("team-b", "glob", &[(&format!("*.*.0.1:{port}"), "ben")]),
            account("team-b", "builder", &["glob"]),
            account("team-b", "default", &["glob", "missing"]),
            // The old format.
            legacy_secret("team-c", "old", &format!("http://{host}/v1/"), "carl"),
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "tls", "namespace": "team-c" },
                    "type": "Opaque", "stringData": { "password": "geheim-tls" } }),
            account("team-c", "default", &[]),
        ],
    )
    .await;
    let client = cluster.admin();
    deployment("app")
        .image(a_app)
        .image_volume("model", a_model)
        .pod_spec(names(&["other", "wrong", "right"]))
        .apply(&client, "team-a")
        .await;
    deployment("app").image(b_app).pod_spec(json!({ "serviceAccountName": "builder" })).apply(&client, "team-b").await;
    stateful_set("job").image(b_job).apply(&client, "team-b").await;
    pod("app").image(c_app).pod_spec(names(&["old"])).apply(&client, "team-c").await;
    deployment("old").image(c_old).pod_spec(names(&["tls", "old"])).apply(&client, "team-c").await;

    let printed = rbac(&cluster, &target, cluster.admin_token(), &[]).await.assert_code(0);
    assert_eq!(rbac(&cluster, &target, cluster.admin_token(), &[]).await.stdout, printed.stdout, "it is stable");
    for object in serde_yaml::from_multiple::<Value>(&printed.stdout).unwrap() {
        cluster.validate(&object).await.unwrap_or_else(|error| panic!("{error}: {object:#}"));
    }
    cluster.apply(&printed.stdout).await;

    source.take_logins();
    let program = controller(&cluster, &target).await;
    for (repository, image) in &images {
        arrives(&target, repository, "1", image).await;
    }
    let log = program.log();
    for user in ["anna", "ben", "carl", "nobody", "tls"] {
        let encoded = STANDARD.encode(format!("{user}:{}", password(user)));
        assert!(!log.contains(&password(user)) && !log.contains(&encoded), "{log}");
    }
    assert!(log.contains("pull secret team-a/right"), "{log}");
    let logins = source.take_logins();
    assert!(logins.iter().any(|(user, _)| user == "nobody"), "the wrong one is tried first: {logins:?}");
    let teams = [("anna", "a/"), ("nobody", "a/"), ("ben", "b/"), ("carl", "c/")];
    for (user, scope) in &logins {
        let (_, repositories) = teams.iter().find(|(known, _)| known == user).unwrap_or_else(|| panic!("{logins:?}"));
        assert!(scope.starts_with(&format!("repository:{repositories}")), "{user} {scope}: {logins:?}");
    }
    // Read by name, when needed; nothing is listed or watched.
    let audit = cluster.audit(OWN, ACCOUNT);
    let secrets: Vec<&Value> = audit.iter().filter(|event| event["objectRef"]["resource"] == "secrets").collect();
    assert!(!secrets.is_empty());
    assert!(secrets.iter().all(|event| event["verb"] == "get"), "{secrets:#?}");
    let refused = secrets.iter().find(|event| event["responseStatus"]["code"] == 403);
    assert!(refused.is_none(), "the printed roles are sufficient: {refused:#?}");
    program.terminate().await.assert_code(0);
}

#[tokio::test]
async fn an_image_of_several_namespaces_is_read_with_any_of_theirs_and_no_secret_while_the_target_has_it() {
    let cluster = cluster().await;
    let (source, target) = (Registry::distribution(Access::Token).await, Registry::crane().await);
    let host = source.host();
    for user in ["anna", "ben"] {
        source.add_user(user, &password(user), if user == "ben" { "b/" } else { "nothing/" });
    }
    let image = index("shared");
    source.push("b/app", "1", &image).await;
    let pinned = format!("{host}/b/app@{}", image.digest());
    apply(&cluster, &[secret("team-a", "regcred", &[(&host, "anna")]), secret("team-b", "regcred", &[(&host, "ben")])])
        .await;
    let client = cluster.admin();
    for namespace in ["team-a", "team-b"] {
        deployment("app").image(&pinned).pod_spec(names(&["regcred"])).apply(&client, namespace).await;
    }
    cluster.apply(&rbac(&cluster, &target, cluster.admin_token(), &[]).await.assert_code(0).stdout).await;
    let reads = || {
        let audit = cluster.audit(OWN, ACCOUNT);
        audit.iter().filter(|event| event["objectRef"]["resource"] == "secrets").count()
    };
    let program = controller(&cluster, &target).await;
    arrives(&target, "b/app", image.digest(), &image).await;
    program.terminate().await.assert_code(0);
    let once = Registry::crane().await;
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), &cluster.service_account_token(OWN, ACCOUNT).await);
    let sync = Program::new(&["sync"]).arg("--kubeconfig").arg(kubeconfig).config(&config(&once));
    let finished = sync.run().await.assert_code(0);
    assert!(!(finished.stdout + &finished.stderr).contains("geheim"));
    once.assert_has("b/app", image.digest(), &image).await;
    let before = reads();
    assert!(before > 0);

    source.take_requests();
    let program = controller(&cluster, &target).await;
    let body = program.post("/force-reconcile").await.1;
    assert!(body.contains(r#""success":true,"workloadsProcessed":2,"imagesMirrored":2,"#), "{body}");
    assert_eq!(reads(), before, "the target answers without the source");
    assert!(source.take_requests().is_empty());
    program.terminate().await.assert_code(0);
}

#[tokio::test]
async fn a_missing_right_is_told_once_with_its_rule_and_by_check() {
    let cluster = cluster().await;
    let (source, target) = (Registry::distribution(Access::Token).await, Registry::crane().await);
    let host = source.host();
    source.add_user("anna", &password("anna"), "a/");
    source.add_user("ben", &password("ben"), "b/");
    let (first, second, third) = (single("first"), single("second"), single("third"));
    let a_app = source.push("a/app", "1", &first).await;
    let b_first = source.push("b/first", "1", &second).await;
    let b_second = source.push("b/second", "1", &third).await;
    apply(&cluster, &[secret("team-a", "regcred", &[(&host, "anna")]), secret("team-b", "regcred", &[(&host, "ben")])])
        .await;
    let client = cluster.admin();
    for (namespace, name, image) in
        [("team-a", "app", &a_app), ("team-b", "first", &b_first), ("team-b", "second", &b_second)]
    {
        deployment(name).image(image).pod_spec(names(&["regcred"])).apply(&client, namespace).await;
    }
    cluster.apply(&rbac(&cluster, &target, cluster.admin_token(), &[]).await.assert_code(0).stdout).await;
    let bindings: Api<RoleBinding> = Api::namespaced(client.clone(), "team-b");
    bindings.delete("k8s-copycat-pull-secrets", &DeleteParams::default()).await.unwrap();
    let roles: Api<Role> = Api::namespaced(client.clone(), "team-b");
    roles.delete("k8s-copycat-pull-secrets", &DeleteParams::default()).await.unwrap();

    let program = controller(&cluster, &target).await;
    arrives(&target, "a/app", "1", &first).await;
    let rule = "add {apiGroups: [\"\"], resources: [secrets], resourceNames: [regcred], verbs: [get]} to a Role in namespace \
                team-b";
    let (first_error, second_error) = ("secret team-b/regcred can't be read", "can't be read: add {apiGroups");
    let status = eventually("both failures name the right", || async {
        let status: Value = serde_json::from_str(&program.get("/status").await.1).unwrap();
        let texts: Vec<String> = status["images"].as_array().unwrap().iter().map(Value::to_string).collect();
        let named = texts.iter().filter(|text| text.contains(first_error) && text.contains(second_error));
        (named.count() == 2).then_some(status)
    })
    .await;
    assert!(status.to_string().contains("anonymous: denied") || status.to_string().contains("team-b"), "{status}");
    let log = program.log();
    let told = log.lines().filter(|line| line.contains("pull secrets of this namespace can't be read")).count();
    assert_eq!(told, 1, "{log}");
    assert!(log.contains(&rule.replace('"', "\\\"")), "{log}");
    assert!(!log.contains("geheim"), "{log}");

    let check = |token: String| {
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = cluster.kubeconfig(directory.path(), &token);
        let program = Program::new(&["check"]).arg("--kubeconfig").arg(kubeconfig).config(&config(&target));
        async move {
            let finished = program.env("POD_NAMESPACE", OWN).run().await;
            drop(directory);
            finished
        }
    };
    let token = cluster.service_account_token(OWN, ACCOUNT).await;
    let missing = check(token.clone()).await.assert_code(1).stdout;
    let flat = missing.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("get secrets in namespace team-b") && flat.contains(rule), "{missing}");

    // Granted again: the cooldown ends by itself, or at once on request.
    cluster.apply(&rbac(&cluster, &target, cluster.admin_token(), &["--pull-secrets-only"]).await.stdout).await;
    program.post("/reset-cooldown").await;
    arrives(&target, "b/first", "1", &second).await;
    arrives(&target, "b/second", "1", &third).await;
    let complete = check(token).await;
    let flat = complete.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("get secrets granted in 2 namespaces"), "{}", complete.stdout);
    assert!(flat.contains("with pull secret team-"), "as whom the source is reached: {}", complete.stdout);
    assert!(!complete.stdout.contains("geheim"));
    program.terminate().await.assert_code(0);
}

#[tokio::test]
async fn rbac_needs_no_right_to_read_secrets_and_says_what_it_cannot_know() {
    let cluster = cluster().await;
    let target = Registry::crane().await;
    apply(&cluster, &[account("team-a", "default", &["regcred"]), account("team-a", "reader", &[])]).await;
    deployment("app").image("registry.example/app:1").apply(&cluster.admin(), "team-a").await;
    let only_lists = "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: only-lists }
rules:
  - { apiGroups: ['', apps, batch], resources: [pods, namespaces, deployments, replicasets, statefulsets, daemonsets, jobs, cronjobs], verbs: [list] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: only-lists }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: only-lists }
subjects: [{ kind: ServiceAccount, name: reader, namespace: team-a }]
";
    cluster.apply(only_lists).await;
    let token = cluster.service_account_token("team-a", "reader").await;
    let finished = rbac(&cluster, &target, &token, &["--pull-secrets-only"]).await.assert_code(1);
    assert!(finished.stdout.contains("# INCOMPLETE: service account team-a/default can't be read"), "{finished:?}");
    assert!(finished.stdout.contains("resourceNames: [default]"), "{finished:?}");
    assert!(!cluster.audit("team-a", "reader").iter().any(|event| event["objectRef"]["resource"] == "secrets"));

    let accounts = only_lists
        .replace("only-lists", "reads-accounts")
        .replace("resources: [pods,", "resources: [serviceaccounts, pods,")
        .replace("verbs: [list]", "verbs: [get, list]");
    cluster.apply(&accounts).await;
    let finished = rbac(&cluster, &target, &token, &["--pull-secrets-only"]).await.assert_code(0);
    assert!(finished.stdout.contains("resourceNames: [regcred]"), "{finished:?}");
    assert!(!finished.stdout.contains("ClusterRole"), "{finished:?}");
    assert!(!cluster.audit("team-a", "reader").iter().any(|event| event["objectRef"]["resource"] == "secrets"));
}
