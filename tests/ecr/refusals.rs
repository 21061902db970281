//! Refusals of AWS and wrong settings are reported in one sentence that says what to do.

use super::{REGION, failure, run, sync, times};
use crate::{
    mirroring::single,
    support::{Access, Aws, Fault, Refusal, Registry, Request},
};

fn assert_contains_all(failed: &str, all: &[&str]) {
    for expected in all {
        assert!(failed.contains(expected), "{expected}: {failed}");
    }
}

async fn app() -> (Registry, String) {
    let source = Registry::distribution(Access::Anonymous).await;
    let image = source.push("team/app", "1", &single("app")).await;
    (source, image)
}

#[tokio::test]
async fn names_the_denied_action_and_the_permission_to_add() {
    let (_source, image) = app().await;
    let policy = r#"{"rules":[{"rulePriority":1,"selection":{"tagStatus":"untagged","countType":"imageCountMoreThan","countNumber":9},"action":{"type":"expire"}}]}"#;
    for action in
        ["ecr:GetAuthorizationToken", "ecr:DescribeRepositories", "ecr:CreateRepository", "ecr:PutLifecyclePolicy"]
    {
        let aws = Aws::start().await;
        aws.refuse(1000, action, Refusal::AccessDenied);
        let config = format!(
            "logLevel: debug\necr: {{ accountID: {}, region: {REGION}, lifecyclePolicy: '{policy}' }}\n",
            aws.account()
        );
        let finished = run(&aws, &sync(&aws, &[&image]).config(&config)).await.assert_code(1);
        let user = format!("arn:aws:sts::{}:assumed-role/copycat/session", aws.account());
        assert_contains_all(failure(&finished), &[action, "allow", &user]);
        assert_eq!(times(&aws.take_calls(), action), 1, "a denial is not retried");
    }
}

#[tokio::test]
async fn reports_the_registrys_own_denial_message() {
    let (_source, image) = app().await;
    let aws = Aws::start().await;
    let message = "User: arn:aws:sts::1:assumed-role/copycat/session is not authorized to perform: \
                   ecr:InitiateLayerUpload on resource: team/app because no identity-based policy allows the \
                   ecr:InitiateLayerUpload action";
    aws.inject(1000, |request| request.method == "POST", Fault::Refuse(403, "DENIED", message.to_owned()));
    let finished = run(&aws, &sync(&aws, &[&image])).await.assert_code(1);
    assert_contains_all(failure(&finished), &["403", "ecr:InitiateLayerUpload"]);
    assert_eq!(times(&aws.take_calls(), "ecr:GetAuthorizationToken"), 1);
}

#[tokio::test]
async fn retries_unavailable_and_throttled_services() {
    let (_source, image) = app().await;
    let aws = Aws::start().await;
    for action in ["ecr:GetAuthorizationToken", "ecr:DescribeRepositories", "ecr:CreateRepository"] {
        aws.refuse(1, action, Refusal::Throttled);
        aws.refuse(1, action, Refusal::Unavailable);
    }
    run(&aws, &sync(&aws, &[&image])).await.assert_code(0);
    let calls = aws.take_calls();
    assert_eq!(times(&calls, "ecr:CreateRepository"), 3, "{calls:?}");
}

#[tokio::test]
async fn reports_an_unknown_region() {
    let (_source, image) = app().await;
    let aws = Aws::start().await;
    // The region is unknown because its host name does not resolve.
    let program = sync(&aws, &[&image]).env("AWS_REGION", "eu-cental-1").unset("AWS_ENDPOINT_URL");
    let finished = run(&aws, &program).await.assert_code(1);
    assert_contains_all(failure(&finished), &["eu-cental-1", "AWS_REGION", "ecr.region"]);
    assert_eq!(aws.take_calls(), []);
}

#[tokio::test]
async fn reports_an_unreachable_registry() {
    let (_source, image) = app().await;
    let aws = Aws::start().await;
    let program = sync(&aws, &[&image]).env("AWS_REGION", "eu-cental-1");
    let finished = run(&aws, &program).await.assert_code(1);
    assert_contains_all(failure(&finished), &["dkr.ecr.eu-cental-1.amazonaws.com"]);
}

#[tokio::test]
async fn validates_ecr_settings_at_startup() {
    let aws = Aws::start().await;
    let broken = "{\n  \"rules\": [\n    {\"rulePriority\": 1,}\n  ]\n}";
    let indented = broken.replace('\n', "\n    ");
    for (config, expected) in [
        ("{}".to_owned(), &["ECR_ACCOUNT_ID", "ecr.accountID", "AWS_REGION", "ecr.region"][..]),
        (format!("ecr: {{ region: {REGION} }}"), &["ECR_ACCOUNT_ID", "ecr.accountID"]),
        ("ecr: { accountID: 123456789012 }".to_owned(), &["AWS_REGION", "ecr.region"]),
        (format!("ecr: {{ accountID: 12345, region: {REGION} }}"), &["12345", "twelve digits"]),
        (
            format!("ecr:\n  accountID: 123456789012\n  region: {REGION}\n  lifecyclePolicy: |\n    {indented}\n"),
            &["lifecyclePolicy", "line 3 column 24"],
        ),
        (
            format!("ecr: {{ accountID: 123456789012, region: {REGION}, repositoryPolicy: '[1' }}"),
            &["repositoryPolicy", "line 1 column 0"],
        ),
        (
            format!("ecr: {{ accountID: 123456789012, region: {REGION}, assumeRoleArn: mirror }}"),
            &["assumeRoleArn", "mirror", "arn:aws:iam::"],
        ),
        (
            format!("ecr: {{ accountID: 123456789012, region: {REGION}, tagMutability: frozen }}"),
            &["tagMutability", "frozen", "immutable"],
        ),
    ] {
        let program = sync(&aws, &["quay.io/a/b:1"]).env("ECR_ACCOUNT_ID", "").env("AWS_REGION", "").config(&config);
        let finished = run(&aws, &program).await.assert_code(2);
        assert_contains_all(&finished.stderr, expected);
        assert_eq!((aws.take_calls(), aws.take_requests()), (vec![], vec![]), "{config}");
    }
}

#[tokio::test]
async fn reports_a_role_that_can_not_be_assumed() {
    let (_source, image) = app().await;
    let aws = Aws::start().await;
    aws.refuse(1000, "sts:AssumeRole", Refusal::AccessDenied);
    let role = format!("arn:aws:iam::{}:role/mirror", aws.account());
    let config = format!(
        "logLevel: debug\necr: {{ accountID: {}, region: {REGION}, assumeRoleArn: '{role}' }}\n",
        aws.account()
    );
    let finished = run(&aws, &sync(&aws, &[&image]).config(&config)).await.assert_code(1);
    assert_contains_all(failure(&finished), &[&role, "can't be assumed", "trust policy", "sts:AssumeRole"]);
    assert_eq!(aws.take_requests(), []);
}

#[tokio::test]
async fn retries_assuming_a_role() {
    let (_source, image) = app().await;
    let aws = Aws::start().await;
    // More than the attempts of one call.
    aws.refuse(8, "sts:AssumeRole", Refusal::Unavailable);
    let role = format!("arn:aws:iam::{}:role/mirror", aws.account());
    let config = format!("ecr: {{ accountID: {}, region: {REGION}, assumeRoleArn: '{role}' }}\n", aws.account());
    let program = sync(&aws, &[&image]).config(&config).env("REGISTRY_RETRY_ATTEMPTS", "10");
    run(&aws, &program).await.assert_code(0);
}

#[tokio::test]
async fn get_caller_identity_is_optional() {
    let (_source, image) = app().await;
    let aws = Aws::start().await;
    aws.refuse(1000, "sts:GetCallerIdentity", Refusal::AccessDenied);
    let finished = run(&aws, &sync(&aws, &[&image])).await.assert_code(0);
    assert!(finished.stderr.contains("sts:GetCallerIdentity"), "{finished:?}");
}

#[tokio::test]
async fn does_not_read_layers_beyond_the_size_limit() {
    let source = Registry::distribution(Access::Anonymous).await;
    let image = single("huge");
    source.push("team/app", "1", &image).await;
    let mut manifest: serde_json::Value = serde_json::from_slice(&image.root().bytes).unwrap();
    manifest["layers"][0]["size"] = (52_001_u64 << 20).into();
    source.put_manifest("team/app", "huge", image.root().media_type, manifest.to_string()).await;
    let aws = Aws::start().await;
    let finished = run(&aws, &sync(&aws, &[format!("{}/team/app:huge", source.host())])).await.assert_code(1);
    assert_contains_all(failure(&finished), &["52,000 MiB"]);
    let layer = &image.blobs()[1].digest;
    let read = source.take_requests();
    assert!(!read.iter().any(|request: &Request| request.path.contains(layer.as_str())), "{read:#?}");
}

#[tokio::test]
async fn reports_a_rejected_manifest_with_a_subject() {
    let source = Registry::distribution(Access::Anonymous).await;
    let image = demo::Image::single(demo::Format::Oci, "amd64", &[demo::Layer::files(&[("a", "b")]).unwrap()]);
    source.push("team/app", "1", &image).await;
    let mut manifest: serde_json::Value = serde_json::from_slice(&image.root().bytes).unwrap();
    manifest["subject"] = serde_json::json!({
        "mediaType": image.root().media_type, "digest": image.digest(), "size": image.root().bytes.len(),
    });
    source.put_manifest("team/app", "signed", image.root().media_type, manifest.to_string()).await;
    let aws = Aws::start().await;
    let finished = run(&aws, &sync(&aws, &[format!("{}/team/app:signed", source.host())])).await.assert_code(1);
    assert_contains_all(failure(&finished), &["subject"]);
}
