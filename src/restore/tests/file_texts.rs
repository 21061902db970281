//! The files' own forms. That runtimes read them is tested with the runtimes (`make drills`).

use serde_json::{Value, json};

use super::{super::testing::run_with, *};

/// A mirror with everything that files can mention.
fn access() -> MirrorAccess {
    MirrorAccess {
        authorities: Some("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".to_owned()),
        wants_client_certificate: true,
        login: MirrorLogin::Password,
        plain_sources: ["quay.io".to_owned()].into(),
        ..MirrorAccess::default()
    }
}

fn laid(runtime: Runtime) -> Restored {
    let target = target_at("default", "r.example.com:5000/m", "$registry");
    let digest = format!("docker.io/library/redis@{DIGEST}");
    let uses = by_policy(&target, &["nginx:1", &digest, APP], by_registry);
    run_with(runtime, &target, access(), &uses)
}

/// All documents of a YAML file.
fn documents(text: &str) -> Vec<Value> {
    serde_yaml::from_multiple(text).unwrap()
}

/// The lines without comments.
fn bare(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[test]
fn containerd_gets_a_folder_for_each_registry() {
    let restored = laid(Runtime::Containerd);
    let paths: Vec<_> = restored.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        paths,
        ["certs.d/docker.io/hosts.toml", "certs.d/k8s-copycat-ca.crt", "certs.d/quay.io/hosts.toml", "daemonset.yaml"]
    );
    assert_eq!(
        bare(text(&restored, "certs.d/docker.io/hosts.toml")),
        [
            "server = \"https://registry-1.docker.io\"",
            "[host.\"https://r.example.com:5000/v2/m/docker.io\"]",
            "capabilities = [\"pull\", \"resolve\"]",
            "override_path = true",
            "ca = \"../k8s-copycat-ca.crt\"",
        ]
    );
    assert!(text(&restored, "certs.d/quay.io/hosts.toml").contains("server = \"http://quay.io\""));
    assert!(!format!("{restored:?}").contains("\t"));
}

#[test]
fn the_daemon_set_carries_the_same_files() {
    let restored = laid(Runtime::Containerd);
    let manifest = documents(text(&restored, "daemonset.yaml"));
    let [config_map, daemon_set] = manifest.as_slice() else { panic!("{manifest:?}") };
    let volume = &daemon_set["spec"]["template"]["spec"]["volumes"][0]["configMap"];
    assert_eq!(volume["name"], config_map["metadata"]["name"]);
    for item in volume["items"].as_array().unwrap().iter().filter(|item| item["key"] != "lay.sh") {
        let path = format!("certs.d/{}", item["path"].as_str().unwrap());
        let carried = config_map["data"][item["key"].as_str().unwrap()].as_str().unwrap();
        assert_eq!(carried, text(&restored, &path));
    }
    let script = config_map["data"]["lay.sh"].as_str().unwrap();
    assert!(script.contains("lay 'docker.io/hosts.toml' 'https://r.example.com:5000/v2/m/docker.io'\n"), "{script}");
}

#[test]
fn cri_o_gets_one_drop_in() {
    let restored = laid(Runtime::Crio);
    assert_eq!(
        bare(text(&restored, "registries.conf.d/50-k8s-copycat.conf")),
        [
            "[[registry]]",
            "prefix = \"docker.io\"",
            "location = \"docker.io\"",
            "[[registry.mirror]]",
            "location = \"r.example.com:5000/m/docker.io\"",
            "[[registry]]",
            "prefix = \"quay.io\"",
            "location = \"quay.io\"",
            "insecure = true",
            "[[registry.mirror]]",
            "location = \"r.example.com:5000/m/quay.io\"",
        ]
    );
    assert!(text(&restored, "certs.d/r.example.com:5000/ca.crt").starts_with("-----BEGIN"));
}

#[test]
fn k3s_gets_rewrites() {
    let restored = laid(Runtime::K3s);
    let registries = &documents(text(&restored, "registries.yaml"))[0];
    let mirror = |registry: &str| json!({ "endpoint": ["https://r.example.com:5000"], "rewrite": { "^(.+)$": format!("m/{registry}/$1") } });
    assert_eq!(registries["mirrors"], json!({ "docker.io": mirror("docker.io"), "quay.io": mirror("quay.io") }));
    let tls = json!({ "ca_file": "/etc/rancher/k3s/k8s-copycat-ca.crt" });
    assert_eq!(registries["configs"], json!({ "r.example.com:5000": { "tls": tls } }));
    let target = target("");
    let uses = by_policy(&target, &["nginx:1", "b.c/d.e:1"], flat);
    let registries = &documents(text(&run(Runtime::K3s, &target, &uses), "registries.yaml"))[0];
    let shadowed = "k8s-copycat/holds-nothing-here";
    assert_eq!(
        registries["mirrors"],
        json!({
            "docker.io": { "endpoint": ["https://r.example.com"],
                "rewrite": { "^library/nginx$": "all/library-nginx", "^all(/.*)?$": shadowed } },
            "b.c": { "endpoint": ["https://r.example.com"],
                "rewrite": { "^d\\.e$": "all/d.e", "^all(/.*)?$": shadowed } },
        })
    );
}

#[test]
fn talos_gets_documents() {
    let restored = laid(Runtime::Talos);
    let documents = documents(text(&restored, "talos-registries.yaml"));
    let mirror = |registry: &str| {
        json!({
            "apiVersion": "v1alpha1", "kind": "RegistryMirrorConfig", "name": registry, "skipFallback": false,
            "endpoints": [{ "url": format!("https://r.example.com:5000/v2/m/{registry}"), "overridePath": true }],
        })
    };
    let authority = access().certificates().unwrap();
    let tls = json!({
        "apiVersion": "v1alpha1", "kind": "RegistryTLSConfig", "name": "r.example.com:5000", "ca": authority.trim_end(),
    });
    assert_eq!(documents[..3], [mirror("docker.io"), mirror("quay.io"), tls]);
}

#[test]
fn openshift_gets_a_set_for_digests_and_one_for_tags() {
    let restored = laid(Runtime::Openshift);
    for (file, kind, list) in [
        ("imagedigestmirrorset.yaml", "ImageDigestMirrorSet", "imageDigestMirrors"),
        ("imagetagmirrorset.yaml", "ImageTagMirrorSet", "imageTagMirrors"),
    ] {
        let entry = |registry: &str| {
            json!({
                "source": registry, "mirrors": [format!("r.example.com:5000/m/{registry}")],
                "mirrorSourcePolicy": "AllowContactingSource",
            })
        };
        let expected = json!({
            "apiVersion": "config.openshift.io/v1", "kind": kind, "metadata": { "name": "k8s-copycat" },
            "spec": { list: [entry("docker.io"), entry("quay.io")] },
        });
        assert_eq!(documents(text(&restored, file))[0], expected);
    }
    let trusted = &documents(text(&restored, "additional-trusted-ca.yaml"))[0];
    assert_eq!(trusted["data"]["r.example.com..5000"], json!(access().certificates().unwrap()));
    // What holds for digests alone is in no set for tags.
    let target = target("");
    let pinned = format!("docker.io/acme/app:3@{DIGEST}");
    let uses = by_policy(&target, &["docker.io/acme/app:2", APP, &pinned], without_registry);
    let paths: Vec<_> = run(Runtime::Openshift, &target, &uses).files.into_iter().map(|file| file.path).collect();
    assert_eq!(paths, ["imagedigestmirrorset.yaml"]);
}

#[test]
fn docker_gets_a_fragment_and_its_explanation() {
    let target = target("");
    let restored = run_with(Runtime::Docker, &target, access(), &by_policy(&target, &["nginx:1"], without_registry));
    let settings: Value = serde_json::from_str(text(&restored, "daemon.json")).unwrap();
    assert_eq!(settings, json!({ "registry-mirrors": ["https://r.example.com"] }));
    assert!(text(&restored, "README.md").contains("/etc/docker/certs.d/r.example.com/ca.crt"));
    assert!(text(&restored, "certs.d/r.example.com/ca.crt").starts_with("-----BEGIN"));
    assert!(restored.report.notes.iter().any(|note| note.contains("anonymous pulls")));
}

#[test]
fn kustomize_gets_the_written_names() {
    let target = target("$registry");
    let uses = by_policy(&target, &["nginx:1", "docker.io/library/nginx:1", APP], by_registry);
    let restored = run(Runtime::Kustomize, &target, &uses);
    let nginx = "r.example.com/docker.io/library/nginx";
    assert_eq!(
        documents(text(&restored, "kustomization.yaml"))[0],
        json!({
            "apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component",
            "images": [
                { "name": "docker.io/library/nginx", "newName": nginx },
                { "name": "nginx", "newName": nginx },
                { "name": "quay.io/acme/app", "newName": "r.example.com/quay.io/acme/app" },
            ],
        })
    );
}

#[test]
fn plain_http_and_unverified_certificates_are_named_where_runtimes_want_it() {
    let target = target("");
    let uses = by_policy(&target, &["nginx:1"], without_registry);
    let run = |runtime, access| run_with(runtime, &target, access, &uses);
    let plain = || MirrorAccess { plain_http: true, ..MirrorAccess::default() };
    let unverified = || MirrorAccess { skip_verify: true, ..MirrorAccess::default() };
    for (runtime, file, plain_text, unverified_text) in [
        (
            Runtime::Containerd,
            "certs.d/docker.io/hosts.toml",
            "[host.\"http://r.example.com/v2\"]",
            "skip_verify = true",
        ),
        (Runtime::Crio, "registries.conf.d/50-k8s-copycat.conf", "  insecure = true", "  insecure = true"),
        (Runtime::K3s, "registries.yaml", "- \"http://r.example.com\"", "insecure_skip_verify: true"),
        (Runtime::Talos, "talos-registries.yaml", "url: \"http://r.example.com/v2\"", "insecureSkipVerify: true"),
        (Runtime::Docker, "daemon.json", "\"insecure-registries\": [\"r.example.com\"]", "\"insecure-registries\""),
        (Runtime::Openshift, "imagetagmirrorset.yaml", "insecureRegistries", "insecureRegistries"),
    ] {
        let plain = run(runtime, plain());
        assert!(text(&plain, file).contains(plain_text), "{}", text(&plain, file));
        let unverified = run(runtime, unverified());
        assert!(text(&unverified, file).contains(unverified_text), "{}", text(&unverified, file));
    }
}
