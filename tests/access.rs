//! How single registries are reached: plain HTTP, private authorities, certificates of our own, proxies.

use std::path::Path;

use crate::{
    mirroring::{index, single},
    support::{Access, Fault, Program, Registry, deployment},
};

/// The copying of one image.
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
async fn a_private_authority_is_trusted_for_its_registry_alone() {
    let (source, target) = (Registry::distribution_tls().await, Registry::distribution_tls().await);
    let image = index("private");
    let reference = source.push("team/app", "1", &image).await;
    let entries = [with_ca(&source, &source.authority()), with_ca(&target, &target.authority())];
    for (registries, untrusted) in [
        (&entries[..1], &target),
        (&entries[1..], &source),
        (&[with_ca(&source, &target.authority()), entries[1].clone()][..], &source),
    ] {
        let finished = sync(&reference, &target, registries).run().await.assert_code(1);
        let told = finished.stdout;
        assert!(told.contains(&untrusted.host()) && told.contains("its certificate was not accepted"), "{told}");
        assert!(told.contains("caFile"), "what to do: {told}");
    }
    assert_eq!(target.manifest("team/app", "1").await, None);
    sync(&reference, &target, &entries).run().await.assert_code(0);
    target.assert_has("team/app", "1", &image).await;
}

#[tokio::test]
async fn certificates_are_not_checked_where_that_is_set() {
    let (source, target) = (Registry::distribution_tls().await, Registry::distribution_tls().await);
    let image = index("unchecked");
    let reference = source.push("team/app", "1", &image).await;
    let unchecked = |registry: &Registry| format!("registry: '{}', skipVerify: true", registry.host());
    sync(&reference, &target, &[unchecked(&source)]).run().await.assert_code(1);
    sync(&reference, &target, &["registry: '127.*', skipVerify: yes".to_owned()]).run().await.assert_code(0);
    target.assert_has("team/app", "1", &image).await;
}

#[tokio::test]
async fn a_registry_that_asks_for_it_is_shown_our_certificate() {
    let (source, target) = (Registry::distribution_mutual_tls().await, Registry::distribution_mutual_tls().await);
    let image = index("mutual");
    let reference = source.push("team/app", "1", &image).await;
    let entry = |registry: &Registry, [certificate, key]: [std::path::PathBuf; 2]| {
        let (certificate, key) = (certificate.display(), key.display());
        format!("{}, clientCertFile: {certificate}, clientKeyFile: {key}", with_ca(registry, &registry.authority()))
    };
    let both = [entry(&source, source.identity()), entry(&target, target.identity())];
    for wrong in [with_ca(&source, &source.authority()), entry(&source, target.identity())] {
        let finished = sync(&reference, &target, &[wrong, both[1].clone()]).run().await.assert_code(1);
        assert!(finished.stdout.contains("clientCertFile"), "{}", finished.stdout);
    }
    sync(&reference, &target, &both).run().await.assert_code(0);
    target.assert_has("team/app", "1", &image).await;
}

#[tokio::test]
async fn a_certificate_with_another_key_is_a_configuration_mistake() {
    let (one, other) = (Registry::distribution_tls().await, Registry::crane().await);
    let [certificate, _] = one.identity();
    // The key of a server is one as good as any.
    let key = one.authority().with_file_name("server.key");
    let entry =
        format!("registry: a.example, clientCertFile: {}, clientKeyFile: {}", certificate.display(), key.display());
    let finished = sync("a.example/a:1", &other, &[entry]).run().await.assert_code(2);
    assert!(finished.stderr.contains(&*certificate.to_string_lossy()), "{}", finished.stderr);
    let secret = std::fs::read_to_string(&key).unwrap();
    assert!(!finished.stderr.contains(secret.lines().nth(1).unwrap()), "{}", finished.stderr);
}

#[tokio::test]
async fn a_proxy_is_used_for_what_no_proxy_does_not_name() {
    let (source, target) = (Registry::distribution(Access::Anonymous).await, Registry::crane().await);
    let image = single("behind a proxy");
    source.push("team/app", "1", &image).await;
    // It takes requests for any host.
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
        let hosts: Vec<_> = requests.iter().map(|request| request.host.as_str()).collect();
        assert_eq!(hosts, connections, "{host}");
    }
}
