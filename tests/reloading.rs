//! Plugins and settings are reloaded while the controller runs.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};

use crate::{
    guests,
    mirroring::{arrives, single},
    support::{
        Access, Cluster, ConfigMapVolume, NEW_PASSWORD, PASSWORD, Program, Registry, Running, USER, deployment,
        eventually, pod,
    },
};

/// `guest` with another digest: with one more custom section.
fn variant(guest: &Path, number: usize) -> Vec<u8> {
    let name = format!("variant-{number}");
    let mut bytes = fs::read(guest).unwrap();
    let length = u8::try_from(name.len()).unwrap();
    bytes.extend([0, length + 1, length]);
    bytes.extend(name.as_bytes());
    bytes
}

/// Files of a plugin `versions` that adds `v<number>` as prefix and as path component.
fn version(number: usize) -> Vec<(&'static str, Vec<u8>)> {
    let settings = format!("config: {{ version: v{number} }}\n");
    vec![("versions.wasm", variant(&guests::hostile(), number)), ("versions.yaml", settings.into_bytes())]
}

/// One of ten kinds of invalid plugins.
fn broken(number: usize) -> Vec<(&'static str, Vec<u8>)> {
    let whole = variant(&guests::hostile(), number);
    let settings = |text: &str| text.as_bytes().to_vec();
    let (module, settings) = match number % 10 {
        0 => (whole[..whole.len() / 2].to_vec(), settings("config: { version: broken }")),
        1 => (b"\0asm\x01\0\0\0".to_vec(), settings("config: { version: broken }")),
        2 => (b"not a plugin".to_vec(), settings("config: { version: broken }")),
        3 => (Vec::new(), settings("config: { version: broken }")),
        4 => (whole, settings("config: refuse-config")),
        5 => (whole, settings("config: panic-in-configure")),
        6 => (whole, settings("config: loop-in-configure\nconfigureTimeout: 50ms")),
        7 => (whole, settings("config: { version: broken }\nmemory: 64Ki")),
        8 => (whole, settings("config: { version: broken }\nmoduleSize: 64Ki")),
        _ => (whole, settings("config: { version: broken }\nnonsense: 1")),
    };
    vec![("versions.wasm", module), ("versions.yaml", settings)]
}

async fn controller(cluster: &Cluster, config: &str, more: impl FnOnce(Program) -> Program) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let mut program = more(Program::controller(&kubeconfig).config(config)).start();
    program.ready().await;
    program
}

fn settings(target: &Registry, namespace: &str, more: &str) -> String {
    format!("targetKind: docker\ndocker: {{ registry: '{}' }}\nincludeNamespaces: [{namespace}]\n{more}", target.host())
}

/// How many changes were applied and rejected.
async fn reloads(program: &Running) -> (f64, f64) {
    let metrics = program.metrics().await;
    let reloads = |result| metrics.sum("k8s_copycat_config_reloads_total", &[("result", result)]);
    (reloads("applied"), reloads("refused"))
}

async fn page(program: &Running) -> Value {
    let (status, body) = program.get("/plugins").await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// Resident memory in MiB.
fn memory(program: &Running) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", program.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[tokio::test]
async fn fifty_versions_of_a_plugin_are_reloaded_under_load() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let mut images = Vec::new();
    for number in 0..5 {
        images.push(source.push(&format!("team/app-{number}"), "1", &single(&format!("app {number}"))).await);
    }
    deployment("app-0").image(&images[0]).apply(&client, &namespace).await;
    let mut mount = ConfigMapVolume::new(&version(0));
    let config = settings(&target, &namespace, "");
    let program = controller(cluster, &config, |program| program.env("PLUGIN_DIR", mount.path())).await;
    arrives(&target, "v0/v0/team/app-0", "1", &single("app 0")).await;

    let (mut applied, mut refused, mut settled) = (0.0, 0.0, 0);
    for number in 1..=50 {
        // Every fifth, so that valid versions come before and after it.
        let is_broken = number % 5 == 3;
        mount.swap(&if is_broken { broken(number / 5) } else { version(number) });
        // Workloads are created while it is loaded.
        let load = (0..5).map(|image| {
            let workload = deployment(&format!("app-{number}-{image}")).image(&images[image]);
            let (client, namespace) = (&client, &namespace);
            async move { workload.apply(client, namespace).await }
        });
        futures::future::join_all(load).await;
        if is_broken {
            refused += 1.0
        } else {
            applied += 1.0
        }
        eventually("the change is applied or rejected", || async {
            let now = reloads(&program).await;
            assert!(now.0 <= applied && now.1 <= refused, "{number}: {now:?}\n{}", program.log());
            (now == (applied, refused)).then_some(())
        })
        .await;
        if is_broken {
            let page = page(&program).await;
            let reason = page["reloadRefused"].as_str().unwrap();
            assert!(reason.contains("versions"), "{page}");
            assert_eq!(page["plugins"][0]["name"], "versions", "the previous plugin stays active");
        }
        if number == 10 {
            settled = memory(&program);
        }
    }
    // The last version is valid and has all images.
    for number in 0..5 {
        let repository = format!("v50/v50/team/app-{number}");
        arrives(&target, &repository, "1", &single(&format!("app {number}"))).await;
    }
    let metrics = program.metrics().await;
    assert_eq!(metrics.sum("k8s_copycat_undecided_total", &[]), 0.0, "{}", program.log());
    assert_eq!(metrics.sum("k8s_copycat_config_last_reload_successful", &[]), 1.0);
    assert_eq!(metrics.sum("k8s_copycat_plugin_loads_total", &[("plugin", "versions")]), applied + 1.0);
    assert_eq!(metrics.sum("k8s_copycat_plugin_info", &[("plugin", "versions")]), 1.0, "one identity at a time");
    for repository in target.repositories().await {
        let parts: Vec<&str> = repository.split('/').collect();
        assert_eq!(parts[0], parts[1], "{repository} mixes two versions");
        assert!(!repository.contains("broken"), "{repository}");
    }
    let (status, body) = program.post("/force-reconcile").await;
    assert_eq!(status, 200);
    assert!(body.contains(r#""success":true,"workloadsProcessed":251,"imagesMirrored":251,"#), "{body}");
    let after = memory(&program);
    println!("after 10 changes {settled} MiB, after 50 {after} MiB");
    // Code and instance of a version take some 1.5 MiB: forty leaked versions would take 60.
    assert!(after < settled + 30, "after 10 changes {settled} MiB, after 50 {after} MiB");
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn a_valid_change_is_applied_and_an_invalid_one_rejected() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Anonymous).await;
    let (target, other) = (Registry::crane().await, Registry::distribution(Access::Anonymous).await);
    let app = single("app");
    deployment("app").image(&source.push("team/app", "1", &app).await).apply(&client, &namespace).await;
    let own = pod("copycat-0").image("registry.example/copycat:1").apply(&client, &namespace).await;
    let skip_own = "skipNames: { pods: [copycat-0] }\n";
    let program = controller(cluster, &settings(&target, &namespace, skip_own), |program| {
        program.env("POD_NAMESPACE", &namespace).env("HOSTNAME", "copycat-0")
    })
    .await;
    arrives(&target, "team/app", "1", &app).await;
    source.take_requests();

    let moved = format!("{skip_own}pathMap: [{{ from: team, to: moved }}]\n");
    program.rewrite_config(&settings(&target, &namespace, &moved));
    arrives(&target, "moved/app", "1", &app).await;
    assert_eq!(reloads(&program).await, (1.0, 0.0));

    program.rewrite_config(&settings(&target, &namespace, "pathMap: [{ from: '(', regex: true }]\nnonsense: 1\n"));
    eventually("the change is rejected", || async { (reloads(&program).await == (1.0, 1.0)).then_some(()) }).await;
    assert_eq!(program.metrics().await.sum("k8s_copycat_config_last_reload_successful", &[]), 0.0);
    let reason = page(&program).await["reloadRefused"].as_str().unwrap().to_owned();
    assert!(reason.contains("pathMap[0].from") && reason.contains("nonsense"), "{reason}");
    assert!(program.log().contains("the previous one stays active"), "{}", program.log());
    let events: kube::Api<k8s_openapi::api::events::v1::Event> = kube::Api::namespaced(client.clone(), &namespace);
    let event = eventually("an event reports it", || async {
        let all = events.list(&Default::default()).await.unwrap().items;
        all.into_iter().find(|event| event.reason.as_deref() == Some("ReloadRefused"))
    })
    .await;
    assert_eq!(event.regarding.unwrap().uid, own.metadata.uid);
    assert!(event.note.unwrap().contains("nonsense"));

    // Another target: everything is copied there too, with the new settings.
    let restarting = format!("{moved}watchResources: [pods]\nmaxConcurrentReconciles: 1\n");
    program.rewrite_config(&settings(&other, &namespace, &restarting));
    arrives(&other, "moved/app", "1", &app).await;
    eventually("the change is applied", || async { (reloads(&program).await == (2.0, 1.0)).then_some(()) }).await;
    let page = page(&program).await;
    assert_eq!((&page["reloadRefused"], &page["needsRestart"]), (&Value::Null, &json!(["watchResources"])));
    assert_eq!(program.terminate().await.code, Some(0));
}

#[tokio::test]
async fn fixed_credentials_end_the_cooldown() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Basic).await;
    let target = Registry::crane().await;
    let app = single("app");
    deployment("app").image(&source.push("team/app", "1", &app).await).apply(&client, &namespace).await;
    let login = |password: &str| {
        let credential = format!("{{ registry: '{}', username: {}, password: {password} }}", source.host(), USER);
        settings(&target, &namespace, &format!("registryCredentials: [{credential}]\n"))
    };
    let program = controller(cluster, &login("wrong"), |program| program).await;
    eventually("it fails", || async {
        let failed = program.metrics().await.sum("k8s_copycat_copy_failures_total", &[("kind", "source")]);
        (failed >= 1.0).then_some(())
    })
    .await;
    program.rewrite_config(&login(PASSWORD));
    arrives(&target, "team/app", "1", &app).await;
    assert!(!program.log().contains(PASSWORD));
}

#[tokio::test]
async fn a_rotated_password_file_is_applied_while_the_program_runs() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Basic).await;
    let target = Registry::crane().await;
    let (first, second) = (single("first"), single("second"));
    let images = [source.push("team/first", "1", &first).await, source.push("team/second", "1", &second).await];
    let secret = |password: &str| vec![("username", USER.into()), ("password", format!("{password}\n").into_bytes())];
    // A Secret is mounted as a ConfigMap is.
    let mut mount = ConfigMapVolume::new(&secret(PASSWORD));
    let credential = format!(
        "registryCredentials: [{{ registry: '{}', usernameFile: {}, passwordFile: {} }}]\n",
        source.host(),
        mount.file("username").display(),
        mount.file("password").display()
    );
    let program = controller(cluster, &settings(&target, &namespace, &credential), |program| program).await;
    deployment("first").image(&images[0]).apply(&client, &namespace).await;
    arrives(&target, "team/first", "1", &first).await;

    source.change_password();
    deployment("second").image(&images[1]).apply(&client, &namespace).await;
    eventually("it fails with the old password", || async {
        let failed = program.metrics().await.sum("k8s_copycat_copy_failures_total", &[("kind", "source")]);
        (failed >= 1.0).then_some(())
    })
    .await;
    // Half a rotation is refused, and the rest is applied.
    mount.swap(&secret(""));
    eventually("the empty password is refused", || async { (reloads(&program).await == (0.0, 1.0)).then_some(()) })
        .await;
    let refused = page(&program).await["reloadRefused"].as_str().unwrap().to_owned();
    assert!(refused.contains("/password can't be read: it is empty"), "{refused}");
    mount.swap(&secret(NEW_PASSWORD));
    arrives(&target, "team/second", "1", &second).await;
    assert_eq!(reloads(&program).await, (1.0, 1.0));
    let log = program.log();
    assert!(!log.contains(PASSWORD) && !log.contains(NEW_PASSWORD), "{log}");
}

#[tokio::test]
async fn unchanged_plugins_keep_running_when_others_are_added_or_removed() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let source = Registry::distribution(Access::Anonymous).await;
    let target = Registry::crane().await;
    let app = single("app");
    deployment("app").image(&source.push("team/app", "1", &app).await).apply(&client, &namespace).await;
    let mut mount = ConfigMapVolume::new(&[("note.txt", b"nothing yet".to_vec())]);
    let config = settings(&target, &namespace, "");
    let program = controller(cluster, &config, |program| program.env("PLUGIN_DIR", mount.path())).await;
    arrives(&target, "team/app", "1", &app).await;
    let names = |page: &Value| {
        let plugins = page["plugins"].as_array().unwrap().iter();
        plugins.map(|plugin| plugin["name"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    let defaults = names(&page(&program).await);

    mount.swap(&version(1));
    arrives(&target, "v1/v1/team/app", "1", &app).await;
    let first = page(&program).await;
    assert_eq!(names(&first).len(), defaults.len() + 1);
    let loads =
        async |plugin: &str| program.metrics().await.sum("k8s_copycat_plugin_loads_total", &[("plugin", plugin)]);
    // With another plugin, the first one keeps running with its counters.
    let mut two = version(1);
    two.push(("other.wasm.gz", gzipped(&variant(&guests::hostile(), 2))));
    two.push(("other.yaml", b"config: keep".to_vec()));
    mount.swap(&two);
    eventually("the plugin is loaded", || async { names(&page(&program).await).contains("other").then_some(()) }).await;
    assert_eq!((loads("versions").await, loads("other").await, loads("skip").await), (1.0, 1.0, 1.0));

    mount.swap(&[("note.txt", b"nothing any more".to_vec())]);
    eventually("the plugins are removed", || async { (names(&page(&program).await) == defaults).then_some(()) }).await;
    assert_eq!(program.metrics().await.sum("k8s_copycat_plugin_info", &[("plugin", "versions")]), 0.0);
    let later = single("later");
    deployment("later").image(&source.push("team/later", "1", &later).await).apply(&client, &namespace).await;
    arrives(&target, "team/later", "1", &later).await;
    assert_eq!(program.terminate().await.code, Some(0));
}

fn gzipped(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
