//! Plugins from registries: pushed, fetched by digest, and verified.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::Request,
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    guests,
    mirroring::{arrives, single},
    planning::plan,
    support::{Access, Cluster, Fault, PASSWORD, Program, Registry, USER, deployment, eventually, list, program},
};

/// Runs `plugin push`, which prints the reference with the digest.
async fn push(registry: &Registry, name: &str) -> String {
    let reference = format!("{}/{name}", registry.host());
    let pushed = Program::new(&["plugin", "push"])
        .arg(guests::hostile())
        .arg(&reference)
        .arg("--username")
        .arg(USER)
        .arg("--password-stdin")
        .stdin(&format!("{PASSWORD}\n"))
        .run()
        .await
        .assert_code(0);
    let printed = pushed.stdout.trim().to_owned();
    assert!(printed.starts_with(&format!("{reference}@sha256:")) && !pushed.stderr.contains(PASSWORD), "{pushed:?}");
    printed
}

/// A configuration with this plugin and its login.
fn config(registry: &Registry, reference: &str, path: &str) -> String {
    format!(
        "plugins: [{{ oci: '{reference}', config: {{ version: {path} }} }}]\n\
         registryCredentials: [{{ registry: '{}', username: {USER}, password: {PASSWORD} }}]\n",
        registry.host()
    )
}

fn planning(config: &str) -> Program {
    Program::new(&["plan", "-o", "json", "-f", "-"])
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", "registry.example")
        .config(config)
        .stdin(&list(&[deployment("web").image("nginx:1").manifest()]))
}

#[tokio::test]
async fn fetches_a_pushed_plugin_by_digest() {
    for access in [Access::Basic, Access::Token] {
        let registry = Registry::distribution(access).await;
        let reference = push(&registry, "acme/versions:1.2").await;
        let again = push(&registry, "acme/versions:1.3").await;
        assert_eq!(again.split_once('@').unwrap().1, reference.split_once('@').unwrap().1);
        let lines = plan(planning(&config(&registry, &reference, "v1"))).await;
        assert_eq!(lines[0]["targets"][0]["reference"], "registry.example/v1/v1/library/nginx:1");
        let plugins: Vec<&Value> =
            lines[0]["trace"].as_array().unwrap().iter().map(|answer| &answer["plugin"]).collect();
        assert!(plugins.contains(&&json!("versions")), "the repository is the default name: {plugins:?}");
    }
}

#[tokio::test]
async fn pushes_an_artifact_that_other_tools_read() {
    let registry = Registry::distribution(Access::Basic).await;
    let reference = push(&registry, "acme/versions:1").await;
    let (media_type, manifest) = registry.manifest("acme/versions", "1").await.unwrap();
    assert_eq!(media_type, "application/vnd.oci.image.manifest.v1+json");
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    let layer = &manifest["layers"][0];
    assert_eq!((&layer["mediaType"], manifest["layers"].as_array().unwrap().len()), (&json!("application/wasm"), 1));
    assert_eq!(layer["annotations"]["org.opencontainers.image.title"], "versions.wasm");
    let component = registry.blob("acme/versions", layer["digest"].as_str().unwrap()).await.unwrap();
    assert_eq!(component, std::fs::read(guests::hostile()).unwrap());
    let settings = registry.blob("acme/versions", manifest["config"]["digest"].as_str().unwrap()).await.unwrap();
    let settings: Value = serde_json::from_slice(&settings).unwrap();
    assert_eq!((&settings["architecture"], &settings["os"]), (&json!("wasm"), &json!("wasip2")));
    assert_eq!(settings["layerDigests"], json!([layer["digest"]]));
    let exports = settings["component"]["exports"].as_array().unwrap();
    assert!(exports.contains(&json!("k8s-copycat:policy/skip@1.0.0")), "{settings}");
    assert!(settings["component"]["imports"].as_array().unwrap().contains(&json!("k8s-copycat:policy/log@1.0.0")));

    // Another tool copies it like an image.
    let copy = format!("{}/acme/copied:1", registry.host());
    let directory = tempfile::tempdir().unwrap();
    let login = tokio::process::Command::new(program("crane"))
        .args(["auth", "login", &registry.host(), "-u", USER, "-p", PASSWORD])
        .env("DOCKER_CONFIG", directory.path())
        .status();
    assert!(login.await.unwrap().success());
    let copied = tokio::process::Command::new(program("crane"))
        .args(["copy", "--insecure", &reference, &copy])
        .env("DOCKER_CONFIG", directory.path())
        .status();
    assert!(copied.await.unwrap().success());
    let by_copy = format!("{copy}@{}", reference.split_once('@').unwrap().1);
    assert_eq!(plan(planning(&config(&registry, &by_copy, "v2"))).await[0]["decision"], "mirror");
}

#[tokio::test]
async fn reports_plugins_that_can_not_be_fetched() {
    let registry = Registry::distribution(Access::Basic).await;
    let reference = push(&registry, "acme/versions:1").await;
    let image = registry.push("acme/image", "1", &single("no plugin")).await;
    let (_, manifest) = registry.manifest("acme/image", "1").await.unwrap();
    let image = format!("{image}@sha256:{}", hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&manifest)));
    let missing = format!("{}@sha256:{}", reference.split_once('@').unwrap().0, "0".repeat(64));
    for (reference, message) in [(&image, "it is no WebAssembly artifact"), (&missing, "404")] {
        let finished = planning(&config(&registry, reference, "v1")).run().await.assert_code(1);
        let name = reference.split('@').next().unwrap();
        assert!(
            finished.stderr.contains(&format!("(oci: {name}")) && finished.stderr.contains(message),
            "{finished:?}"
        );
    }
    let small = config(&registry, &reference, "v1").replace("config:", "moduleSize: 64Ki, config:");
    let finished = planning(&small).run().await.assert_code(1);
    assert!(finished.stderr.contains("raise its moduleSize"), "{finished:?}");
    let denied = config(&registry, &reference, "v1").replace(PASSWORD, "wrong");
    let finished = planning(&denied).run().await.assert_code(1);
    assert!(finished.stderr.contains("401") && !finished.stderr.contains("wrong"), "{finished:?}");
    // Content with another digest is rejected on every attempt.
    registry.inject(100, |request| request.is_blob(), Fault::Flip);
    let finished = planning(&config(&registry, &reference, "v1")).run().await.assert_code(1);
    assert!(finished.stderr.contains("digest"), "{finished:?}");
}

#[tokio::test]
async fn reloads_a_changed_plugin_reference() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let registry = Registry::distribution(Access::Basic).await;
    let (source, target) = (Registry::distribution(Access::Anonymous).await, Registry::crane().await);
    let reference = push(&registry, "acme/versions:1").await;
    let app = single("app");
    deployment("app").image(&source.push("team/app", "1", &app).await).apply(&client, &namespace).await;
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let settings = |more: &str| {
        format!(
            "targetKind: docker\ndocker: {{ registry: '{}' }}\nincludeNamespaces: [{namespace}]\n{more}",
            target.host()
        )
    };
    let mut program = Program::controller(&kubeconfig).config(&settings("")).start();
    program.ready().await;
    arrives(&target, "team/app", "1", &app).await;
    program.rewrite_config(&settings(&config(&registry, &reference, "v1")));
    arrives(&target, "v1/v1/team/app", "1", &app).await;

    // Other changes do not fetch it again.
    registry.take_requests();
    program.rewrite_config(&settings(&config(&registry, &reference, "v2")));
    arrives(&target, "v2/v2/team/app", "1", &app).await;
    assert_eq!(registry.take_requests(), []);
    let missing = format!("{}/acme/versions:9@sha256:{}", registry.host(), "0".repeat(64));
    program.rewrite_config(&settings(&config(&registry, &missing, "v3")));
    eventually("the change is rejected", || async {
        let (_, page) = program.get("/plugins").await;
        page.contains("acme/versions:9").then_some(())
    })
    .await;
    assert_eq!(program.terminate().await.code, Some(0));
}

/// A registry that responds with `answer(method, path, body)`.
async fn start_registry(answer: impl Fn(&Method, &str, Bytes) -> Response + Clone + Send + Sync + 'static) -> String {
    let router = Router::new().fallback(move |request: Request| {
        let answer = answer.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            answer(&head.method, head.uri.path(), body)
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = listener.local_addr().unwrap().to_string();
    tokio::spawn(axum::serve(listener, router).into_future());
    host
}

#[tokio::test]
async fn push_detects_a_registry_that_stores_nothing() {
    let yes = |_: &Method, _: &str, _: Bytes| (StatusCode::OK, "{}").into_response();
    let takes_all = |method: &Method, path: &str, _: Bytes| match method.as_str() {
        "HEAD" | "GET" if path == "/v2/" => StatusCode::OK.into_response(),
        "POST" => (StatusCode::ACCEPTED, [(header::LOCATION, "/v2/acme/policy/blobs/uploads/1")]).into_response(),
        "PUT" | "PATCH" => StatusCode::CREATED.into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    };
    // It stores manifests, but no blobs.
    let kept = Arc::new(Mutex::new(Bytes::new()));
    let keeps_manifests = move |method: &Method, path: &str, body: Bytes| match method.as_str() {
        "HEAD" if path.contains("/blobs/") => StatusCode::OK.into_response(),
        "PUT" if path.contains("/manifests/") => {
            *kept.lock().unwrap() = body;
            StatusCode::CREATED.into_response()
        }
        "HEAD" | "GET" if path.contains("/manifests/") => {
            let kept = kept.lock().unwrap().clone();
            ([(header::CONTENT_TYPE, "application/vnd.oci.image.manifest.v1+json")], kept).into_response()
        }
        "GET" if path == "/v2/" => StatusCode::OK.into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    };
    let hosts = [
        ("yes", start_registry(yes).await),
        ("takes all", start_registry(takes_all).await),
        ("keeps manifests", start_registry(keeps_manifests).await),
    ];
    for (name, host) in hosts {
        let program = Program::new(&["plugin", "push"]).arg(guests::hostile()).arg(format!("{host}/acme/policy:1"));
        let finished = program.run().await.assert_code(1);
        assert!(finished.stdout.is_empty(), "{name}: {finished:?}");
        assert!(finished.stderr.contains(&host) && finished.stderr.lines().count() == 1, "{name}: {finished:?}");
    }
}

#[tokio::test]
async fn the_request_timeout_limits_a_trickling_fetch() {
    let component = Bytes::from(std::fs::read(guests::hostile()).unwrap());
    let digest = |bytes: &[u8]| format!("sha256:{}", hex::encode(<sha2::Sha256 as sha2::Digest>::digest(bytes)));
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": { "mediaType": "application/vnd.wasm.config.v0+json", "digest": digest(b"{}"), "size": 2 },
        "layers": [{ "mediaType": "application/wasm", "digest": digest(&component), "size": component.len() }],
    });
    let manifest = Bytes::from(manifest.to_string());
    let reference = digest(&manifest);
    let host = start_registry(move |_, path, _| {
        if path.contains("/manifests/") {
            return ([(header::CONTENT_TYPE, "application/vnd.oci.image.manifest.v1+json")], manifest.clone())
                .into_response();
        }
        if !path.contains("/blobs/") {
            return StatusCode::OK.into_response();
        }
        let drops = futures::stream::unfold(component.clone(), |mut rest| async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let drop = rest.split_to(8.min(rest.len()));
            Some((Ok::<_, std::io::Error>(drop), rest))
        });
        axum::body::Body::from_stream(drops).into_response()
    })
    .await;
    let config = format!(
        "requestTimeout: 2\nminTransferRateKiB: 0\nplugins: [{{ oci: '{host}/acme/policy@{reference}', config: {{ version: v1 }} }}]\n"
    );
    let program = planning(&config);
    let fetched = tokio::time::timeout(Duration::from_secs(90), program.run());
    let finished = fetched.await.expect("the fetch did not time out").assert_code(1);
    let expected = "incomplete after 2s; raise requestTimeout";
    assert!(finished.stderr.contains(expected) && finished.stderr.contains("plugin policy"), "{finished:?}");
}

#[tokio::test]
async fn rejects_an_empty_password() {
    for stdin in ["", "\n"] {
        let program = Program::new(&["plugin", "push"])
            .arg(guests::hostile())
            .arg("127.0.0.1:9/acme/policy:1")
            .arg("--username")
            .arg(USER)
            .arg("--password-stdin")
            .stdin(stdin);
        let finished = program.run().await.assert_code(1);
        assert!(finished.stderr.contains("standard input has no password"), "{finished:?}");
    }
}
