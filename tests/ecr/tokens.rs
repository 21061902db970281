//! Authorization tokens are fetched once, and again after they expire.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{REGION, controller, failure, forced_pass, run, sync, terminate, times};
use crate::{
    mirroring::single,
    support::{Access, Aws, Cluster, Refusal, Registry, Request, deployment, eventually},
};

const TOKEN: &str = "ecr:GetAuthorizationToken";

/// The last step of a copy.
const LAST: &str = "the result is verified";

/// An image whose layer needs more than one packet.
fn large() -> demo::Image {
    demo::Image::single(demo::Format::Oci, "amd64", &[demo::Layer::random(7, 3 << 20).unwrap()])
}

#[tokio::test]
async fn renews_a_token_that_expires_during_a_copy_once() {
    type Step = (&'static str, fn(&Request) -> bool);
    let steps: [Step; 6] = [
        ("its tag is checked", |request| request.method == "HEAD" && request.is_manifest()),
        ("a blob is checked", |request| request.method == "HEAD" && request.is_blob()),
        ("an upload starts", |request| request.method == "POST"),
        ("a blob is uploaded", |request| matches!(request.method.as_str(), "PATCH" | "PUT") && request.is_blob()),
        ("the manifest is put", super::is_manifest_put),
        (LAST, |request| request.method == "HEAD" && request.is_manifest()),
    ];
    let source = Registry::distribution(Access::Anonymous).await;
    for (image, unauthorized) in [(single("small"), false), (large(), false), (single("small"), true)] {
        let reference = source.push("team/app", "1", &image).await;
        for (step, matches) in steps {
            let aws = Aws::start().await;
            if unauthorized {
                aws.answer_401_when_expired();
            }
            // The last step sends the second request of its kind.
            let seen = AtomicUsize::new(usize::from(step != LAST));
            aws.expire_tokens_when(move |request| matches(request) && seen.fetch_add(1, Ordering::Relaxed) > 0);
            let finished = run(&aws, &sync(&aws, &[&reference])).await;
            assert_eq!(finished.code, Some(0), "{step}, 401: {unauthorized}: {finished:?}");
            aws.registry(aws.account(), REGION).await.assert_has("team/app", "1", &image).await;
            assert_eq!(times(&aws.take_calls(), TOKEN), 2, "{step}, 401: {unauthorized}");
        }
    }
}

#[tokio::test]
async fn concurrent_copies_share_one_renewal() {
    let aws = Aws::start().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let mut images = Vec::new();
    for number in 0..30 {
        images.push(source.push("team/app", &number.to_string(), &single(&format!("image {number}"))).await);
    }
    aws.expire_tokens_when(super::is_manifest_put);
    let program = sync(&aws, &images).env("MAX_CONCURRENT_RECONCILES", "10");
    let finished = run(&aws, &program).await.assert_code(0);
    assert!(finished.stdout.contains("30 copied"), "{finished:?}");
    assert_eq!(times(&aws.take_calls(), TOKEN), 2);
}

#[tokio::test]
async fn requests_a_denied_token_once_for_all_images() {
    let aws = Aws::start().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let mut images = Vec::new();
    for number in 0..20 {
        images.push(source.push("team/app", &number.to_string(), &single("app")).await);
    }
    aws.refuse(1000, TOKEN, Refusal::AccessDenied);
    let finished = run(&aws, &sync(&aws, &images).env("MAX_CONCURRENT_RECONCILES", "20")).await.assert_code(1);
    let failed = finished.stdout.lines().filter(|line| line.starts_with("failed"));
    let failed: Vec<_> = failed.inspect(|line| assert!(line.contains("ecr:GetAuthorizationToken"), "{line}")).collect();
    assert_eq!(failed.len(), 20, "{finished:?}");
    assert_eq!(times(&aws.take_calls(), TOKEN), 1);
    assert_eq!(aws.take_requests(), [], "no registry request without a token");
}

#[tokio::test]
async fn retries_an_unavailable_token_service_once_for_all_images() {
    let aws = Aws::start().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let mut images = Vec::new();
    for number in 0..20 {
        images.push(source.push("team/app", &number.to_string(), &single("app")).await);
    }
    aws.refuse(1000, TOKEN, Refusal::Unavailable);
    let finished = run(&aws, &sync(&aws, &images).env("MAX_CONCURRENT_RECONCILES", "20")).await.assert_code(1);
    assert!(finished.stdout.contains("20 failed") && finished.stdout.contains("503"), "{finished:?}");
    assert_eq!(times(&aws.take_calls(), TOKEN), 5, "the attempts of one call");
    assert_eq!(aws.take_requests(), []);
}

#[tokio::test]
async fn does_not_renew_the_token_after_a_denial() {
    let aws = Aws::start().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let image = source.push("team/app", "1", &single("app")).await;
    let message = "User: arn:aws:sts::1:assumed-role/copycat/x is not authorized to perform: ecr:BatchGetImage on \
                   resource: team/app because no identity-based policy allows the ecr:BatchGetImage action";
    aws.inject(1000, Request::is_manifest, crate::support::Fault::Refuse(403, "DENIED", message.to_owned()));
    let finished = run(&aws, &sync(&aws, &[&image])).await.assert_code(1);
    assert!(failure(&finished).contains("403"), "{finished:?}");
    assert_eq!(times(&aws.take_calls(), TOKEN), 1);
}

#[tokio::test]
async fn renews_the_token_after_an_idle_night() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let aws = Aws::start().await;
    let ecr = aws.registry(aws.account(), REGION).await;
    let source = Registry::distribution(Access::Anonymous).await;
    let (evening, morning) = (single("evening"), single("morning"));
    let reference = source.push("team/app", "evening", &evening).await;
    deployment("app").image(&reference).apply(&client, &namespace).await;
    let program = controller(&aws, cluster, &namespace, "", "").await;
    eventually("the first is mirrored", || ecr.manifest("team/app", "evening")).await;
    eventually("the pass has finished", || async { (forced_pass(&program).await["success"] == true).then_some(()) })
        .await;

    aws.expire_tokens();
    aws.take_calls();
    let reference = source.push("team/app", "morning", &morning).await;
    deployment("app").image(&reference).apply(&client, &namespace).await;
    eventually("the second is mirrored", || ecr.manifest("team/app", "morning")).await;
    ecr.assert_has("team/app", "morning", &morning).await;
    assert_eq!(times(&aws.take_calls(), TOKEN), 1);
    let (_, body) = program.get("/reset-cooldown").await;
    assert!(body.contains("no cooldown entries"), "no failure: {body}");
    terminate(&aws, program).await;
}
