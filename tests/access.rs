//! Connection settings per registry: plain HTTP, private authorities, client certificates, proxies.

use std::{path::Path, time::Duration};

use demo::{Format, Image, Layer};

use crate::{
    mirroring::{arrives, index, single},
    support::{Access, Cluster, Fault, Program, Registry, deployment, eventually, list},
};

/// Copies one image.
fn sync(image: &str, target: &Registry, registries: &[String]) -> Program {
    let entries: String = registries.iter().map(|entry| format!("- {{ {entry} }}\n")).collect();
    Program::new(&["sync", "-f", "-"])
        .env("TARGET_KIND", "docker")
        .env("TARGET_REGISTRY", target.host())
        .config(&format!("registryRetryAttempts: 1\nregistries:\n{entries}"))
        .stdin(&deployment("app").image(image).manifest().to_string())
}

fn with_ca(registry: &Registry, ca: &Path) -> String {
    format!("registry: '{}', caFile: {}", registry.host(), ca.display())
}

#[tokio::test]
async fn trusts_a_private_authority_only_for_its_registry() {
    let (source, target) = (Registry::distribution_tls().await, Registry::distribution_tls().await);
    let image = index("private");
    let reference = source.push("team/app", "1", &image).await;
    let entries = [with_ca(&source, &source.ca_file()), with_ca(&target, &target.ca_file())];
    for (registries, untrusted) in [
        (&entries[..1], &target),
        (&entries[1..], &source),
        (&[with_ca(&source, &target.ca_file()), entries[1].clone()][..], &source),
    ] {
        let finished = sync(&reference, &target, registries).run().await.assert_code(1);
        let output = finished.stdout;
        assert!(output.contains(&untrusted.host()) && output.contains("certificate was not accepted"), "{output}");
        assert!(output.contains("caFile"), "the setting to change: {output}");
    }
    assert_eq!(target.manifest("team/app", "1").await, None);
    sync(&reference, &target, &entries).run().await.assert_code(0);
    target.assert_has("team/app", "1", &image).await;
}

#[tokio::test]
async fn skips_certificate_verification_if_configured() {
    let (source, target) = (Registry::distribution_tls().await, Registry::distribution_tls().await);
    let image = index("unchecked");
    let reference = source.push("team/app", "1", &image).await;
    let unchecked = |registry: &Registry| format!("registry: '{}', skipVerify: true", registry.host());
    sync(&reference, &target, &[unchecked(&source)]).run().await.assert_code(1);
    sync(&reference, &target, &["registry: '127.*', skipVerify: yes".to_owned()]).run().await.assert_code(0);
    target.assert_has("team/app", "1", &image).await;
}

#[tokio::test]
async fn presents_the_client_certificate() {
    let (source, target) = (Registry::distribution_mutual_tls().await, Registry::distribution_mutual_tls().await);
    let image = index("mutual");
    let reference = source.push("team/app", "1", &image).await;
    let entry = |registry: &Registry, [certificate, key]: [std::path::PathBuf; 2]| {
        let (certificate, key) = (certificate.display(), key.display());
        format!("{}, clientCertFile: {certificate}, clientKeyFile: {key}", with_ca(registry, &registry.ca_file()))
    };
    let both = [entry(&source, source.client_certificate()), entry(&target, target.client_certificate())];
    for wrong in [with_ca(&source, &source.ca_file()), entry(&source, target.client_certificate())] {
        // A registry may close the connection before the request is written: then there is no alert to explain.
        eventually("the error names clientCertFile", || async {
            let finished = sync(&reference, &target, &[wrong.clone(), both[1].clone()]).run().await.assert_code(1);
            finished.stdout.contains("clientCertFile").then_some(())
        })
        .await;
    }
    sync(&reference, &target, &both).run().await.assert_code(0);
    target.assert_has("team/app", "1", &image).await;
}

#[tokio::test]
async fn reloads_a_renewed_ca_file() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let (source, target) = (Registry::distribution_tls().await, Registry::crane().await);
    let image = single("renewed");
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::copy(Registry::distribution_tls().await.ca_file(), &ca).unwrap();
    deployment("app").image(&source.push("team/app", "1", &image).await).apply(&client, &namespace).await;
    let config = format!(
        "targetKind: docker\ndocker: {{ registry: '{}' }}\nincludeNamespaces: [{namespace}]\nregistries: [{{ {} }}]\n",
        target.host(),
        with_ca(&source, &ca)
    );
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let mut program = Program::controller(&kubeconfig).config(&config).start();
    program.ready().await;
    program.logged("the certificate is rejected", |log| log.contains("certificate was not accepted")).await;
    std::fs::copy(source.ca_file(), &ca).unwrap();
    arrives(&target, "team/app", "1", &image).await;
}

#[tokio::test]
async fn a_certificate_with_a_wrong_key_is_a_configuration_error() {
    let (one, other) = (Registry::distribution_tls().await, Registry::crane().await);
    let [certificate, _] = one.client_certificate();
    // Any other key will do.
    let key = one.ca_file().with_file_name("server.key");
    let entry =
        format!("registry: a.example, clientCertFile: {}, clientKeyFile: {}", certificate.display(), key.display());
    let finished = sync("a.example/a:1", &other, &[entry]).run().await.assert_code(2);
    assert!(finished.stderr.contains(&*certificate.to_string_lossy()), "{}", finished.stderr);
    let secret = std::fs::read_to_string(&key).unwrap();
    assert!(!finished.stderr.contains(secret.lines().nth(1).unwrap()), "{}", finished.stderr);
}

#[tokio::test]
async fn uses_the_proxy_except_for_no_proxy_hosts() {
    let (source, target) = (Registry::distribution(Access::Anonymous).await, Registry::crane().await);
    let image = single("behind a proxy");
    source.push("team/app", "1", &image).await;
    // The registry also accepts requests for other hosts.
    let proxy = format!("http://{}", source.host());
    let plain = ["registry: plain.invalid, plainHTTP: true".to_owned()];
    let behind = |program: Program| {
        program.env("HTTP_PROXY", &proxy).env("HTTPS_PROXY", &proxy).env("NO_PROXY", "direct.invalid")
    };
    behind(sync("plain.invalid/team/app:1", &target, &plain)).run().await.assert_code(0);
    target.assert_has("team/app", "1", &image).await;
    let requests = source.take_requests();
    assert!(!requests.is_empty() && requests.iter().all(|request| request.host == "plain.invalid"), "{requests:?}");

    source.inject(usize::MAX, |request| request.method == "CONNECT", Fault::Answer(502, vec![]));
    for (host, connections) in [("tls.invalid", &["tls.invalid:443"][..]), ("direct.invalid", &[])] {
        behind(sync(&format!("{host}/team/app:1"), &target, &[])).run().await.assert_code(1);
        let requests = source.take_requests();
        let mut hosts: Vec<_> = requests.iter().map(|request| request.host.as_str()).collect();
        // After the failure it is asked once more, whether it answers otherwise.
        hosts.dedup();
        assert_eq!(hosts, connections, "{host}");
    }
}

/// An index over two platforms, with five layers each.
fn many_layers(seed: u64) -> Image {
    let images = ["amd64", "arm64"].map(|architecture| {
        let own = u64::from(architecture == "arm64");
        let layers: Vec<_> = (0..5).map(|n| Layer::random(seed * 10 + n * 2 + own, 50_000).unwrap()).collect();
        Image::single(Format::Oci, architecture, &layers)
    });
    Image::index(Format::Oci, &images)
}

#[tokio::test]
async fn limits_concurrent_blobs_of_an_image() {
    let source = Registry::distribution(Access::Anonymous).await;
    let image = many_layers(1);
    let reference = source.push("team/app", "1", &image).await;
    let manifest = deployment("app").image(&reference).manifest().to_string();
    for (setting, limit) in [("maxConcurrentBlobs: 1", 1), ("maxConcurrentBlobs: 3", 3)] {
        let target = Registry::distribution(Access::Anonymous).await;
        // Long enough that all allowed uploads overlap.
        let is_upload = |request: &crate::support::Request| request.method == "PUT" && request.is_blob();
        target.inject(usize::MAX, is_upload, Fault::Delay(Duration::from_millis(50)));
        sync(&reference, &target, &[]).config(setting).stdin(&manifest).run().await.assert_code(0);
        target.assert_has("team/app", "1", &image).await;
        assert!(target.max_concurrent_uploads() <= limit, "{} at once, {setting}", target.max_concurrent_uploads());
    }
}

#[tokio::test]
async fn few_connections_cause_no_deadlock_between_registries() {
    let registries = [Registry::distribution(Access::Anonymous).await, Registry::distribution(Access::Anonymous).await];
    let mut manifests = Vec::new();
    let mut images = Vec::new();
    for seed in 0..2 {
        for (at, registry) in registries.iter().enumerate() {
            let image = many_layers(2 * seed + at as u64);
            let repository = format!("from{at}/app{seed}");
            let reference = registry.push(&repository, "1", &image).await;
            manifests.push(deployment(&format!("app{at}{seed}")).image(&reference).manifest());
            images.push((repository, image));
        }
    }
    let [near, far] = registries.each_ref().map(Registry::host);
    let own = format!("registries: [{{ registry: '{near}', connections: 1 }}]");
    for (run, limit) in ["maxConnectionsPerRegistry: 1", "maxConnectionsPerRegistry: 2", &own].iter().enumerate() {
        // Each image is copied to its own registry and to the other one.
        let config = format!(
            "maxConcurrentReconciles: 8\n{limit}\ntargets:\n- {{ name: near, kind: docker, registry: {near}/to{run} }}\n\
             - {{ name: far, kind: docker, registry: {far}/to{run} }}\n"
        );
        Program::new(&["sync", "-f", "-"]).config(&config).stdin(&list(&manifests)).run().await.assert_code(0);
        for registry in &registries {
            for (repository, image) in &images {
                registry.assert_has(&format!("to{run}/{repository}"), "1", image).await;
            }
        }
    }
}
