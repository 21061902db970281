//! The user's plugins: mounting, settings, decisions, and failures.

use std::{fs, path::Path, time::Duration};

use crate::{
    guests,
    mirroring::{index, single},
    planning::plan,
    support::{
        Access, Cluster, ConfigMapVolume, Fault, Finished, Program, Registry, Request, deployment, eventually, list,
    },
};
use serde_json::{Value, json};

fn bytes(guest: &Path) -> Vec<u8> {
    fs::read(guest).unwrap()
}

/// `plan` or `sync` of these manifests from standard input, with a target that need not exist.
fn program(command: &[&str], manifests: &[Value]) -> Program {
    Program::new(command)
        .arg("-f")
        .arg("-")
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", "registry.example")
        .stdin(&list(manifests))
}

/// A Deployment that the plugin `hostile` reacts to.
fn victim(image: &str) -> Value {
    deployment("victim").image(image).manifest_in("trouble")
}

/// An entry of `plugins:` for the plugin `hostile`.
fn hostile(behaviour: &Value, more: &str) -> String {
    let module = guests::hostile();
    format!("plugins:\n- {{ name: villain, module: {}, config: {behaviour}{more} }}\n", module.display())
}

/// The decision for one image in the namespace `trouble`: its destination, or the reason that it has none.
async fn planned_outcome(config: &str) -> String {
    let lines = plan(program(&["plan", "-o", "json"], &[victim("nginx:1")]).config(config)).await;
    assert_eq!(lines.len(), 1, "{lines:?}");
    match lines[0]["decision"].as_str().unwrap() {
        "mirror" => lines[0]["targets"][0]["reference"].as_str().unwrap().to_owned(),
        other => format!("{other}: {}", lines[0]["reason"].as_str().unwrap()),
    }
}

#[tokio::test]
async fn a_mounted_plugin_changes_destinations() {
    let config = b"config: { namespace: nobody, target: default }".to_vec();
    let folder = ConfigMapVolume::new(&[("tenants.wasm", bytes(&guests::rust_path())), ("tenants.yaml", config)]);
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let (app, other) = (index("app"), single("other"));
    let manifests = [
        deployment("web").label("team", "red").image(&source.push("shop/app", "1", &app).await).manifest(),
        deployment("other").image(&source.push("shop/other", "1", &other).await).manifest(),
    ];
    let with_plugins = |command: &[&str]| {
        program(command, &manifests).env("PLUGIN_DIR", folder.path()).env("TARGET_REGISTRY", target.host())
    };

    let lines = plan(with_plugins(&["plan", "--output=json"])).await;
    let planned = |name: &str| lines.iter().find(|line| line["workload"]["name"] == name).unwrap();
    let reference = format!("{}/red/shop/app:1", target.host());
    assert_eq!(planned("web")["targets"], json!([{ "name": "default", "reference": reference }]));
    let answer = json!({ "hook": "path-mapping", "plugin": "tenants", "answer": "default: red/shop/app" });
    assert!(planned("web")["trace"].as_array().unwrap().contains(&answer), "{lines:#?}");
    let pass = json!({ "hook": "path-mapping", "plugin": "tenants", "answer": "pass" });
    assert!(planned("other")["trace"].as_array().unwrap().contains(&pass), "{lines:#?}");

    with_plugins(&["sync"]).run().await.assert_code(0);
    target.assert_has("red/shop/app", "1", &app).await;
    assert_eq!(target.manifest("shop/app", "1").await, None);
    target.assert_has("shop/other", "1", &other).await;
}

#[tokio::test]
async fn selects_one_of_two_targets_by_namespace() {
    let source = Registry::distribution(Access::Anonymous).await;
    let (near, vault) = (Registry::crane().await, Registry::distribution(Access::Anonymous).await);
    let (ledger, shop) = (index("ledger"), single("shop"));
    let manifests = [
        deployment("ledger").image(&source.push("pay/ledger", "1", &ledger).await).manifest_in("payments"),
        deployment("shop").image(&source.push("web/shop", "1", &shop).await).manifest_in("shop"),
    ];
    let config = format!(
        "targets:\n- {{ name: near, kind: docker, registry: '{}' }}\n- {{ name: vault, kind: docker, registry: '{}/safe' }}\n\
         plugins:\n- {{ module: {}, config: {{ namespace: payments, target: vault }} }}\n",
        near.host(),
        vault.host(),
        guests::rust_path().display()
    );
    let sync = Program::new(&["sync", "-f", "-"]).stdin(&list(&manifests)).config(&config);
    let finished = sync.run().await.assert_code(0);
    assert!(finished.stdout.contains("3 copied"), "{}", finished.stdout);
    vault.assert_has("safe/pay/ledger", "1", &ledger).await;
    assert_eq!(near.manifest("pay/ledger", "1").await, None);
    vault.assert_has("safe/web/shop", "1", &shop).await;
    near.assert_has("web/shop", "1", &shop).await;
}

#[tokio::test]
async fn each_setting_of_a_plugin_has_an_effect() {
    for (behaviour, more, expected) in [
        (json!({ "path": "moved/app" }), "", "registry.example/moved/app:1"),
        (json!({ "prefix": "below" }), "", "registry.example/below/library/nginx:1"),
        (json!("skip"), "", "skip: because"),
        (json!("fail"), "", "error: plugin villain, hook skip: no such team"),
        (json!("fail"), ", onFailure: fail", "error: plugin villain, hook skip: no such team"),
        (json!("fail"), ", onFailure: pass", "registry.example/library/nginx:1"),
        (json!("loop"), "", "error: plugin villain, hook skip: no answer within 1s; raise timeout"),
        (json!("loop"), ", timeout: 200ms", "error: plugin villain, hook skip: no answer within 200ms; raise timeout"),
        (json!("loop"), ", timeout: 200ms, onFailure: pass", "registry.example/library/nginx:1"),
        (json!("bomb"), ", timeout: 60s", "its limit is 67108864; raise memory"),
        (json!("bomb"), ", timeout: 60s, memory: 16Mi", "its limit is 16777216; raise memory"),
    ] {
        let outcome = planned_outcome(&hostile(&behaviour, more)).await;
        assert!(outcome.contains(expected), "{behaviour}{more}: {outcome}");
    }
    let slow = hostile(&json!("loop-in-configure"), ", configureTimeout: 200ms");
    let finished = program(&["plan"], &[victim("nginx")]).config(&slow).run().await.assert_code(2);
    assert!(finished.stderr.contains("plugin villain") && finished.stderr.contains("within 200ms"), "{finished:?}");
}

#[tokio::test]
async fn calls_plugins_in_order() {
    let hostile = bytes(&guests::hostile());
    let config = |path: &str| format!("config: {{ path: {path} }}\n").into_bytes();
    let folder = ConfigMapVolume::new(&[
        ("b.wasm", hostile.clone()),
        ("b.yaml", config("from-b")),
        ("a.wasm", hostile.clone()),
        ("a.yaml", config("from-a")),
        ("listed.wasm", hostile),
    ]);
    let dir = format!("pluginDir: {}\n", folder.path().display());
    assert_eq!(
        planned_outcome(&format!("{dir}plugins: [{{ module: listed.wasm, config: keep }}]\n")).await,
        "registry.example/from-a:1"
    );
    let listed =
        "plugins: [{ module: listed.wasm, config: { path: from-list } }, { module: b.wasm, config: { path: b } }]";
    assert_eq!(planned_outcome(&format!("{dir}{listed}\n")).await, "registry.example/from-list:1");
    // The name in the settings overrides the file name.
    fs::write(folder.path().join("..data/a.yaml"), "name: zz\nconfig: panic\n").unwrap();
    let outcome = planned_outcome(&format!("{dir}plugins: [{{ module: listed.wasm, config: keep }}]\n")).await;
    assert_eq!(outcome, "registry.example/from-b:1", "zz is not called for skip, as keep was the answer");
    let outcome =
        planned_outcome(&format!("{dir}plugins: [{{ module: listed.wasm, config: {{ prefix: p }} }}]\n")).await;
    assert!(outcome.starts_with("error: plugin zz, hook skip: "), "{outcome}");
}

#[tokio::test]
async fn the_variable_overrides_the_plugin_folder_of_the_file() {
    let with =
        |config: &[u8]| ConfigMapVolume::new(&[("p.wasm", bytes(&guests::hostile())), ("p.yaml", config.to_vec())]);
    let (one, two) = (with(b"config: { path: one }"), with(b"config: { path: two }"));
    let plan_with = |variable: Option<&ConfigMapVolume>| {
        let program = program(&["plan", "-o", "json"], &[victim("nginx:1")])
            .config(&format!("pluginDir: {}\n", one.path().display()));
        match variable {
            Some(folder) => program.env("PLUGIN_DIR", folder.path()),
            None => program,
        }
    };
    for (variable, expected) in [(None, "registry.example/one:1"), (Some(&two), "registry.example/two:1")] {
        let lines = plan(plan_with(variable)).await;
        assert_eq!(lines[0]["targets"][0]["reference"], expected);
    }
    let missing = program(&["plan"], &[victim("nginx:1")]).env("PLUGIN_DIR", "/nonexistent/plugins");
    let finished = missing.run().await.assert_code(2);
    assert!(finished.stderr.contains("PLUGIN_DIR: the plugin folder /nonexistent/plugins"), "{finished:?}");
}

#[tokio::test]
async fn default_plugins_can_be_disabled() {
    let settings = "repoPrefix: mirror\npathMap: [{ from: library, to: official }]\n";
    let skipping = "skipNamespaces: [trouble]\n";
    for (defaults, more, expected) in [
        ("skip, target-selection, path-mapping, repository-prefix", "", "registry.example/mirror/official/nginx:1"),
        ("skip, target-selection, path-mapping", "", "registry.example/official/nginx:1"),
        ("skip, target-selection, repository-prefix", "", "registry.example/mirror/library/nginx:1"),
        ("skip, path-mapping, repository-prefix", "", "error: hook target-selection: no plugin chose a target"),
        ("skip, target-selection", skipping, "skip: namespace trouble is in skipNamespaces"),
        ("target-selection", skipping, "registry.example/library/nginx:1"),
    ] {
        let outcome = planned_outcome(&format!("{settings}{more}defaultPlugins: [{defaults}]\n")).await;
        assert!(outcome.starts_with(expected), "{defaults}: {outcome}");
    }
}

#[tokio::test]
async fn a_failing_plugin_fails_only_the_images_that_it_was_called_for() {
    let source = Registry::distribution(Access::Anonymous).await;
    let good = index("good");
    let good_1 = source.push("shop/good", "1", &good).await;
    let bad = [source.push("team/one", "1", &good).await, source.push("team/two", "1", &good).await];
    let manifests = [
        deployment("before").image(&good_1).manifest_in("shop"),
        deployment("victim").image(&bad[0]).image(&bad[1]).manifest_in("trouble"),
    ];
    for (behaviour, timeout, message) in [
        ("loop", "300ms", "plugin villain, hook skip: no answer within 300ms"),
        ("bomb", "60s", "plugin villain, hook skip: it requested"),
        ("panic", "60s", "plugin villain, hook skip: it trapped"),
    ] {
        let target = Registry::crane().await;
        // The pass lasts a while, in which no plugin is called again.
        source.inject(1, Request::is_blob, Fault::Delay(Duration::from_secs(2)));
        let sync = program(&["sync"], &manifests).env("TARGET_REGISTRY", target.host());
        let sync = sync.config(&hostile(&json!(behaviour), &format!(", timeout: {timeout}")));
        let finished = sync.run().await.assert_code(1);
        for image in &bad {
            let lines: Vec<_> = finished.stdout.lines().filter(|line| line.contains(image)).collect();
            assert!(lines.len() == 1 && lines[0].contains(message), "{behaviour}: {finished:?}");
        }
        assert!(finished.stdout.contains("1 copied, 2 undecided"), "{behaviour}: {finished:?}");
        target.assert_has("shop/good", "1", &good).await;
        for repository in ["team/one", "team/two"] {
            assert_eq!(target.manifest(repository, "1").await, None, "{behaviour}");
        }
    }
}

#[tokio::test]
async fn the_controller_survives_failing_plugins_and_counts_failures() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata: { name: trouble }\n").await;
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let good = index("good");
    let bad = source.push("team/bad", "1", &good).await;
    deployment("victim").image(&bad).apply(&client, "trouble").await;
    deployment("good").image(&source.push("shop/good", "1", &good).await).apply(&client, &namespace).await;

    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let module = guests::hostile();
    let plugin = |behaviour: &str, timeout: &str, on_failure: &str| {
        let module = module.display();
        format!(
            "- {{ name: {behaviour}, module: {module}, config: {behaviour}, timeout: {timeout}, onFailure: {on_failure} }}\n"
        )
    };
    let config = format!(
        "targetKind: docker\ndocker: {{ registry: '{}' }}\nincludeNamespaces: [trouble, {namespace}]\nplugins:\n{}{}{}",
        target.host(),
        plugin("loop", "200ms", "pass"),
        plugin("bomb", "60s", "pass"),
        plugin("panic", "60s", "fail")
    );
    let mut program = Program::controller(&kubeconfig).config(&config).start();
    program.ready().await;
    eventually("the other image is mirrored", || target.manifest("shop/good", "1")).await;
    target.assert_has("shop/good", "1", &good).await;
    for (plugin, kind) in [("loop", "deadline"), ("bomb", "memory"), ("panic", "trap")] {
        let labels = [("plugin", plugin), ("hook", "skip"), ("kind", kind)];
        eventually("the failure is counted", || async {
            let failures = program.metrics().await.sum("k8s_copycat_plugin_failures_total", &labels);
            (failures >= 1.0).then_some(())
        })
        .await;
    }
    // The plugin is called again, as it may succeed.
    eventually("it is called again", || async {
        let calls = program.metrics().await.sum("k8s_copycat_plugin_failures_total", &[("plugin", "panic")]);
        (calls >= 2.0).then_some(())
    })
    .await;
    let (_, body) = program.post("/force-reconcile").await;
    let answer: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&answer["success"], &answer["imagesMirrored"]), (&json!(false), &json!(1)), "{body}");
    assert!(body.contains("plugin panic, hook skip: it trapped") && body.contains(&bad), "{body}");
    assert_eq!(target.manifest("team/bad", "1").await, None);

    let newer = source.push("team/newer", "1", &single("newer")).await;
    deployment("newer").image(&newer).apply(&client, &namespace).await;
    eventually("what comes later is mirrored", || target.manifest("team/newer", "1")).await;
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn every_command_reports_all_invalid_plugins_and_stops() {
    let folder = ConfigMapVolume::new(&[
        ("core.wasm", b"\0asm\x01\0\0\0".to_vec()),
        ("fine.wasm", bytes(&guests::hostile())),
        ("fine.yaml", b"config: keep".to_vec()),
        ("text.wasm", b"not a plugin".to_vec()),
    ]);
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "none",
        "clusters": [{ "name": "none", "cluster": { "server": "http://127.0.0.1:9" } }],
        "contexts": [{ "name": "none", "context": { "cluster": "none", "user": "none" } }],
        "users": [{ "name": "none", "user": {} }],
    });
    let ended = |command: &'static [&'static str], config: &'static str| {
        let program = Program::new(command)
            .env("TARGET_KIND", "docker")
            .env("TARGET_REGISTRY", "registry.example")
            .env("PLUGIN_DIR", folder.path())
            .file("kubeconfig", &kubeconfig.to_string())
            .config(config);
        let program = program.env("KUBECONFIG", "kubeconfig").stdin(&list(&[victim("nginx")]));
        async move { program.run().await.assert_code(2) }
    };
    let assert_stderr = |finished: &Finished, what: &[&str]| {
        for what in what {
            assert!(finished.stderr.contains(what), "{what}: {finished:?}");
        }
        assert!(!finished.stderr.contains("fine.wasm"), "{finished:?}");
        assert_eq!(finished.stdout, "");
    };
    let broken = ["core.wasm): a core WebAssembly module", "text.wasm): not a WebAssembly component"];
    for command in [&["plan", "-f", "-"][..], &["sync", "-f", "-"], &["run", "--leader-elect=false"], &[]] {
        assert_stderr(&ended(command, "").await, &broken);
        let finished = ended(command, "maxConcurrentReconciles: 0\nskipNamespace: [a]\n").await;
        assert_stderr(&finished, &broken);
        assert_stderr(&finished, &["maxConcurrentReconciles", "skipNamespaces"]);
    }
}

#[tokio::test]
async fn logs_when_an_ignored_plugin_starts_and_stops_failing() {
    let manifests: Vec<Value> = (0..2000)
        .map(|number| deployment(&format!("web-{number}")).image(&format!("app:{number}")).manifest_in("trouble"))
        .collect();
    let config = hostile(&json!("panic"), ", onFailure: pass");
    let finished = program(&["plan", "-f", "-"], &manifests).config(&config).run().await.assert_code(0);
    assert_eq!(finished.stdout.matches("registry.example/library/app:").count(), 2000);
    let logged: Vec<Value> = finished.stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let about = |what: &str| -> Vec<&Value> {
        logged.iter().filter(|line| line["msg"].as_str().unwrap().contains(what)).collect()
    };
    let (begins, ends) = (about("the plugin fails and is ignored"), about("the failing plugin is no longer used"));
    let ([begin], [end]) = (begins.as_slice(), ends.as_slice()) else {
        panic!("{} lines: {:#?}", logged.len(), &logged[..logged.len().min(5)])
    };
    for line in [begin, end] {
        assert_eq!(
            (&line["level"], &line["plugin"], &line["hook"]),
            (&"warn".into(), &"villain".into(), &"skip".into())
        );
        let (image, workload) = (line["image"].as_str().unwrap(), line["workload"].as_str().unwrap());
        let number = image.strip_prefix("app:").unwrap();
        assert_eq!(workload, format!("deployment trouble/web-{number}"));
        assert!(line["error"].as_str().unwrap().starts_with("it trapped: "), "{line}");
    }
    assert_eq!((&end["failed"], &end["asked"]), (&json!(2000), &json!(8000)));
    // The third line warns that the manifests contain no Namespace objects.
    assert_eq!(logged.len(), 3, "{logged:#?}");
}
