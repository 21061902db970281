//! Differences between ECR and other registries.

use demo::{Format, Image, Layer};
use futures::future::join_all;
use serde_json::json;

use super::{REGION, failure, is_manifest_put, run, sync};
use crate::{
    mirroring::{index, single},
    support::{Access, Aws, Fault, Registry, Request},
};

#[tokio::test]
async fn accepts_an_immutable_tag_with_the_right_digest() {
    let aws = Aws::start().await;
    let ecr = aws.registry(aws.account(), REGION).await;
    let source = Registry::distribution(Access::Anonymous).await;
    let image = index("app");
    let reference = source.push("team/app", "1", &image).await;
    ecr.create("team/app", json!({ "imageTagMutability": "IMMUTABLE" })).await;
    ecr.push("team/app", "1", &image).await;
    let finished = run(&aws, &sync(&aws, &[&reference])).await.assert_code(0);
    assert!(finished.stdout.contains("1 already there"), "{finished:?}");
    aws.take_requests();
    // A race: the tag does not exist yet when it is checked.
    aws.inject(1, |request| request.method == "HEAD" && request.is_manifest(), Fault::Answer(404, vec![]));
    run(&aws, &sync(&aws, &[&reference])).await.assert_code(0);
    assert!(aws.take_requests().iter().any(is_manifest_put));
}

#[tokio::test]
async fn reports_an_immutable_tag_with_another_digest() {
    let aws = Aws::start().await;
    let ecr = aws.registry(aws.account(), REGION).await;
    let source = Registry::distribution(Access::Anonymous).await;
    let (old, new) = (index("old"), index("new"));
    let filters = json!([{ "filterType": "WILDCARD", "filter": "latest" }]);
    let settings =
        json!({ "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION", "imageTagMutabilityExclusionFilters": filters });
    ecr.create("team/app", settings).await;
    let mut images = Vec::new();
    for tag in ["1", "latest"] {
        ecr.push("team/app", tag, &old).await;
        images.push(source.push("team/app", tag, &new).await);
    }
    let finished = run(&aws, &sync(&aws, &images)).await.assert_code(1);
    let failed = failure(&finished);
    for expected in [&*images[0], new.digest(), "immutable"] {
        assert!(failed.contains(expected), "{expected}: {failed}");
    }
    assert_eq!(
        aws.take_requests()
            .into_iter()
            .filter(|request| is_manifest_put(request) && request.path.ends_with("/1"))
            .count(),
        1
    );
    ecr.assert_has("team/app", "1", &old).await;
    ecr.assert_has("team/app", "latest", &new).await;
}

#[tokio::test]
async fn pushes_a_reduced_index_for_selected_platforms() {
    let aws = Aws::start().await;
    let ecr = aws.registry(aws.account(), REGION).await;
    let source = Registry::distribution(Access::Anonymous).await;
    let image = index("app");
    let reference = source.push("team/app", "1", &image).await;
    let program = || sync(&aws, &[&reference]).env("DIGEST_PULL", "true");
    for (platforms, outcome, images) in [
        ("amd64", "1 copied", 1),
        ("amd64", "1 already there", 1),
        ("arm64", "1 copied", 2),
        ("amd64", "1 already there", 2),
    ] {
        aws.take_requests();
        let finished = run(&aws, &program().env("MIRROR_PLATFORMS", platforms)).await.assert_code(0);
        assert!(finished.stdout.contains(outcome), "{platforms}: {finished:?}");
        let (_, bytes) = ecr.manifest("team/app", "1").await.unwrap();
        let pushed: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        let is_whole = bytes == image.root().bytes;
        assert!(is_whole || pushed["annotations"]["k8s-copycat.source.digest"] == image.digest(), "{pushed}");
        assert_eq!(pushed["manifests"].as_array().unwrap().len(), images, "{platforms}");
        let puts = aws.take_requests().into_iter().filter(is_manifest_put).count();
        assert_eq!(puts == 0, outcome.contains("already"), "{platforms}");
    }
    ecr.assert_has("team/app", "1", &image).await;
}

#[tokio::test]
async fn survives_bursts_of_throttling() {
    type Kind = (&'static str, fn(&Request) -> bool);
    let kinds: [Kind; 6] = [
        ("looking for tags", |request| request.method == "HEAD" && request.is_manifest()),
        ("looking for blobs", |request| request.method == "HEAD" && request.is_blob()),
        ("beginning uploads", |request| request.method == "POST"),
        ("sending blobs", |request| matches!(request.method.as_str(), "PATCH" | "PUT") && request.is_blob()),
        ("sending manifests", is_manifest_put),
        ("anything", |_| true),
    ];
    let source = Registry::distribution(Access::Anonymous).await;
    let mut images = Vec::new();
    for number in 0..2 {
        images.push(source.push("team/app", &number.to_string(), &single(&format!("image {number}"))).await);
    }
    let bursts = kinds.map(async |(kind, matches)| {
        let aws = Aws::start().await;
        // More than the retry attempts of other errors.
        aws.throttle(12, matches);
        let finished = run(&aws, &sync(&aws, &images)).await;
        assert_eq!(finished.code, Some(0), "{kind}: {finished:?}");
        assert!(finished.stdout.contains("2 copied"), "{kind}: {finished:?}");
    });
    join_all(bursts).await;
}

#[tokio::test]
async fn survives_a_throttled_source() {
    let aws = Aws::start().await;
    let ecr = aws.registry(aws.account(), "us-east-1").await;
    let image = single("app");
    let reference = ecr.push("team/app", "1", &image).await;
    aws.throttle(7, |request| request.method == "GET");
    run(&aws, &sync(&aws, &[reference])).await.assert_code(0);
    aws.registry(aws.account(), REGION).await.assert_has("team/app", "1", &image).await;
}

#[tokio::test]
async fn mounts_shared_layers_only_if_the_account_allows_it() {
    let base = Layer::files(&[("base", "shared")]).unwrap();
    let images = ["one", "two", "three"].map(|name| {
        let own = Layer::files(&[("own", name)]).unwrap();
        (name, Image::single(Format::Oci, "amd64", &[base.clone(), own]))
    });
    let shared = &images[0].1.blobs()[1].digest;
    assert!(images.iter().all(|(_, image)| image.blobs()[1].digest == *shared));
    let source = Registry::distribution(Access::Anonymous).await;
    let mut references = Vec::new();
    for (name, image) in &images {
        references.push(source.push(&format!("team/{name}"), "1", image).await);
    }
    for (allowed, expected) in [(false, 3), (true, 1)] {
        let aws = Aws::start().await;
        let ecr = aws.registry(aws.account(), REGION).await;
        if allowed {
            ecr.allow_mounts();
        }
        run(&aws, &sync(&aws, &references)).await.assert_code(0);
        for (name, image) in &images {
            ecr.assert_has(&format!("team/{name}"), "1", image).await;
        }
        let read = source.take_requests();
        let read = read.iter().filter(|request| request.method == "GET" && request.path.ends_with(&**shared)).count();
        assert_eq!(read, expected, "mounts allowed: {allowed}");
    }
}

#[tokio::test]
async fn sets_the_keep_alive_tag_without_a_location_header() {
    let aws = Aws::start().await;
    let ecr = aws.registry(aws.account(), REGION).await;
    let source = Registry::distribution(Access::Anonymous).await;
    let image = index("app");
    source.push("team/app", "1", &image).await;
    let reference = format!("{}/team/app@{}", source.host(), image.digest());
    run(&aws, &sync(&aws, &[reference])).await.assert_code(0);
    for reference in [image.digest().to_owned(), format!("copycat-{}", image.digest().replace(':', "-"))] {
        ecr.assert_has("team/app", &reference, &image).await;
    }
}

#[tokio::test]
async fn uses_dual_stack_and_fips_endpoints_if_configured() {
    let source = Registry::distribution(Access::Anonymous).await;
    let image = index("app");
    let reference = source.push("team/app", "1", &image).await;
    for (keys, registry, api) in [
        ("", "dkr.ecr.us-east-1.amazonaws.com", "api.ecr.us-east-1.amazonaws.com"),
        ("dualStack: true", "dkr-ecr.us-east-1.on.aws", "ecr.us-east-1.api.aws"),
        ("fips: true", "dkr.ecr-fips.us-east-1.amazonaws.com", "api.ecr-fips.us-east-1.amazonaws.com"),
    ] {
        let aws = Aws::start().await;
        let config = format!("logLevel: debug\necr: {{ accountID: {}, region: us-east-1, {keys} }}\n", aws.account());
        let program = sync(&aws, &[&reference]).env("AWS_REGION", "").unset("AWS_ENDPOINT_URL").config(&config);
        run(&aws, &program).await.assert_code(0);
        aws.registry(aws.account(), "us-east-1").await.assert_has("team/app", "1", &image).await;
        let host = format!("{}.{registry}", aws.account());
        assert!(aws.take_requests().iter().all(|request| request.host == host), "{keys}");
        let calls = aws.take_calls();
        let ecr = calls.iter().filter(|call| call.action.starts_with("ecr:"));
        assert!(ecr.clone().count() == 3 && ecr.clone().all(|call| call.host == api), "{keys}: {calls:#?}");
    }
}
