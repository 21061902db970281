//! Azure's registries, by the identity of Azure.

use serde_json::json;

use super::{check, failure, log_lines, sync};
use crate::{
    mirroring::{arrives, single},
    support::{
        Cluster, Finished, Program, Registry,
        clouds::{
            AZURE, Clouds,
            azure::{AUTHORITY, CLIENT, FEDERATED_TOKEN, SECRET, TENANT},
        },
        deployment,
    },
};

/// Runs it and asserts that it printed nothing of what was issued.
async fn run(clouds: &Clouds, program: &Program) -> Finished {
    let finished = program.run().await;
    for output in [&finished.stdout, &finished.stderr] {
        assert_eq!(clouds.find_secret(output), None, "{output}");
        assert!(!output.contains(FEDERATED_TOKEN) && !output.contains(SECRET), "{output}");
    }
    finished
}

async fn push(clouds: &Clouds, repositories: &[&str]) -> Vec<String> {
    let mut images = Vec::new();
    for repository in repositories {
        clouds.backend().push(repository, "1", &single("app")).await;
        images.push(format!("{AZURE}/{repository}:1"));
    }
    images
}

/// A Pod with the label of workload identity.
fn workload_identity(program: Program, clouds: &Clouds, token: &str) -> Program {
    program
        .env("AZURE_TENANT_ID", TENANT)
        .env("AZURE_CLIENT_ID", CLIENT)
        .env("AZURE_FEDERATED_TOKEN_FILE", clouds.file("azure-token", token))
        .env("AZURE_AUTHORITY_HOST", format!("https://{AUTHORITY}/"))
}

#[tokio::test]
async fn images_are_copied_with_each_kind_of_identity() {
    let clouds = Clouds::start().await;
    let images = push(&clouds, &["team/a", "team/b", "team/c"]).await;
    type Identity = fn(Program, &Clouds) -> Program;
    let identities: [(&str, &str, Identity); 4] = [
        ("workload identity", AUTHORITY, |program, clouds| workload_identity(program, clouds, FEDERATED_TOKEN)),
        ("a secret, without AZURE_AUTHORITY_HOST", AUTHORITY, |program, _| {
            program.env("AZURE_TENANT_ID", TENANT).env("AZURE_CLIENT_ID", CLIENT).env("AZURE_CLIENT_SECRET", SECRET)
        }),
        ("the machine", "metadata", |program, clouds| program.on_cloud_machine(clouds)),
        ("one of several of the machine", "metadata", |program, clouds| {
            program.on_cloud_machine(clouds).env("AZURE_CLIENT_ID", CLIENT)
        }),
    ];
    for (name, issuer, identity) in identities {
        let target = Registry::crane().await;
        let finished = run(&clouds, &identity(sync(&target, &images).clouds(&clouds), &clouds)).await;
        assert_eq!(finished.code, Some(0), "{name}: {finished:?}");
        target.assert_has("team/c", "1", &single("app")).await;
        let issuer = if issuer == "metadata" { clouds.metadata() } else { issuer.to_owned() };
        let requests = clouds.take_requests();
        let times = |matches: &dyn Fn(&crate::support::Request) -> bool| {
            requests.iter().filter(|request| matches(request)).count()
        };
        assert_eq!(times(&|request| request.host == issuer), 1, "{name}");
        assert_eq!(times(&|request| request.path == "/oauth2/exchange"), 1, "{name}");
        assert_eq!(times(&|request| request.host != issuer && request.host != AZURE), 0, "{name}: {requests:?}");
    }
}

#[tokio::test]
async fn what_fails_is_told_with_where_and_what_to_do() {
    let clouds = Clouds::start().await;
    let target = Registry::crane().await;
    let images = push(&clouds, &["team/app"]).await;
    type Identity = fn(Program, &Clouds) -> Program;
    let cases: [(Identity, &[&str]); 4] = [
        (
            |program, clouds| workload_identity(program, clouds, "of-another-cluster"),
            &["Microsoft Entra ID at https://login.microsoftonline.com", "AADSTS700213", "add a federated credential"],
        ),
        (
            |program, clouds| workload_identity(program, clouds, "").unset("AZURE_CLIENT_ID"),
            &["AZURE_FEDERATED_TOKEN_FILE is set without AZURE_TENANT_ID and AZURE_CLIENT_ID"],
        ),
        (
            |program, clouds| workload_identity(program, clouds, "").env("AZURE_FEDERATED_TOKEN_FILE", "/no/such/file"),
            &["/no/such/file can't be read", "webhook"],
        ),
        (
            |program, clouds| {
                clouds.refuse_metadata(
                    400,
                    json!({
                        "error": "invalid_request",
                        "error_description": "Multiple user assigned identities exist, please specify the clientId"
                    }),
                );
                program.on_cloud_machine(clouds)
            },
            &["Azure's metadata server", "Multiple user assigned identities", "set AZURE_CLIENT_ID"],
        ),
    ];
    for (identity, told) in cases {
        let program = identity(sync(&target, &images).clouds(&clouds), &clouds);
        let finished = run(&clouds, &program).await.assert_code(1);
        let line = failure(&finished);
        for text in told.iter().chain(&["team/app", "401"]) {
            assert!(line.contains(text), "{text}: {line}");
        }
        assert_eq!(log_lines(&finished, "the Azure identity can't be used"), 1, "{finished:?}");
    }
}

#[tokio::test]
async fn a_machine_without_an_identity_uses_the_registry_anonymously() {
    let clouds = Clouds::start().await;
    let target = Registry::crane().await;
    let images = push(&clouds, &["team/app"]).await;
    clouds.refuse_metadata(400, json!({ "error": "invalid_request", "error_description": "Identity not found" }));
    for program in
        [sync(&target, &images).clouds(&clouds), sync(&target, &images).clouds(&clouds).on_cloud_machine(&clouds)]
    {
        let finished = run(&clouds, &program).await.assert_code(1);
        assert!(failure(&finished).contains("no credentials are configured for this registry"), "{finished:?}");
        assert_eq!(log_lines(&finished, "can't be used"), 0, "{finished:?}");
    }
}

#[tokio::test]
async fn a_refusal_names_the_role() {
    let clouds = Clouds::start().await;
    let target = Registry::crane().await;
    let images = push(&clouds, &["forbidden/app"]).await;
    let program = sync(&target, &images).clouds(&clouds).on_cloud_machine(&clouds);
    let finished = run(&clouds, &program).await.assert_code(1);
    let line = failure(&finished);
    assert!(line.contains("403") && line.contains("AcrPull") && line.contains("no permission"), "{line}");
}

#[tokio::test]
async fn an_azure_registry_is_a_target_and_check_says_as_whom() {
    let clouds = Clouds::start().await;
    let source = Registry::crane().await;
    let image = source.push("team/app", "1", &single("app")).await;
    let on = |program: Program| {
        workload_identity(program.clouds(&clouds), &clouds, FEDERATED_TOKEN)
            .env("TARGET_KIND", "docker")
            .env("TARGET_REGISTRY", format!("{AZURE}/mirror"))
    };
    run(&clouds, &on(sync(&source, &[&image]))).await.assert_code(0);
    clouds.backend().assert_has("mirror/team/app", "1", &single("app")).await;
    let program = Program::new(&["check", "--output=json", "-f", "-"])
        .stdin(&deployment("app").image(&image).manifest().to_string());
    let login = check(on(program), "default: login").await;
    assert!(login.contains("accepted as the Azure identity"), "{login}");
}

#[tokio::test]
async fn tokens_are_requested_again_when_the_registry_no_longer_accepts_them() {
    let clouds = Clouds::start().await;
    let target = Registry::crane().await;
    let images = push(&clouds, &["team/app"]).await;
    // The first identity token is taken back before it is used.
    let program = sync(&target, &images).clouds(&clouds).on_cloud_machine(&clouds);
    clouds.revoke_next_identity_token();
    run(&clouds, &program).await.assert_code(0);
    let requests = clouds.take_requests();
    assert_eq!(requests.iter().filter(|request| request.path == "/oauth2/exchange").count(), 2, "{requests:?}");
}

#[tokio::test]
async fn everything_is_requested_anew_when_nothing_issued_is_accepted_any_more() {
    let clouds = Clouds::start().await;
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let target = Registry::crane().await;
    let images = push(&clouds, &["team/first", "team/second"]).await;
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let config =
        format!("includeNamespaces: [{namespace}]\ntargetKind: docker\ndocker: {{ registry: '{}' }}\n", target.host());
    let program = Program::controller(&kubeconfig).clouds(&clouds).on_cloud_machine(&clouds).config(&config);
    let mut program = program.start();
    program.ready().await;
    deployment("first").image(&images[0]).apply(&client, &namespace).await;
    arrives(&target, "team/first", "1", &single("app")).await;
    clouds.expire_tokens();
    deployment("second").image(&images[1]).apply(&client, &namespace).await;
    arrives(&target, "team/second", "1", &single("app")).await;
    let requests = clouds.take_requests();
    assert_eq!(requests.iter().filter(|request| request.host == clouds.metadata()).count(), 2, "{requests:?}");
    assert_eq!(program.metrics().await.sum("k8s_copycat_copy_failures_total", &[]), 0.0);
}
