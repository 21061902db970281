//! The endpoints that act, with callers that the cluster authorizes.

use reqwest::Method;

use crate::support::{Cluster, Program, Running};

const ACTING: [&str; 2] = ["/force-reconcile", "/reset-cooldown"];

/// Accounts of callers, of which only the first may post to both paths, and one of the program, as in the manifest.
async fn accounts(cluster: &Cluster) -> String {
    let namespace = cluster.namespace().await;
    let account = |name: &str| {
        format!("apiVersion: v1\nkind: ServiceAccount\nmetadata: {{ name: {name}, namespace: {namespace} }}\n---\n")
    };
    let rbac = format!(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{ name: {namespace}-caller }}
rules:
  - {{ nonResourceURLs: [/force-reconcile, /reset-cooldown], verbs: [post] }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{ name: {namespace}-caller }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {namespace}-caller }}
subjects: [{{ kind: ServiceAccount, name: allowed, namespace: {namespace} }}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{ name: {namespace}-reader }}
rules:
  - {{ apiGroups: ['', apps, batch], resources: ['*'], verbs: [list, watch] }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{ name: {namespace}-reader }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {namespace}-reader }}
subjects: [{{ kind: ServiceAccount, name: program, namespace: {namespace} }}]
"
    );
    cluster.apply(&(account("allowed") + &account("other") + &account("program") + &rbac)).await;
    namespace
}

/// The controller with a token of the cluster; it watches one namespace and never copies.
async fn controller(cluster: &Cluster, token: &str, namespace: &str, more: &str) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), token);
    let config = format!(
        "targetKind: docker\ndocker: {{ registry: mirror.test }}\ndryPull: true\nincludeNamespaces: [{namespace}]\n{more}"
    );
    let mut program = Program::controller(&kubeconfig).config(&config).start();
    program.ready().await;
    program
}

async fn admitted_controller(cluster: &Cluster, namespace: &str) -> Running {
    controller(cluster, cluster.admin_token(), namespace, "operationsAuthorization: kubernetes\n").await
}

#[tokio::test]
async fn only_callers_whom_rbac_allows_can_act() {
    let cluster = Cluster::shared().await;
    let namespace = accounts(cluster).await;
    let program = admitted_controller(cluster, &namespace).await;
    let allowed = cluster.service_account_token(&namespace, "allowed").await;
    let other = cluster.service_account_token(&namespace, "other").await;
    for path in ACTING {
        let (status, body) = program.post(path).await;
        assert_eq!(status, 401, "{body}");
        assert!(body.starts_with("{\"message\":") && body.contains("Authorization: Bearer") && body.ends_with("}\n"));

        let (status, body) = program.request_as("not-a-token", Method::POST, path).await;
        assert_eq!(status, 401, "{body}");
        assert!(body.contains("does not know this token"), "{body}");

        let (status, body) = program.request_as(&other, Method::POST, path).await;
        assert_eq!(status, 403, "{body}");
        let user = format!("system:serviceaccount:{namespace}:other");
        let rule = format!("{{nonResourceURLs: [{path}], verbs: [post]}}");
        assert!(body.contains(&user) && body.contains(&rule), "{body}");

        for _ in 0..2 {
            let (status, body) = program.request_as(&allowed, Method::POST, path).await;
            assert_eq!(status, 200, "{body}");
        }
        assert_eq!(program.request_as(&allowed, Method::GET, path).await.0, 403, "only post is granted");
        assert_eq!(program.request_as(&allowed, Method::PUT, path).await.0, 405);
    }
    assert_eq!(program.get("/metrics").await.0, 200, "reading needs no token");
    assert_eq!(program.get("/plugins").await.0, 200);
    let finished = program.terminate().await.assert_code(0);
    for token in [&allowed, &other] {
        assert!(!finished.stdout.contains(token.as_str()), "a token is in the log");
    }
}

#[tokio::test]
async fn a_denied_caller_may_act_soon_after_the_rule_was_added() {
    let cluster = Cluster::shared().await;
    let namespace = accounts(cluster).await;
    let program = admitted_controller(cluster, &namespace).await;
    let other = cluster.service_account_token(&namespace, "other").await;
    assert_eq!(program.request_as(&other, Method::POST, "/reset-cooldown").await.0, 403);
    let binding = format!(
        "apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{ name: {namespace}-other }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: {namespace}-caller }}
subjects: [{{ kind: ServiceAccount, name: other, namespace: {namespace} }}]
"
    );
    cluster.apply(&binding).await;
    crate::support::eventually("the caller is allowed", || async {
        let (status, _) = program.request_as(&other, Method::POST, "/reset-cooldown").await;
        (status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_program_that_may_not_ask_says_which_rule_it_lacks() {
    let cluster = Cluster::shared().await;
    let namespace = accounts(cluster).await;
    let own = cluster.service_account_token(&namespace, "program").await;
    let program = controller(cluster, &own, &namespace, "operationsAuthorization: kubernetes\n").await;
    let allowed = cluster.service_account_token(&namespace, "allowed").await;
    let (status, body) = program.request_as(&allowed, Method::POST, "/reset-cooldown").await;
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("can't be asked") && !body.contains(&namespace), "{body}");
    let rule = "{apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]}";
    program.logged("the missing rule", |log| log.contains(rule)).await;
}

#[tokio::test]
async fn nobody_can_act_while_the_api_server_is_away() {
    let mut cluster = Cluster::start().await;
    let namespace = accounts(&cluster).await;
    let program = admitted_controller(&cluster, &namespace).await;
    let allowed = cluster.service_account_token(&namespace, "allowed").await;
    assert_eq!(program.request_as(&allowed, Method::POST, "/force-reconcile").await.0, 200);
    cluster.stop_apiserver();
    let (status, body) = program.request_as(&allowed, Method::POST, "/reset-cooldown").await;
    assert_eq!(status, 503, "{body}");
    assert!(body.contains("can't be asked about this token"), "{body}");
}

#[tokio::test]
async fn everybody_can_act_by_default_and_a_change_of_that_needs_a_restart() {
    let cluster = Cluster::shared().await;
    let namespace = accounts(cluster).await;
    let program = controller(cluster, cluster.admin_token(), &namespace, "").await;
    for path in ACTING {
        assert_eq!(program.post(path).await.0, 200);
    }
    program.rewrite_config(&format!(
        "targetKind: docker\ndocker: {{ registry: mirror.test }}\ndryPull: true\nincludeNamespaces: [{namespace}]\n\
         operationsAuthorization: kubernetes\n"
    ));
    crate::support::eventually("the change is known", || async {
        program.get("/plugins").await.1.contains("\"needsRestart\":[\"operationsAuthorization\"]").then_some(())
    })
    .await;
    assert_eq!(program.post("/reset-cooldown").await.0, 200);
}
