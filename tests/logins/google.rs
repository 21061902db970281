//! Google's registries, by the identity of Google Cloud.

use serde_json::{Value, json};

use super::{check, failure, log_lines, sync};
use crate::{
    mirroring::{arrives, single},
    support::{
        Access, Cluster, Finished, Program, Registry, Request, SilentHost,
        clouds::{
            Clouds, GOOGLE, OTHER,
            google::{AUDIENCE, CLIENT_SECRET, REFRESH_TOKEN, SERVICE_ACCOUNT, SUBJECT_TOKEN},
        },
        deployment,
    },
};

/// Runs it and asserts that it printed nothing of what was issued.
async fn run(clouds: &Clouds, program: &Program) -> Finished {
    let finished = program.run().await;
    for output in [&finished.stdout, &finished.stderr] {
        assert_eq!(clouds.find_secret(output), None, "{output}");
        for secret in [SUBJECT_TOKEN, REFRESH_TOKEN, CLIENT_SECRET, "PRIVATE KEY"] {
            assert!(!output.contains(secret), "{output}");
        }
    }
    finished
}

/// Pushes an image to the registry behind, for each of these repositories.
async fn push(clouds: &Clouds, host: &str, repositories: &[&str]) -> Vec<String> {
    let mut images = Vec::new();
    for repository in repositories {
        clouds.backend().push(repository, "1", &single("app")).await;
        images.push(format!("{host}/{repository}:1"));
    }
    images
}

fn to_metadata(clouds: &Clouds, requests: &[Request]) -> usize {
    requests.iter().filter(|request| request.host == clouds.metadata()).count()
}

#[tokio::test]
async fn images_are_copied_with_the_identity_of_the_metadata_server() {
    let clouds = Clouds::start().await;
    let target = Registry::crane().await;
    let mut images = push(&clouds, GOOGLE, &["acme/prod/a", "acme/prod/b", "acme/prod/c"]).await;
    images.extend(push(&clouds, "gcr.io", &["acme/d"]).await);
    let program = sync(&target, &images).clouds(&clouds).on_cloud_machine(&clouds);
    run(&clouds, &program).await.assert_code(0);
    for repository in ["acme/prod/a", "acme/prod/c", "acme/d"] {
        target.assert_has(repository, "1", &single("app")).await;
    }
    assert_eq!(to_metadata(&clouds, &clouds.take_requests()), 1, "one token for all registries of Google");
}

#[tokio::test]
async fn each_kind_of_credentials_file_works() {
    let clouds = Clouds::start().await;
    let images = push(&clouds, GOOGLE, &["acme/prod/app"]).await;
    let impersonation = format!(
        "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{SERVICE_ACCOUNT}:generateAccessToken"
    );
    let json_token = json!({ "access_token": "other", "id_token": SUBJECT_TOKEN }).to_string();
    let [text, json_file] =
        [clouds.file("subject", &format!("{SUBJECT_TOKEN}\n")), clouds.file("subject.json", &json_token)];
    let federation = |source: Value, more: Value| {
        let mut file = json!({
            "type": "external_account",
            "audience": AUDIENCE,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": "https://sts.googleapis.com/v1/token",
            "credential_source": source,
        });
        file.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        file
    };
    let format = json!({ "type": "json", "subject_token_field_name": "id_token" });
    let user = json!({
        "type": "authorized_user",
        "client_id": "a-client",
        "client_secret": CLIENT_SECRET,
        "refresh_token": REFRESH_TOKEN,
    });
    let through_account = json!({ "service_account_impersonation_url": impersonation });
    for (name, credentials) in [
        (
            "a Pod of a cluster elsewhere, as a service account",
            federation(json!({ "file": text }), through_account.clone()),
        ),
        ("a token in JSON", federation(json!({ "file": json_file, "format": format }), through_account.clone())),
        (
            "a key of a service account",
            json!({
                "type": "service_account",
                "client_email": SERVICE_ACCOUNT,
                "private_key_id": "key-1",
                "private_key": clouds.service_account_key(),
                "token_uri": "https://oauth2.googleapis.com/token",
            }),
        ),
        ("a user", user.clone()),
        (
            "a user as a service account",
            json!({
                "type": "impersonated_service_account",
                "service_account_impersonation_url": impersonation,
                "source_credentials": user,
            }),
        ),
    ] {
        let target = Registry::crane().await;
        let file = clouds.file("credentials.json", &credentials.to_string());
        let program = sync(&target, &images).clouds(&clouds).on_cloud_machine(&clouds);
        let finished = run(&clouds, &program.env("GOOGLE_APPLICATION_CREDENTIALS", file)).await;
        assert_eq!(finished.code, Some(0), "{name}: {finished:?}");
        target.assert_has("acme/prod/app", "1", &single("app")).await;
        assert_eq!(to_metadata(&clouds, &clouds.take_requests()), 0, "{name}");
    }
}

#[tokio::test]
async fn a_credentials_file_that_can_not_be_used_is_named_with_the_cause() {
    let clouds = Clouds::start().await;
    let target = Registry::crane().await;
    let images = push(&clouds, GOOGLE, &["acme/prod/app", "public/app"]).await;
    let user = |refresh_token: &str| {
        json!({
            "type": "authorized_user",
            "client_id": "a-client",
            "client_secret": CLIENT_SECRET,
            "refresh_token": refresh_token,
        })
    };
    for (text, cause) in [
        (user("revoked").to_string(), "oauth2.googleapis.com: it responded with 400 Bad Request"),
        (
            format!("{{\"type\": \"authorized_user\",\n\"client_id\": \"{CLIENT_SECRET}\"}}"),
            "no JSON with credentials of Google",
        ),
        (json!({ "type": "gdch_service_account" }).to_string(), "its type is none of external_account"),
        (
            json!({
                "type": "external_account",
                "audience": AUDIENCE,
                "subject_token_type": "urn:ietf:params:aws:token-type:aws4_request",
                "token_url": "https://sts.googleapis.com/v1/token",
                "credential_source": { "environment_id": "aws1" },
            })
            .to_string(),
            "its credential_source is neither a file nor a url",
        ),
        (
            json!({
                "type": "authorized_user",
                "client_id": "a-client",
                "client_secret": CLIENT_SECRET,
                "refresh_token": REFRESH_TOKEN,
                "token_uri": "http://oauth2.googleapis.com/token",
            })
            .to_string(),
            "tokens are not sent without TLS",
        ),
    ] {
        let file = clouds.file("credentials.json", &text);
        let program = sync(&target, &images).clouds(&clouds).env("GOOGLE_APPLICATION_CREDENTIALS", &file);
        let finished = run(&clouds, &program).await.assert_code(1);
        let line = failure(&finished);
        // What is public is copied all the same.
        assert!(line.contains("acme/prod/app") && line.contains(cause), "{line}");
        assert!(line.contains(file.to_str().unwrap()) && line.contains("403"), "{line}");
        assert_eq!(log_lines(&finished, "the Google identity can't be used"), 1, "{finished:?}");
    }
    let program = sync(&target, &images).clouds(&clouds).env("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file");
    let finished = run(&clouds, &program).await.assert_code(1);
    assert!(failure(&finished).contains("/no/such/file can't be read: No such file"), "{finished:?}");
}

#[tokio::test]
async fn public_images_need_no_identity_and_one_look_serves_all_images() {
    let clouds = Clouds::start().await;
    let target = Registry::crane().await;
    let repositories: Vec<String> = (0..8).map(|number| format!("public/app{number}")).collect();
    let repositories: Vec<&str> = repositories.iter().map(String::as_str).collect();
    let images = [push(&clouds, GOOGLE, &repositories).await, push(&clouds, "gcr.io", &repositories).await].concat();
    let prefix = |program: Program| program.env("TARGET_REPO_PREFIX", "$registry");
    run(&clouds, &prefix(sync(&target, &images).clouds(&clouds))).await.assert_code(0);
    target.assert_has(&format!("{GOOGLE}/public/app7"), "1", &single("app")).await;
    // A machine of another cloud, or one where packets to the address are lost.
    let silent = SilentHost::start();
    let target = Registry::crane().await;
    let program = prefix(sync(&target, &images).clouds(&clouds)).env("GCE_METADATA_HOST", silent.host());
    run(&clouds, &program).await.assert_code(0);
    target.assert_has(&format!("{GOOGLE}/public/app7"), "1", &single("app")).await;
    assert_eq!(silent.connections(), 1);
}

#[tokio::test]
async fn other_registries_cause_no_request_to_a_metadata_server() {
    let clouds = Clouds::start().await;
    let target = Registry::crane().await;
    let locked = Registry::distribution(Access::Basic).await;
    let mut images = push(&clouds, OTHER, &["team/app"]).await;
    images.push(locked.push("team/app", "1", &single("app")).await);
    images.push("evil-gcr.io/team/app:1".to_owned());
    images.push("acme.azurecr.io.example.com/team/app:1".to_owned());
    let program = sync(&target, &images).clouds(&clouds).on_cloud_machine(&clouds);
    run(&clouds, &program.env("REGISTRY_RETRY_ATTEMPTS", "1")).await.assert_code(1);
    target.assert_has("team/app", "1", &single("app")).await;
    let requests = clouds.take_requests();
    assert!(!requests.is_empty() && requests.iter().all(|request| request.host == OTHER), "{requests:?}");
}

#[tokio::test]
async fn a_login_of_docker_comes_before_the_identity() {
    let clouds = Clouds::start().await;
    let target = Registry::crane().await;
    let images = push(&clouds, GOOGLE, &["acme/prod/app"]).await;
    let program = sync(&target, &images).clouds(&clouds).on_cloud_machine(&clouds);
    let docker = json!({ "auths": { GOOGLE: { "username": "_json_key", "password": "of-somebody" } } });
    let file = clouds.file("docker.json", &docker.to_string());
    let finished = run(&clouds, &program.env("DOCKER_CONFIG_FILE", &file)).await.assert_code(1);
    let line = failure(&finished);
    assert!(line.contains("user _json_key (of") && line.contains(file.to_str().unwrap()), "{line}");
    assert_eq!(to_metadata(&clouds, &clouds.take_requests()), 0);
}

#[tokio::test]
async fn what_is_public_is_copied_although_the_login_is_not_accepted() {
    let clouds = Clouds::start().await;
    let images = push(&clouds, GOOGLE, &["acme/prod/app", "public/app", "public/other"]).await;
    clouds.refuse_metadata(200, json!({ "access_token": "unknown", "expires_in": 3599, "token_type": "Bearer" }));
    let expired = json!({ "auths": { GOOGLE: { "username": "_json_key", "password": "of-somebody" } } });
    let expired = clouds.file("docker.json", &expired.to_string());
    type Setup<'t> = &'t dyn Fn(Program) -> Program;
    let setups: [(Setup<'_>, &str); 2] = [
        (&|program| program.on_cloud_machine(&clouds), "the Google identity"),
        (&|program| program.env("DOCKER_CONFIG_FILE", &expired), "user _json_key"),
    ];
    for (setup, whom) in setups {
        let target = Registry::crane().await;
        let finished = run(&clouds, &setup(sync(&target, &images).clouds(&clouds))).await.assert_code(1);
        target.assert_has("public/app", "1", &single("app")).await;
        target.assert_has("public/other", "1", &single("app")).await;
        assert!(failure(&finished).contains("acme/prod/app"), "{finished:?}");
        assert_eq!(log_lines(&finished, &format!("the registry does not accept {whom}")), 1, "{finished:?}");
    }
}

#[tokio::test]
async fn a_refusal_names_the_role_and_the_metadata_servers_own_cause() {
    let clouds = Clouds::start().await;
    let target = Registry::crane().await;
    let images = push(&clouds, GOOGLE, &["acme/prod/app"]).await;
    // The token is taken for another's.
    clouds.refuse_metadata(200, json!({ "access_token": "unknown", "expires_in": 3599, "token_type": "Bearer" }));
    let program = sync(&target, &images).clouds(&clouds).on_cloud_machine(&clouds);
    let finished = run(&clouds, &program).await.assert_code(1);
    assert!(failure(&finished).contains("roles/artifactregistry.reader"), "{finished:?}");
    clouds.refuse_metadata(403, json!({ "error": "Permission 'iam.serviceAccounts.getAccessToken' denied" }));
    let finished = run(&clouds, &program).await.assert_code(1);
    let line = failure(&finished);
    assert!(line.contains(&format!("Google's metadata server at {}", clouds.metadata())), "{line}");
    assert!(line.contains("iam.serviceAccounts.getAccessToken") && line.contains("workload identity"), "{line}");
    // Without a service account the machine has no identity, which is no failure.
    clouds.refuse_metadata(404, json!({}));
    let finished = run(&clouds, &program).await.assert_code(1);
    assert!(failure(&finished).contains("403 Forbidden"), "{finished:?}");
    assert_eq!(log_lines(&finished, "can't be used"), 0, "{finished:?}");
}

#[tokio::test]
async fn check_warns_of_an_identity_that_can_not_be_used() {
    let clouds = Clouds::start().await;
    let image = push(&clouds, GOOGLE, &["public/app"]).await.remove(0);
    clouds.refuse_metadata(403, json!({ "error": "denied" }));
    let program = Program::new(&["check", "--output=json", "-f", "-"])
        .stdin(&deployment("app").image(&image).manifest().to_string());
    let layout = program.directory().join("layout");
    let program = program.clouds(&clouds).on_cloud_machine(&clouds);
    let found = check(program.env("TARGET_KIND", "oci-layout").env("TARGET_PATH", layout), GOOGLE).await;
    assert!(found.contains("\"warning\"") && found.contains("anonymously (requesting a token of Google's"), "{found}");
}

#[tokio::test]
async fn artifact_registry_is_a_target_and_check_says_as_whom() {
    let clouds = Clouds::start().await;
    let source = Registry::crane().await;
    let image = source.push("team/app", "1", &single("app")).await;
    let on = |program: Program| {
        program
            .clouds(&clouds)
            .on_cloud_machine(&clouds)
            .env("TARGET_KIND", "docker")
            .env("TARGET_REGISTRY", format!("{GOOGLE}/acme/prod"))
    };
    run(&clouds, &on(sync(&source, &[&image]))).await.assert_code(0);
    clouds.backend().assert_has("acme/prod/team/app", "1", &single("app")).await;
    let program = Program::new(&["check", "--output=json", "-f", "-"])
        .stdin(&deployment("app").image(&push(&clouds, GOOGLE, &["acme/other/app"]).await[0]).manifest().to_string());
    let program = on(program);
    let finished = run(&clouds, &program).await;
    assert!(finished.stdout.contains("reached over TLS as the Google identity"), "{finished:?}");
    let login = check(program, "default: login").await;
    assert!(login.contains("accepted as the Google identity"), "{login}");
}

#[tokio::test]
async fn tokens_are_renewed_when_the_registry_no_longer_accepts_them() {
    let clouds = Clouds::start().await;
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let target = Registry::crane().await;
    let images = push(&clouds, GOOGLE, &["acme/prod/first", "acme/prod/second"]).await;
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let config =
        format!("includeNamespaces: [{namespace}]\ntargetKind: docker\ndocker: {{ registry: '{}' }}\n", target.host());
    let program = Program::controller(&kubeconfig).clouds(&clouds).on_cloud_machine(&clouds).config(&config);
    let mut program = program.start();
    program.ready().await;
    deployment("first").image(&images[0]).apply(&client, &namespace).await;
    arrives(&target, "acme/prod/first", "1", &single("app")).await;
    clouds.expire_tokens();
    deployment("second").image(&images[1]).apply(&client, &namespace).await;
    arrives(&target, "acme/prod/second", "1", &single("app")).await;
    assert_eq!(to_metadata(&clouds, &clouds.take_requests()), 2);
    assert_eq!(program.metrics().await.sum("k8s_copycat_copy_failures_total", &[]), 0.0);
}
