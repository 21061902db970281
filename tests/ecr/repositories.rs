//! Repositories are created on demand, once, and in the right account.

use std::time::Duration;

use serde_json::{Value, json};

use super::{REGION, controller, failure, forced_pass, run, sync, terminate, times};
use crate::{
    mirroring::{index, single},
    support::{Access, Aws, Cluster, Fault, Refusal, Registry, deployment, eventually, new_account},
};

const LIFECYCLE: &str = r#"{"rules":[{"rulePriority":1,"selection":{"tagStatus":"untagged","countType":"imageCountMoreThan","countNumber":9},"action":{"type":"expire"}}]}"#;
const POLICY: &str = r#"{"Version":"2012-10-17","Statement":[{"Sid":"pull","Effect":"Allow","Principal":"*","Action":"ecr:BatchGetImage"}]}"#;

/// A configuration with these keys in the `ecr` section.
fn section(aws: &Aws, keys: &str) -> String {
    format!("logLevel: debug\necr:\n  accountID: {}\n  region: {REGION}\n{keys}", aws.account())
}

async fn app(source: &Registry) -> String {
    source.push("team/app", "1", &single("app")).await
}

#[tokio::test]
async fn configures_created_repositories_and_leaves_existing_ones_alone() {
    let aws = Aws::start().await;
    let ecr = aws.registry(aws.account(), REGION).await;
    let source = Registry::distribution(Access::Anonymous).await;
    ecr.create("team/old", json!({ "imageTagMutability": "MUTABLE" })).await;
    let images = [app(&source).await, source.push("team/old", "1", &single("old")).await];
    let keys = format!(
        "  tags: {{ team: platform, cost-center: '0042' }}\n  scanOnPush: true\n  kmsKey: alias/mirror\n  \
         tagMutability: immutable\n  mutabilityExclusions: [latest, dev-*]\n  lifecyclePolicy: '{LIFECYCLE}'\n  \
         repositoryPolicy: '{POLICY}'\n"
    );
    run(&aws, &sync(&aws, &images).config(&section(&aws, &keys))).await.assert_code(0);

    let created = ecr.repository("team/app").await.unwrap();
    assert_eq!(created["imageTagMutability"], "IMMUTABLE_WITH_EXCLUSION");
    let filters = ["latest", "dev-*"].map(|filter| json!({ "filterType": "WILDCARD", "filter": filter }));
    assert_eq!(created["imageTagMutabilityExclusionFilters"], json!(filters));
    assert_eq!(created["imageScanningConfiguration"]["scanOnPush"], true);
    let key = created["encryptionConfiguration"]["kmsKey"].as_str().unwrap();
    assert_eq!(created["encryptionConfiguration"]["encryptionType"], "KMS");
    assert!(key.contains("alias/mirror"), "{created}");
    let tags = ecr.call("ListTagsForResource", json!({ "resourceArn": created["repositoryArn"] })).await.unwrap();
    let mut tags = tags["tags"].as_array().unwrap().clone();
    tags.sort_by_key(Value::to_string);
    assert_eq!(json!(tags), json!([{ "Key": "cost-center", "Value": "0042" }, { "Key": "team", "Value": "platform" }]));
    let name = json!({ "repositoryName": "team/app" });
    assert_eq!(ecr.call("GetLifecyclePolicy", name.clone()).await.unwrap()["lifecyclePolicyText"], LIFECYCLE);
    let policy = ecr.call("GetRepositoryPolicy", name).await.unwrap();
    let policy: Value = serde_json::from_str(policy["policyText"].as_str().unwrap()).unwrap();
    assert_eq!(policy, serde_json::from_str::<Value>(POLICY).unwrap());

    let name = json!({ "repositoryName": "team/old" });
    assert_eq!(ecr.repository("team/old").await.unwrap()["imageTagMutability"], "MUTABLE");
    assert!(ecr.call("GetLifecyclePolicy", name.clone()).await.is_err());
    assert!(ecr.call("GetRepositoryPolicy", name).await.is_err());
    let calls = aws.take_calls();
    for action in ["CreateRepository", "PutLifecyclePolicy", "SetRepositoryPolicy"] {
        assert_eq!(times(&calls, &format!("ecr:{action}")), 1, "{action}");
    }
    assert_eq!(times(&calls, "ecr:DescribeRepositories"), 2);
}

#[tokio::test]
async fn supports_all_tag_mutability_settings() {
    let aws = Aws::start().await;
    let ecr = aws.registry(aws.account(), REGION).await;
    let source = Registry::distribution(Access::Anonymous).await;
    for (number, (keys, mutability)) in [
        ("", "MUTABLE"),
        ("  tagMutability: mutable\n", "MUTABLE"),
        ("  tagMutability: mutable\n  mutabilityExclusions: ['v*']\n", "MUTABLE_WITH_EXCLUSION"),
        ("  tagMutability: immutable\n", "IMMUTABLE"),
    ]
    .into_iter()
    .enumerate()
    {
        let repository = format!("team/app-{number}");
        let image = source.push(&repository, "1", &single("app")).await;
        run(&aws, &sync(&aws, &[image]).config(&section(&aws, keys))).await.assert_code(0);
        assert_eq!(ecr.repository(&repository).await.unwrap()["imageTagMutability"], mutability, "{keys}");
    }
    let created = aws.take_calls().into_iter().find(|call| call.action == "ecr:CreateRepository").unwrap();
    assert_eq!(created.json().get("imageTagMutability"), None, "unset settings are left to the account");
}

#[tokio::test]
async fn retries_a_rejected_repository_policy() {
    let cluster = Cluster::shared().await;
    for (action, keys, expected) in [
        ("ecr:PutLifecyclePolicy", format!("  lifecyclePolicy: '{LIFECYCLE}'\n"), "lifecycle policy"),
        ("ecr:SetRepositoryPolicy", format!("  repositoryPolicy: '{POLICY}'\n"), "repository policy"),
    ] {
        let (client, namespace) = (cluster.admin(), cluster.namespace().await);
        let aws = Aws::start().await;
        let ecr = aws.registry(aws.account(), REGION).await;
        let source = Registry::distribution(Access::Anonymous).await;
        deployment("app").image(&app(&source).await).apply(&client, &namespace).await;
        aws.refuse(1, action, Refusal::InvalidParameter("the policy has a fault"));
        let program = controller(&aws, cluster, &namespace, &keys, "").await;
        eventually("the failure is reported", || async {
            let answer = forced_pass(&program).await;
            let message = answer["message"].as_str().unwrap().to_owned();
            (message.contains(expected) && message.contains("the policy has a fault")).then_some(())
        })
        .await;
        assert_eq!(ecr.manifest("team/app", "1").await, None, "nothing is pushed before the policy is set");
        program.post("/reset-cooldown").await;
        eventually("it is mirrored", || ecr.manifest("team/app", "1")).await;
        let calls = aws.take_calls();
        assert_eq!((times(&calls, "ecr:CreateRepository"), times(&calls, action)), (1, 2), "{calls:#?}");
        terminate(&aws, program).await;
    }
}

#[tokio::test]
async fn finishes_a_repository_after_its_image_failed() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let aws = Aws::start().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let image = index("broken");
    let reference = source.push("team/app", "1", &image).await;
    let gone = image.manifests().find(|manifest| manifest.digest != image.digest()).unwrap();
    source.delete("team/app", &gone.digest).await;
    deployment("app").image(&reference).apply(&client, &namespace).await;
    // The child manifest is missing after the repository was requested and before it exists.
    let digest = gone.digest.clone();
    source.inject(1, move |request| request.path.ends_with(&digest), Fault::Delay(Duration::from_secs(1)));
    aws.refuse(1, "ecr:CreateRepository", Refusal::Late(Duration::from_secs(4)));
    let keys = format!("  lifecyclePolicy: '{LIFECYCLE}'\n");
    let program = controller(&aws, cluster, &namespace, &keys, "").await;
    program.logged("the image fails", |log| log.contains("next_try")).await;
    let mut calls = Vec::new();
    eventually("the policy is set", || {
        calls.extend(aws.take_calls());
        let set = times(&calls, "ecr:PutLifecyclePolicy") == 1;
        async move { set.then_some(()) }
    })
    .await;
    assert_eq!(times(&calls, "ecr:CreateRepository"), 1, "{calls:#?}");
    terminate(&aws, program).await;
}

#[tokio::test]
async fn reports_a_missing_repository_that_it_may_not_create() {
    let aws = Aws::start().await;
    let ecr = aws.registry(aws.account(), REGION).await;
    let source = Registry::distribution(Access::Anonymous).await;
    ecr.create("team/old", json!({})).await;
    let old = index("old");
    let images = [app(&source).await, source.push("team/old", "1", &old).await];
    for program in [
        sync(&aws, &images).env("ECR_CREATE_REPO", "false"),
        sync(&aws, &images).config(&section(&aws, "  createRepo: false\n")),
    ] {
        let finished = run(&aws, &program).await.assert_code(1);
        let failed = failure(&finished);
        for expected in ["team/app", aws.account(), REGION, "does not exist", "ECR_CREATE_REPO", "createRepo"] {
            assert!(failed.contains(expected), "{expected}: {failed}");
        }
        ecr.assert_has("team/old", "1", &old).await;
        let calls = aws.take_calls();
        assert!(!calls.iter().any(|call| call.action.contains("Repositor")), "{calls:?}");
    }
    assert_eq!(ecr.repositories().await, ["team/old"]);
}

#[tokio::test]
async fn recreates_a_deleted_repository() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let aws = Aws::start().await;
    let ecr = aws.registry(aws.account(), REGION).await;
    let source = Registry::distribution(Access::Anonymous).await;
    let image = index("app");
    let reference = source.push("team/app", "1", &image).await;
    deployment("app").image(&reference).apply(&client, &namespace).await;
    let keys = format!("  lifecyclePolicy: '{LIFECYCLE}'\n");
    let program = controller(&aws, cluster, &namespace, &keys, "").await;
    eventually("it is mirrored", || ecr.manifest("team/app", "1")).await;
    eventually("the copy has finished", || async { (forced_pass(&program).await["success"] == true).then_some(()) })
        .await;
    ecr.delete("team/app").await;
    eventually("it is mirrored again", || async {
        forced_pass(&program).await;
        ecr.manifest("team/app", "1").await
    })
    .await;
    ecr.assert_has("team/app", "1", &image).await;
    let calls = aws.take_calls();
    assert_eq!((times(&calls, "ecr:CreateRepository"), times(&calls, "ecr:PutLifecyclePolicy")), (2, 2), "{calls:#?}");
    terminate(&aws, program).await;
}

#[tokio::test]
async fn does_not_configure_a_repository_created_by_others() {
    let aws = Aws::start().await;
    let ecr = aws.registry(aws.account(), REGION).await;
    let source = Registry::distribution(Access::Anonymous).await;
    let image = app(&source).await;
    aws.refuse(1, "ecr:CreateRepository", Refusal::Late(Duration::from_secs(5)));
    let keys = format!("  lifecyclePolicy: '{LIFECYCLE}'\n");
    let program = sync(&aws, &[image]).config(&section(&aws, &keys));
    let mut calls = Vec::new();
    let other = async {
        eventually("its creation has started", || {
            calls.extend(aws.take_calls());
            let started = times(&calls, "ecr:CreateRepository") > 0;
            async move { started.then_some(()) }
        })
        .await;
        ecr.create("team/app", json!({})).await;
    };
    let (finished, ()) = tokio::join!(run(&aws, &program), other);
    finished.assert_code(0);
    assert_eq!(times(&aws.take_calls(), "ecr:PutLifecyclePolicy"), 0, "repositories of others are left alone");
    ecr.assert_has("team/app", "1", &single("app")).await;
}

#[tokio::test]
async fn pushes_to_the_configured_account_with_an_assumed_role() {
    let aws = Aws::start().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let (theirs, role_owner) = (new_account(), new_account());
    let ecr = aws.registry(&theirs, REGION).await;
    // The role may belong to another account than the registry.
    for (role_account, tag) in [(&theirs, "1"), (&role_owner, "2")] {
        let image = source.push("team/app", tag, &single("app")).await;
        let role = format!("arn:aws:iam::{role_account}:role/mirror");
        let config =
            format!("logLevel: debug\necr: {{ accountID: {theirs}, region: {REGION}, assumeRoleArn: '{role}' }}\n");
        let program = sync(&aws, &[image]).env("ECR_ACCOUNT_ID", "").config(&config);
        let finished = run(&aws, &program).await.assert_code(0);
        ecr.assert_has("team/app", tag, &single("app")).await;
        let output = finished.stdout + &finished.stderr;
        assert!(output.contains(&format!("arn:aws:sts::{role_account}:assumed-role/mirror/")), "{output}");
        let calls = aws.take_calls();
        assert_eq!((times(&calls, "sts:AssumeRole"), times(&calls, "sts:GetCallerIdentity")), (1, 1), "{calls:?}");
        for call in calls.iter().filter(|call| call.action.starts_with("ecr:")) {
            assert_eq!((&call.caller, &call.account), (role_account, &theirs), "{call:?}");
        }
    }
    assert_eq!(aws.registry(aws.account(), REGION).await.repositories().await, Vec::<String>::new());
}
