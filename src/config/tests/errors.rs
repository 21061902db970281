//! Rejected configurations, configurations of the original program, and secrets in errors.

use super::*;

/// The keys of the original program's manifest at the version whose README is the specification.
const MANIFEST: &str = r#"
targetKind: docker     # ecr | docker
logLevel: debug
dryRun: true
dryPull: true
includeNamespaces: ["test"]
watchResources:
  - pods
requestTimeout: 120
#ecr:
#  accountID: "123456789012"
docker:
  registry: "registry.test.svc.cluster.local:5000"
#  repoPrefix: "mirrors"
  insecure: true
"#;

/// The keys of its newest manifest that differ.
const NEWEST: &str = r#"
targetKind: docker
logLevel: debug
dryRun: true
dryPull: true
includeNamespaces: ["test"]
maxConcurrentReconciles: 1
requestTimeout: 300
registryRetryAttempts: 3
registryRetryBackoff: 10
docker:
  registry: "registry.test.svc.cluster.local:5000"
  insecure: true
"#;

/// The keys of its README's examples.
const README: &str = r#"
digestPull: true
allowDifferentDigestRepush: false
watchResources: [deployments, statefulsets, daemonsets, jobs, cronjobs, pods]
skipNamespaces: []
skipNames:
  deployments: []
  statefulSets: []
  daemonSets: []
  jobs: []
  cronJobs: []
  pods: []
maxConcurrentReconciles: 2
pathMap:
  - from: "group/project"
    to: "prod/project"
  - from: "^legacy/(.*)"
    to: "modern/$1"
    regex: true
requestTimeout: 120
failureCooldownMinutes: 60
forceReconcileMinutes: 30
registryCredentials:
  - registry: registry-1.docker.io
    usernameEnv: DOCKERHUB_USERNAME
    passwordEnv: DOCKERHUB_PASSWORD
  - registry: ghcr.io
    tokenEnv: GHCR_TOKEN
repoPrefix: "$namespace/$podname"
ecr:
  accountID: "123456789012"
  region: eu-central-1
  lifecyclePolicy: |
    {"rules": [{"rulePriority": 1, "description": "Retain only the five most recent images",
      "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": 5},
      "action": {"type": "expire"}}]}
"#;

/// What the newer original's chart renders: most keys, empty.
const CHART: &str = r"
targetKind: docker
docker: {registry: a.io, repoPrefix: '', insecure: false}
ecr: {accountID: '', region: '', assumeRoleArn: '', lifecyclePolicy: ''}
checkNodePlatform: false
digestPullIgnoredTags: []
mirrorPlatforms: []
ignoreMissingPlatforms: []
excludeRegistries: []
includeNamespaces: []
skipNames: {deployments: [], pods:}
registryCredentials: []
pathMap: []
registryRetryAttempts:
plugins: []
targets: []
";

#[test]
fn accepts_files_of_the_original_program() {
    let config = Setup::new(MANIFEST).config();
    assert!(config.copy.dry_run && config.copy.dry_pull && config.targets[0].insecure);
    assert_eq!(config.process.log_level, LevelFilter::DEBUG);
    assert_eq!(config.watch.resources, [WorkloadKind::Pod]);
    assert_eq!(config.watch.include_namespaces, ["test"]);
    assert_eq!(Setup::new(README).config().targets[0].repo_prefix, "$namespace/$podname");
    assert_eq!(Setup::new(NEWEST).config().copy.retry_attempts, 3);
    let config = Setup::new(CHART).config();
    assert_eq!(config.targets[0].registry, "a.io");
    assert_eq!(config.watch.include_namespaces, ["*"]);
}

#[test]
fn accepts_aliases_with_a_warning_but_not_with_their_keys() {
    let loaded = Setup::with_target("requestTimeoutSeconds: 7").load().unwrap();
    assert_eq!(loaded.config.copy.request_timeout, Some(Duration::from_secs(7)));
    assert!(loaded.warnings[0].contains("requestTimeout"), "{:?}", loaded.warnings);
    let both = Setup::with_target("requestTimeoutSeconds: 7\nrequestTimeout: 7").errors();
    assert!(both.len() == 1 && both[0].contains("keep one"), "{both:?}");
}

#[test]
fn reports_all_errors_with_their_locations() {
    let file = "dryRun: maybe
inculdeNamespaces: [a]
DryPull: true
skipNamespaces: kube-system
skipNames: [a]
docker:
  registry: [a]
  insecur: true
requestTimeout: 2m
maxConcurrentReconciles: 0
logLevel: loud
includeNamespaces: ['[a']
startupPush: true
watchResources: [deployment, pods, secrets]
dryRun: true
docker:
";
    let setup = Setup::new(file).var("TARGET_KIND", "docker").var("DIGEST_PULL", "ture").var("METRICS_ADDR", "8080");
    let errors = setup.errors();
    let file = setup.env["CONFIG_PATH"].clone();
    for (location, hint) in [
        (format!("{file}:1:1: dryRun: "), "\"maybe\" is not a boolean"),
        (format!("{file}:2:1: inculdeNamespaces: "), "did you mean \"includeNamespaces\"?"),
        (format!("{file}:3:1: DryPull: "), "did you mean \"dryPull\"?"),
        (format!("{file}:4:1: skipNamespaces: "), "expected a list"),
        (format!("{file}:5:12: skipNames: "), "found a list"),
        (format!("{file}:7:3: docker.registry: "), "found a list"),
        (format!("{file}:8:3: docker.insecur: "), "did you mean \"insecure\"?"),
        (format!("{file}:9:1: requestTimeout: "), "without a unit"),
        (format!("{file}:10:1: maxConcurrentReconciles: "), "the minimum is 1"),
        (format!("{file}:11:1: logLevel: "), "debug, info"),
        (format!("{file}:12:21: includeNamespaces[0]: "), "shell glob"),
        (format!("{file}:13:1: startupPush: "), "obsolete"),
        (format!("{file}:14:18: watchResources[0]: "), "did you mean \"deployments\"?"),
        (format!("{file}:14:36: watchResources[2]: "), "statefulsets"),
        (format!("{file}:15:1: "), "duplicate key dryRun"),
        (format!("{file}:16:1: "), "duplicate key docker"),
        ("DIGEST_PULL: ".to_owned(), "\"ture\""),
        ("METRICS_ADDR: ".to_owned(), ":8080"),
    ] {
        let count = errors.iter().filter(|error| error.starts_with(&location) && error.contains(hint)).count();
        assert_eq!(count, 1, "{location} {hint}: {errors:#?}");
    }
    assert_eq!(errors.len(), 18, "{errors:#?}");
    assert!(errors[2].starts_with(&format!("{file}:1:1")) && errors[17].starts_with(&format!("{file}:16:1")));
    assert!(errors.iter().all(|error| !error.contains('\n')));
}

#[test]
fn rejects_documents_without_settings() {
    for file in ["- a\n- b\n", "just text", "a: [", "a: 1\n---\nb: 2\n", "\u{0}"] {
        assert_eq!(Setup::with_target(file).errors().len(), 1, "{file:?}");
    }
    for file in ["", "# nothing\n", "---\n", "null", "skipNames:\necr:\ndocker:\ntargetKind:\n"] {
        Setup::with_target(file).config();
    }
}

#[test]
fn does_not_report_settings_of_an_unreadable_file_as_missing() {
    for file in [
        "docker: [",
        "- a\n- b\n",
        "just text",
        "targetKind: docker\n  docker:\n",
        "\u{0}",
        "docker: [a]\ntargetKind: docker",
    ] {
        let errors = Setup::new(file).errors();
        assert!(errors.len() == 1 && !errors[0].contains("requires"), "{file:?}: {errors:#?}");
    }
    // Errors in variables are reported too.
    let setup = Setup::new("docker: [").var("DRY_RUN", "maybe").var("TARGET_USERNAME", "me");
    let errors = setup.errors();
    assert!(errors.len() == 2 && errors[0].starts_with("DRY_RUN: "), "{errors:#?}");

    let mut setup = Setup::new("");
    setup.flags.config = Some("/nonexistent/config.yaml".into());
    let errors = setup.errors();
    assert!(errors.len() == 1 && errors[0].contains("can't be read"), "{errors:#?}");
    setup.flags.config = None;
    assert!(setup.errors()[0].contains("requires ECR_ACCOUNT_ID"));
}

#[test]
fn never_prints_secrets() {
    let secret = "hunter2";
    for file in [
        "registryCredentials: [{registry: a.io, password: [hunter2]}]",
        "registryCredentials: [{registry: a.io, password: hunter2}]",
        "registryCredentials: [{registry: a.io, username: me, password: hunter2, token: {a: hunter2}}]",
        "registryCredentials: [{registry: a.io, username: me, password: !hunter2 x}]",
        "registryCredentials: [{registry: a.io, username: me, password: *hunter2 }]",
        "registryCredentials:\n  - registry: a.io\n    password:hunter2\n    username: me\n",
        "registryCredentials:\n  - password hunter2\n",
        "registryCredentials: [{registry: a.io, 'password: hunter2'}]",
        "registryCredentials: [{registry: 'https://me:hunter2@a.io', token: x}]",
        "registryCredentials:\n  - registry: a.io\n    token: 'hunter2\n",
        "registryCredentials: hunter2",
        "registryCredentials: [{registry: a.io, token: x, 'password: hunter2': , 'password: hunter2': }]",
        "insecureRegistries: ['me:hunter2@a.io']",
        "targets: [{name: a, kind: docker, registry: a.io, password: hunter2}]",
    ] {
        let errors = Setup::with_target(file).errors();
        assert!(!errors.concat().contains(secret), "{file}: {errors:?}");
    }
    let misplaced = "registryCredentials: [{registry: a.io, tokenEnv: hunter2}]";
    assert!(!Setup::with_target(misplaced).load().unwrap().warnings.concat().contains(secret));
    let whole =
        "registryCredentials: [{registry: a.io, username: me, password: hunter2}, {registry: b.io, token: hunter2}]";
    let setup = Setup::with_target(whole).var("TARGET_USERNAME", "me").var("TARGET_PASSWORD", secret);
    assert!(!format!("{:?}", setup.config()).contains(secret));
    let half = Setup::with_target("").var("TARGET_PASSWORD", secret).errors();
    assert!(!half.concat().contains(secret), "{half:?}");
}
