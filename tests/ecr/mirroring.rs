//! Mirroring to ECR needs few API calls.

use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use serde_json::json;

use super::{REGION, actions, controller, is_manifest_put, run, sync, terminate};
use crate::{
    mirroring::{index, single},
    support::{
        Access, Aws, Cluster, Program, Refusal, Registry, cron_job, daemon_set, deployment, eventually, list,
        new_account, pod, set_pod_status, stateful_set,
    },
};

#[tokio::test]
async fn mirrors_into_repositories_that_are_created_once() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let aws = Aws::start().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let (web, pinned, agent) = (index("web"), index("pinned"), single("agent"));
    let mut many = Vec::new();
    for tag in 1..=20 {
        let image = single(&format!("many {tag}"));
        let reference = source.push("shop/many", &tag.to_string(), &image).await;
        deployment(&format!("many-{tag}")).image(&reference).apply(&client, &namespace).await;
        many.push(image);
    }
    source.push("shop/pinned", "1", &pinned).await;
    let by_digest = format!("{}/shop/pinned@{}", source.host(), pinned.digest());
    let agent_1 = source.push("shop/agent", "1", &agent).await;
    for workload in [
        stateful_set("web").image(&source.push("shop/web", "1", &web).await).image(&by_digest),
        daemon_set("agent").image(&agent_1),
        cron_job("nightly").image(&agent_1),
        pod("alone").image(&agent_1),
    ] {
        workload.apply(&client, &namespace).await;
    }
    set_pod_status(&client, &namespace, "alone", "Running", &[]).await;

    // All images that need the repository arrive while it is being created.
    aws.refuse(3, "ecr:CreateRepository", Refusal::Late(Duration::from_secs(2)));
    let policy = r#"{"rules":[{"rulePriority":1,"selection":{"tagStatus":"untagged","countType":"imageCountMoreThan","countNumber":9},"action":{"type":"expire"}}]}"#;
    let settings = format!("  repoPrefix: mirror/$namespace\n  lifecyclePolicy: '{policy}'\n");
    let program = controller(&aws, cluster, &namespace, &settings, "maxConcurrentReconciles: 20").await;
    let ecr = aws.registry(aws.account(), REGION).await;
    let name = |repository: &str| format!("mirror/{namespace}/shop/{repository}");
    let mut expected: Vec<_> = many.iter().zip(1..).map(|(image, tag)| ("many", tag.to_string(), image)).collect();
    expected.push(("web", "1".to_owned(), &web));
    expected.push(("agent", "1".to_owned(), &agent));
    expected.push(("pinned", pinned.digest().to_owned(), &pinned));
    for (repository, reference, image) in &expected {
        let repository = name(repository);
        eventually(&format!("{repository}, {reference} is mirrored"), || ecr.manifest(&repository, reference)).await;
        ecr.assert_has(&repository, reference, image).await;
    }
    let mut repositories = ["agent", "many", "pinned", "web"].map(name);
    assert_eq!(ecr.repositories().await, repositories);
    for repository in &repositories {
        let stored = ecr.call("GetLifecyclePolicy", json!({ "repositoryName": repository })).await.unwrap();
        assert_eq!(stored["lifecyclePolicyText"], policy);
    }

    let calls = aws.take_calls();
    let expected = [
        ("ecr:CreateRepository", 4),
        ("ecr:DescribeRepositories", 4),
        ("ecr:GetAuthorizationToken", 1),
        ("ecr:PutLifecyclePolicy", 4),
        ("sts:GetCallerIdentity", 1),
    ];
    assert_eq!(actions(&calls), expected.into());
    for call in &calls {
        assert_eq!((&*call.caller, &*call.region), (aws.account(), REGION), "{call:?}");
        if call.action == "ecr:GetAuthorizationToken" {
            assert_eq!(call.json()["registryIds"], json!([aws.account()]));
        } else if call.action.starts_with("ecr:") {
            assert_eq!(call.json()["registryId"], aws.account(), "{call:?}");
        }
    }
    let mut created: Vec<_> = calls.iter().filter(|call| call.action == "ecr:CreateRepository").collect();
    created.sort_by_key(|call| call.json()["repositoryName"].to_string());
    repositories.sort();
    let names: Vec<_> = created.iter().map(|call| call.json()["repositoryName"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, repositories);
    assert!(
        aws.take_requests().iter().all(|request| request.authorization.is_some()),
        "no request without credentials"
    );

    let log = program.log();
    let identity: Vec<_> =
        log.lines().filter(|line| line.contains(&format!("arn:aws:sts::{}:user/moto", aws.account()))).collect();
    assert_eq!(identity.len(), 1, "the identity is logged once: {log}");
    let answer = super::forced_pass(&program).await;
    assert_eq!(answer["success"], true, "{answer}");
    assert_eq!(aws.take_calls(), [], "no calls without changes");
    terminate(&aws, program).await;
}

#[tokio::test]
async fn one_token_serves_a_hundred_images() {
    let aws = Aws::start().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let mut images = Vec::new();
    for repository in 0..10 {
        let image = single(&format!("image {repository}"));
        for tag in 0..10 {
            images.push(source.push(&format!("team/app-{repository}"), &tag.to_string(), &image).await);
        }
    }
    let started = Instant::now();
    let finished = run(&aws, &sync(&aws, &images).env("MAX_CONCURRENT_RECONCILES", "20")).await.assert_code(0);
    assert!(started.elapsed() >= Duration::from_secs(9), "ECR allows ten manifests a second");
    assert!(finished.stdout.contains("100 copied"), "{finished:?}");
    let calls = aws.take_calls();
    assert_eq!(calls.iter().filter(|call| call.action == "ecr:GetAuthorizationToken").count(), 1);
    assert_eq!(aws.take_requests().into_iter().filter(is_manifest_put).count(), 100);
}

#[tokio::test]
async fn a_pass_without_changes_makes_two_aws_calls() {
    const REPOSITORIES: usize = 200;
    const TAGS: usize = 5;
    let aws = Aws::start().await;
    let ecr = aws.registry(aws.account(), REGION).await;
    let image = single("everywhere");
    let names: Vec<_> = (0..REPOSITORIES).map(|number| format!("team/app-{number}")).collect();
    stream::iter(&names)
        .for_each_concurrent(8, |name| async {
            ecr.push(name, "0", &image).await;
            for tag in 1..TAGS {
                ecr.tag(name, &tag.to_string(), &image).await;
            }
        })
        .await;
    let mut source = demo::Registry::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap();
    let mut workloads = Vec::new();
    for name in &names {
        let mut workload = deployment(&name.replace('/', "-"));
        for tag in 0..TAGS {
            source = source.with(name, &tag.to_string(), &image);
            workload = workload.image(&format!("{host}/{name}:{tag}"));
        }
        workloads.push(workload.manifest());
    }
    let counter = source.counter();
    tokio::spawn(source.serve(listener));

    let program = sync(&aws, &[""]).stdin(&list(&workloads)).config("maxConcurrentReconciles: 10");
    let finished = run(&aws, &program).await.assert_code(0);
    assert!(finished.stdout.contains("1000 already there"), "{}", finished.stdout);
    assert_eq!(actions(&aws.take_calls()), [("ecr:GetAuthorizationToken", 1), ("sts:GetCallerIdentity", 1)].into());
    let requests = aws.take_requests();
    assert_eq!(requests.len(), REPOSITORIES * TAGS);
    assert!(requests.iter().all(|request| request.method == "HEAD" && request.is_manifest()));
    assert_eq!(counter.counts().manifest_heads, REPOSITORIES * TAGS);
}

#[tokio::test]
async fn mirrors_to_several_registries() {
    let aws = Aws::start().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let image = index("app");
    let reference = source.push("team/app", "1", &image).await;
    let (ours, theirs) = (aws.account().to_owned(), new_account());
    let targets = [(&ours, REGION), (&ours, "us-east-1"), (&theirs, REGION)];
    let mut config = "logLevel: debug\ntargets:\n".to_owned();
    for (number, (account, region)) in targets.iter().enumerate() {
        config += &format!(
            "- {{ name: t{number}, kind: ecr, accountID: {account}, region: {region}, tags: {{ t: '{number}' }} }}\n"
        );
    }
    let program = sync(&aws, &[reference]).env("ECR_ACCOUNT_ID", "").config(&config);
    run(&aws, &program).await.assert_code(0);
    for (number, (account, region)) in targets.iter().enumerate() {
        let ecr = aws.registry(account, region).await;
        ecr.assert_has("team/app", "1", &image).await;
        let arn = ecr.repository("team/app").await.unwrap()["repositoryArn"].clone();
        let tags = ecr.call("ListTagsForResource", json!({ "resourceArn": arn })).await.unwrap();
        assert_eq!(tags["tags"], json!([{ "Key": "t", "Value": number.to_string() }]));
    }
    let calls = aws.take_calls();
    let expected = [
        ("ecr:CreateRepository", 3),
        ("ecr:DescribeRepositories", 3),
        ("ecr:GetAuthorizationToken", 3),
        ("sts:GetCallerIdentity", 1),
    ];
    assert_eq!(actions(&calls), expected.into());
}

#[tokio::test]
async fn dry_run_creates_nothing() {
    let aws = Aws::start().await;
    let source = Registry::distribution(Access::Anonymous).await;
    let image = source.push("team/app", "1", &single("dry")).await;
    let finished = run(&aws, &sync(&aws, &[&image]).arg("--dry-run")).await.assert_code(0);
    assert!(finished.stdout.contains("1 would be copied"), "{finished:?}");
    assert_eq!(actions(&aws.take_calls()), [("ecr:GetAuthorizationToken", 1), ("sts:GetCallerIdentity", 1)].into());
    assert!(aws.take_requests().iter().all(|request| matches!(request.method.as_str(), "GET" | "HEAD")));
    run(&aws, &sync(&aws, &[&image]).arg("--dry-pull")).await.assert_code(0);
    assert_eq!((aws.take_calls(), aws.take_requests()), (vec![], vec![]));
    let plan = Program::new(&["plan", "-f", "-"]).aws(&aws).env("AWS_REGION", REGION);
    let plan = plan.env("ECR_ACCOUNT_ID", aws.account()).stdin(&deployment("app").image(&image).manifest().to_string());
    run(&aws, &plan).await.assert_code(0);
    assert_eq!((aws.take_calls(), aws.take_requests()), (vec![], vec![]));
}
