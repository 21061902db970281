//! Chains with the default plugins.

use serde_json::json;

use super::*;

#[tokio::test]
async fn the_default_plugins_decide_as_documented() {
    let digest = format!("sha256:{}", "0a".repeat(32));
    let settings = Settings {
        skip: SkipSettings {
            include_namespaces: vec!["prod*".to_owned()],
            skip_namespaces: vec!["prod-old".to_owned()],
            skip_names: BTreeMap::from([(WorkloadKind::StatefulSet, vec!["web".to_owned()])]),
            exclude_registries: vec!["quay.io/private".to_owned()],
        },
        path_map: vec![
            PathMapRule { from: "library".to_owned(), to: "official".to_owned(), regex: false },
            PathMapRule { from: "^(\\w+)/nothing$".to_owned(), to: String::new(), regex: true },
        ],
        ..settings(vec![target("default", "registry.example/acme", "mirror/$registry/$namespace")])
    };
    let policy = load(settings);
    for (namespace, image, expected) in [
        ("prod", "nginx:1.27", "registry.example/acme/mirror/docker.io/prod/official/nginx:1.27"),
        ("prod", "nginx", "registry.example/acme/mirror/docker.io/prod/official/nginx:latest"),
        ("prod-eu", "quay.io:443/team/app:1", "registry.example/acme/mirror/quay.io-443/prod-eu/team/app:1"),
        ("prod", &format!("ghcr.io/a/b@{digest}"), &format!("registry.example/acme/mirror/ghcr.io/prod/a/b@{digest}")),
        ("prod", &format!("ghcr.io/a/b:2@{digest}"), "registry.example/acme/mirror/ghcr.io/prod/a/b:2"),
        ("dev", "nginx", "skip: namespace dev is not in includeNamespaces"),
        ("prod-old", "nginx", "skip: namespace prod-old is in skipNamespaces"),
        ("prod", "quay.io/private/app", "skip: quay.io/private is in excludeRegistries"),
        ("prod", "registry.example/acme/app:1", "skip: already in target registry registry.example/acme"),
        ("prod", "registry.example/acme2/app:1", "registry.example/acme/mirror/registry.example/prod/acme2/app:1"),
    ] {
        assert_eq!(outcome(&decide(&policy, image_use(namespace, image)).await), expected);
    }
    let error = decide(&policy, image_use("prod", "ghcr.io/x/nothing")).await;
    assert!(outcome(&error).contains("plugin path-map, hook path-mapping: pathMap[1] leaves nothing"), "{error:?}");
    let error = decide(&policy, image_use("prod", "Not An Image")).await;
    assert!(matches!(error.verdict, Verdict::Error { retry: false, .. }), "{error:?}");
}

#[tokio::test]
async fn an_image_of_one_target_is_mirrored_to_the_others() {
    let targets = ["a", "b", "c"].map(|name| target(name, &format!("{name}.example/acme"), ""));
    let policy = load(settings(targets.to_vec()));
    let decision = decide(&policy, image_use("prod", "b.example/acme/app:1")).await;
    let Verdict::Mirror { destinations, .. } = &decision.verdict else { panic!("{decision:?}") };
    let destinations: Vec<String> = destinations.iter().map(ToString::to_string).collect();
    assert_eq!(destinations, ["a.example/acme/acme/app:1", "c.example/acme/acme/app:1"]);
}

#[tokio::test]
async fn skips_a_pod_because_of_its_owner() {
    let mut settings = settings_with(Vec::new());
    settings.skip.skip_names = BTreeMap::from([(WorkloadKind::Deployment, vec!["shop/web".to_owned()])]);
    let policy = load(settings);
    let mut pod = image_use("shop", "nginx");
    let workload = Arc::make_mut(&mut pod.workload);
    workload.id.kind = WorkloadKind::Pod;
    let owner =
        |kind: &str, name: &str| Owner { group: "apps".to_owned(), kind: kind.to_owned(), name: name.to_owned() };
    workload.owners = vec![owner("ReplicaSet", "web-1"), owner("Deployment", "web")];
    let decision = decide(&policy, pod).await;
    assert_eq!(outcome(&decision), "skip: Deployment shop/web is in skipNames.deployments");
}

#[tokio::test]
async fn the_trace_lists_calls_and_answers() {
    let policy = load(settings_with(vec![hostile(json!({"path": "Other"}))]));
    let decision = decide(&policy, image_use("trouble", "nginx")).await;
    let trace: Vec<String> =
        decision.trace.iter().map(|entry| format!("{} {} {}", entry.hook, entry.plugin, entry.answer)).collect();
    assert_eq!(
        trace,
        [
            "skip hostile pass",
            "skip skip pass",
            "target-selection hostile pass",
            "target-selection target-selection default",
            "path-mapping hostile default: Other",
            "repository-prefix hostile pass",
            "repository-prefix repo-prefix default: ",
        ]
    );
    assert_eq!(outcome(&decision), "registry.example/other:latest");
}

#[tokio::test]
async fn the_first_answer_of_a_chain_decides() {
    for (action, expected) in [
        (json!("keep"), "registry.example/library/nginx:latest"),
        (json!("skip"), "skip: because"),
        (json!({"path": "a"}), "registry.example/a:latest"),
        (json!({"prefix": "p/q"}), "registry.example/p/q/library/nginx:latest"),
        (json!({"select": []}), "skip: plugin hostile chose no target"),
        (json!({"select": ["default", "default"]}), "registry.example/library/nginx:latest"),
    ] {
        let mut settings = settings_with(vec![hostile(action.clone())]);
        settings.skip.skip_namespaces = vec!["other".to_owned()];
        let policy = load(settings);
        assert_eq!(outcome(&decide(&policy, image_use("trouble", "nginx")).await), expected, "{action}");
        assert!(
            outcome(&decide(&policy, image_use("other", "nginx")).await).starts_with("skip: namespace"),
            "{action}"
        );
    }
    let mut settings = settings_with(vec![hostile(json!("keep"))]);
    settings.skip.skip_namespaces = vec!["trouble".to_owned()];
    let decision = decide(&load(settings), image_use("trouble", "nginx")).await;
    assert_eq!(outcome(&decision), "registry.example/library/nginx:latest");
}

#[tokio::test]
async fn the_example_maps_paths_and_sends_a_namespace_to_one_target() {
    let targets = vec![target("all", "registry.example", ""), target("vault", "vault.example", "safe")];
    let config = json!({"namespace": "payments", "target": "vault"});
    let settings = Settings { plugins: vec![plugin("teams", guests::rust_path(), Some(config))], ..settings(targets) };
    let policy = load(settings);
    let decision = decide(&policy, image_use("payments", "nginx:1")).await;
    assert_eq!(outcome(&decision), "vault.example/safe/library/nginx:1");

    let mut labelled = image_use("shop", "nginx:1");
    Arc::make_mut(&mut labelled.workload).labels.insert("team".to_owned(), "Web Shop".to_owned());
    assert_eq!(
        outcome(&decide(&policy, labelled).await),
        "registry.example/web-shop/library/nginx:1 vault.example/safe/web-shop/library/nginx:1"
    );
}

#[tokio::test]
async fn works_without_default_plugins() {
    let action = json!({"select": ["default"]});
    let settings = Settings {
        defaults: Vec::new(),
        targets: vec![target("default", "registry.example", "ignored")],
        ..settings_with(vec![hostile(action)])
    };
    let policy = load(settings);
    assert_eq!(outcome(&decide(&policy, image_use("trouble", "nginx")).await), "registry.example/library/nginx:latest");
    let undecided = decide(&policy, image_use("other", "nginx")).await;
    assert!(outcome(&undecided).starts_with("error: hook target-selection: no plugin chose a target"), "{undecided:?}");
    assert!(matches!(undecided.verdict, Verdict::Error { retry: false, .. }));
}

#[tokio::test]
async fn an_invalid_repository_is_an_error() {
    let policy = load(settings_with(vec![hostile(json!({"path": "a/_b"}))]));
    let decision = decide(&policy, image_use("trouble", "nginx")).await;
    assert!(outcome(&decision).contains("target default") && outcome(&decision).contains("\"_b\""), "{decision:?}");
    assert!(matches!(decision.verdict, Verdict::Error { retry: false, .. }));
}

#[tokio::test]
async fn an_invalid_repository_names_the_plugin_in_a_short_message() {
    let hook = |hook: &str| format!("error: plugin hostile, hook {hook}: target default: ");
    for (action, start) in [
        (json!({"path": "a/_b"}), hook("path-mapping")),
        (json!({"prefix": "p/_q"}), hook("repository-prefix")),
        (json!({"prefix": "p/_".to_owned() + &"q".repeat(200_000)}), hook("repository-prefix")),
        (json!({"path": "ü".repeat(150_000)}), hook("path-mapping") + "the path \""),
        (
            json!({"path": "\u{202e}\u{200b}\n\u{1b}[2J".repeat(50_000).replace(|c: char| c.is_ascii_alphanumeric(), "-")}),
            hook("path-mapping"),
        ),
    ] {
        let decision = decide(&load(settings_with(vec![hostile(action)])), image_use("trouble", "nginx")).await;
        let error = outcome(&decision);
        assert!(error.starts_with(&start) && error.len() < 800, "{} bytes: {error:.400}", error.len());
        assert!(!error.contains(['\u{202e}', '\u{200b}', '\n', '\u{1b}']), "{error:?}");
    }
    // No plugin is named if none has answered.
    let full = target("default", &format!("registry.example/{}", "a".repeat(250)), "");
    let decision = decide(&load(settings(vec![full])), image_use("shop", "nginx")).await;
    assert!(outcome(&decision).starts_with("error: target default: the path of the target's registry"), "{decision:?}");
}

#[tokio::test]
async fn distinguishes_a_plugin_with_the_name_of_a_default_plugin() {
    let policy = load(settings_with(vec![plugin("skip", guests::hostile(), Some(json!("keep")))]));
    let names: Vec<String> = policy.plugins().into_iter().map(|plugin| plugin.name).collect();
    assert_eq!(names, ["skip", "skip (built in)", "target-selection", "path-map", "repo-prefix"]);
    let decision = decide(&policy, image_use("shop", "nginx")).await;
    let called: Vec<&str> = decision.trace.iter().take(2).map(|entry| entry.plugin.as_str()).collect();
    assert_eq!(called, ["skip", "skip (built in)"]);
}

#[tokio::test]
async fn returns_decisions_in_the_order_of_the_uses() {
    let policy = load(settings_with(Vec::new()));
    let uses: Vec<ImageUse> = (0..500).map(|number| image_use("shop", &format!("app:{number}"))).collect();
    let decisions = policy.decide(uses).await;
    let outcomes: Vec<String> = decisions.iter().map(outcome).collect();
    let expected: Vec<String> = (0..500).map(|number| format!("registry.example/library/app:{number}")).collect();
    assert_eq!(outcomes, expected);
    assert!(policy.decide(Vec::new()).await.is_empty());
}

#[test]
fn lists_plugins_with_their_hooks() {
    let listed = load(settings_with(vec![plugin(
        "teams",
        guests::rust_path(),
        Some(json!({"namespace": "a", "target": "default"})),
    )]))
    .plugins();
    let listed: Vec<(&str, &[Hook], bool)> =
        listed.iter().map(|info| (info.name.as_str(), info.hooks.as_slice(), info.digest.is_some())).collect();
    assert_eq!(
        listed,
        [
            ("teams", [Hook::TargetSelection, Hook::PathMapping].as_slice(), true),
            ("skip", &[Hook::Skip], false),
            ("target-selection", &[Hook::TargetSelection], false),
            ("path-map", &[Hook::PathMapping], false),
            ("repo-prefix", &[Hook::RepositoryPrefix], false),
        ]
    );
}
