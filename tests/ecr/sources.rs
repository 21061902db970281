//! ECR as a source needs no settings besides credentials.

use super::{REGION, failure, run, times};
use crate::{
    mirroring::{index, single},
    support::{Aws, Program, Refusal, Registry, Request, deployment, new_account},
};

/// `sync` to another registry than ECR.
fn sync(target: &Registry, images: &[impl AsRef<str>]) -> Program {
    let workload = images.iter().fold(deployment("app"), |workload, image| workload.image(image.as_ref()));
    Program::new(&["sync", "-f", "-"])
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", target.host())
        .config("logLevel: debug\n")
        .stdin(&workload.manifest().to_string())
}

#[tokio::test]
async fn uses_one_token_per_account_and_region() {
    let aws = Aws::start().await;
    let target = Registry::crane().await;
    let mut images = Vec::new();
    let mut expected = Vec::new();
    for account in [aws.account().to_owned(), new_account()] {
        for region in [REGION, "us-east-1"] {
            let ecr = aws.registry(&account, region).await;
            for tag in ["1", "2"] {
                let (name, image) = (format!("{account}/{region}"), index(&format!("{account} {region} {tag}")));
                images.push(ecr.push(&name, tag, &image).await);
                expected.push((name, tag, image));
            }
        }
    }
    let finished = run(&aws, &sync(&target, &images).aws(&aws)).await.assert_code(0);
    assert!(finished.stdout.contains("8 copied"), "{finished:?}");
    for (name, tag, image) in &expected {
        target.assert_has(name, tag, image).await;
    }
    let calls = aws.take_calls();
    let mut called: Vec<_> =
        calls.iter().map(|call| (&*call.action, format!("{}/{}", call.account, call.region))).collect();
    called.sort();
    let mut registries: Vec<_> =
        expected.iter().map(|(name, ..)| ("ecr:GetAuthorizationToken", name.clone())).collect();
    registries.dedup();
    registries.sort();
    assert_eq!(called, registries, "no other calls");
    assert!(aws.take_requests().iter().all(|request| request.authorization.is_none() == request.host.contains(".s3.")));
}

#[tokio::test]
async fn recognizes_all_host_names_of_ecr_registries() {
    let aws = Aws::start().await;
    let target = Registry::crane().await;
    let ecr = aws.registry(aws.account(), "us-east-1").await;
    let image = index("app");
    ecr.push("team/app", "1", &image).await;
    for (number, host) in ["dkr.ecr-fips.us-east-1.amazonaws.com", "dkr-ecr.us-east-1.on.aws"].into_iter().enumerate() {
        let reference = format!("{}.{host}/team/app:1", aws.account());
        let program = sync(&target, &[reference])
            .aws(&aws)
            .unset("AWS_ENDPOINT_URL")
            .env("TARGET_REPO_PREFIX", format!("copy-{number}"));
        run(&aws, &program).await.assert_code(0);
        target.assert_has(&format!("copy-{number}/team/app"), "1", &image).await;
    }
}

#[tokio::test]
async fn copies_from_one_ecr_registry_to_another() {
    let aws = Aws::start().await;
    let theirs = aws.registry(&new_account(), "us-east-1").await;
    let ours = aws.registry(aws.account(), REGION).await;
    let image = index("app");
    let reference = theirs.push("team/app", "1", &image).await;
    run(&aws, &super::sync(&aws, &[reference])).await.assert_code(0);
    ours.assert_has("team/app", "1", &image).await;
    assert_eq!(times(&aws.take_calls(), "ecr:GetAuthorizationToken"), 2);
}

#[tokio::test]
async fn renews_an_expired_source_token_once() {
    let aws = Aws::start().await;
    let ecr = aws.registry(aws.account(), REGION).await;
    let image = index("app");
    let reference = ecr.push("team/app", "1", &image).await;
    let moments: [fn(&Request) -> bool; 2] = [
        |request| request.method == "GET" && request.is_manifest(),
        |request| request.method == "GET" && request.is_blob(),
    ];
    for (number, matches) in moments.into_iter().enumerate() {
        let target = Registry::crane().await;
        aws.expire_tokens_when(matches);
        run(&aws, &sync(&target, &[&reference]).aws(&aws)).await.assert_code(0);
        target.assert_has("team/app", "1", &image).await;
        assert_eq!(times(&aws.take_calls(), "ecr:GetAuthorizationToken"), 2, "moment {number}");
    }
}

#[tokio::test]
async fn reads_the_public_gallery_with_and_without_credentials() {
    let aws = Aws::start().await;
    let gallery = aws.gallery().await;
    let image = index("app");
    let references = [gallery.push("team/app", "1", &image).await, gallery.push("team/other", "1", &image).await];
    for anonymous in [false, true] {
        let target = Registry::crane().await;
        let program = sync(&target, &references);
        let program = if anonymous { program.aws_anonymous(&aws) } else { program.aws(&aws) };
        run(&aws, &program).await.assert_code(0);
        target.assert_has("team/app", "1", &image).await;
        target.assert_has("team/other", "1", &image).await;
        let calls = aws.take_calls();
        assert_eq!(calls.len(), usize::from(!anonymous), "{calls:?}");
        assert!(calls.iter().all(|call| call.action == "ecr-public:GetAuthorizationToken"), "{calls:?}");
        let requests = aws.take_requests();
        let logins = requests.iter().filter(|request| request.path.starts_with("/token/"));
        assert!(logins.clone().count() > 0);
        assert!(logins.clone().all(|request| request.authorization.is_none() == anonymous), "{requests:#?}");
    }
}

#[tokio::test]
async fn falls_back_to_anonymous_access_to_the_public_gallery() {
    let aws = Aws::start().await;
    let target = Registry::crane().await;
    let image = index("app");
    let reference = aws.gallery().await.push("team/app", "1", &image).await;
    aws.refuse(1000, "ecr-public:GetAuthorizationToken", Refusal::AccessDenied);
    let finished = run(&aws, &sync(&target, &[reference]).aws(&aws)).await.assert_code(0);
    target.assert_has("team/app", "1", &image).await;
    assert!(finished.stderr.contains("ecr-public:GetAuthorizationToken"), "{finished:?}");
    assert_eq!(aws.take_calls().len(), 1);
}

#[tokio::test]
async fn renews_an_expired_bearer_token_of_the_public_gallery() {
    let aws = Aws::start().await;
    let target = Registry::crane().await;
    let image = index("app");
    let reference = aws.gallery().await.push("team/app", "1", &image).await;
    aws.expire_tokens_when(|request| {
        request.method == "GET"
            && request.is_blob()
            && request.host == "public.ecr.aws"
            && request.authorization.is_some()
    });
    run(&aws, &sync(&target, &[reference]).aws_anonymous(&aws)).await.assert_code(0);
    target.assert_has("team/app", "1", &image).await;
    let requests = aws.take_requests();
    assert_eq!(requests.iter().filter(|request| request.path.starts_with("/token/")).count(), 2, "{requests:#?}");
}

#[tokio::test]
async fn missing_credentials_are_explained() {
    let aws = Aws::start().await;
    let target = Registry::crane().await;
    let reference = aws.registry(aws.account(), REGION).await.push("team/app", "1", &single("app")).await;
    let finished = run(&aws, &sync(&target, &[reference]).aws_anonymous(&aws)).await.assert_code(1);
    let failed = failure(&finished);
    for expected in ["AWS", "credentials", "IRSA", "Pod Identity"] {
        assert!(failed.contains(expected), "{expected}: {failed}");
    }
}
