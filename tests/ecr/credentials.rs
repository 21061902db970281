//! The default credential chain of AWS.

use super::{REGION, run, sync, times};
use crate::{
    mirroring::single,
    support::{Access, Aws, Program, Registry, new_account},
};

async fn image() -> (Registry, String) {
    let source = Registry::distribution(Access::Anonymous).await;
    let image = source.push("team/app", "1", &single("app")).await;
    (source, image)
}

/// Runs the program and asserts that it used an identity of this account.
async fn assert_is(aws: &Aws, program: &Program, account: &str, arn: &str) {
    let finished = run(aws, program).await.assert_code(0);
    aws.registry(aws.account(), REGION).await.assert_has("team/app", "1", &single("app")).await;
    assert!(finished.stderr.contains(arn), "{finished:?}");
    let calls = aws.take_calls();
    assert!(times(&calls, "ecr:CreateRepository") == 1, "{calls:?}");
    assert!(calls.iter().all(|call| call.caller == account), "{calls:?}");
}

fn without_keys(program: Program) -> Program {
    program.env("AWS_ACCESS_KEY_ID", "").env("AWS_SECRET_ACCESS_KEY", "")
}

#[tokio::test]
async fn supports_irsa() {
    let (_source, image) = image().await;
    let aws = Aws::start().await;
    let account = new_account();
    let program = without_keys(sync(&aws, &[image])).file("token", "a-token-of-kubernetes");
    let token = program.directory().join("token");
    let program = program
        .env("AWS_ROLE_ARN", format!("arn:aws:iam::{account}:role/irsa"))
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", token);
    assert_is(&aws, &program, &account, &format!("arn:aws:sts::{account}:assumed-role/irsa/")).await;
}

#[tokio::test]
async fn supports_eks_pod_identity() {
    let (_source, image) = image().await;
    let aws = Aws::start().await;
    let program = without_keys(sync(&aws, &[image])).file("token", "a-token-of-kubernetes");
    let token = program.directory().join("token");
    let program = program
        .env("AWS_CONTAINER_CREDENTIALS_FULL_URI", format!("{}/v1/credentials", aws.endpoint()))
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token);
    let arn = format!("arn:aws:sts::{}:", aws.account());
    assert_is(&aws, &program, aws.account(), &arn).await;
}

#[tokio::test]
async fn supports_instance_metadata() {
    let (_source, image) = image().await;
    let aws = Aws::start().await;
    let program = without_keys(sync(&aws, &[image]))
        .unset("AWS_EC2_METADATA_DISABLED")
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", aws.endpoint());
    let arn = format!("arn:aws:sts::{}:", aws.account());
    assert_is(&aws, &program, aws.account(), &arn).await;
}

#[tokio::test]
async fn supports_profiles() {
    let (_source, image) = image().await;
    let aws = Aws::start().await;
    let (key, secret) = aws.key();
    let program = without_keys(sync(&aws, &[image]))
        .file("credentials", &format!("[other]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"));
    let credentials = program.directory().join("credentials");
    let program = program.env("AWS_SHARED_CREDENTIALS_FILE", credentials).env("AWS_PROFILE", "other");
    let arn = format!("arn:aws:sts::{}:", aws.account());
    assert_is(&aws, &program, aws.account(), &arn).await;
}

#[tokio::test]
async fn empty_variables_count_as_unset() {
    let (_source, image) = image().await;
    let aws = Aws::start().await;
    let mut program = sync(&aws, &[image]);
    for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_ECR", "AWS_PROFILE", "AWS_ROLE_ARN", "AWS_SESSION_TOKEN"] {
        program = program.env(name, "");
    }
    let arn = format!("arn:aws:sts::{}:", aws.account());
    assert_is(&aws, &program, aws.account(), &arn).await;
}
