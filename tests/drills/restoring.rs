//! The day it matters: images of a cluster are mirrored, `restore` writes files, and `drill` pulls every image by its own name with
//! real runtimes, from a mirror with a private authority, while nothing else can be reached.

use std::{collections::BTreeSet, env, fs, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use demo::{Format, Image, Layer};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::upstreams::Upstreams;
use crate::{
    referrers::{BUNDLE, digest_tag, referrer},
    support::{Finished, PASSWORD, Program, Registry, USER, deployment, list, program},
};

const REGISTRIES: [&str; 4] = ["docker.io", "quay.io", "ghcr.io", "registry.k8s.io"];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: &str = "amd64";
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: &str = "arm64";

/// A cluster's workloads, their registries, and a mirror.
struct Scene {
    folder: TempDir,
    upstreams: Upstreams,
    mirror: Registry,
    manifests: String,
    config: String,
}

/// What is unlike in any two images, so that none is taken for another.
fn image(name: &str) -> Image {
    Image::single(Format::Oci, ARCHITECTURE, &[Layer::files(&[("name", name)]).unwrap()])
}

fn index(name: &str) -> Image {
    Image::index(
        Format::Docker,
        &["amd64", "arm64"].map(|architecture| {
            Image::single(
                Format::Docker,
                architecture,
                &[Layer::files(&[("name", name), ("for", architecture)]).unwrap()],
            )
        }),
    )
}

fn image_of(number: usize, name: &str) -> Image {
    if number.is_multiple_of(5) { index(name) } else { image(name) }
}

/// A signature or an attestation at the mirror.
struct Signature {
    repository: String,
    /// Its tag or its digest.
    at: String,
    content: Image,
}

impl Scene {
    /// `images` are the full names of what is upstream, and as workloads name them; `%` stands for the digest of the image.
    async fn new(images: &[(&str, &str)], skipped: &[&str], naming: &str, has_login: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let upstreams = Upstreams::start(&REGISTRIES, folder.path()).await;
        let mirror =
            if has_login { Registry::distribution_tls_with_login().await } else { Registry::distribution_tls().await };
        let mut workload = deployment("web");
        for (number, (name, used)) in images.iter().enumerate() {
            let image = image_of(number, name);
            upstreams.push(name, &image).await;
            workload = workload.image(&used.replace('%', image.digest()));
        }
        let mut ignored = deployment("ignored");
        for name in skipped {
            upstreams.push(name, &image(name)).await;
            ignored = ignored.image(name);
        }
        let manifests = list(&[workload.manifest(), ignored.manifest_in("ignored")]);
        let host = mirror.host();
        let login = if has_login { format!(", username: {USER}, password: {PASSWORD}") } else { String::new() };
        let config = format!(
            "targetKind: docker\ndocker: {{ registry: '{host}/team'{login} }}\nskipNamespaces: [ignored]\n{naming}\nregistries:\n{}\
             - {{ registry: '{host}', caFile: {} }}\n",
            upstreams.settings(),
            mirror.ca_file().display()
        );
        Self { folder, upstreams, mirror, manifests, config }
    }

    fn program(&self, arguments: &[&str]) -> Program {
        Program::new(arguments).stdin(&self.manifests).config(&self.config)
    }

    async fn mirror(&self) {
        let sync = self.program(&["sync", "-f", "-"]).env("HTTPS_PROXY", self.upstreams.proxy());
        sync.unset("REFERRERS").run().await.assert_code(0);
    }

    /// What belongs to some images: by their name the repository at the mirror, and the digest or the tag there.
    async fn sign(&self) -> Vec<Signature> {
        let mut signatures = Vec::new();
        for (name, artifact_type) in SIGNED {
            let image = image_of(IMAGES.iter().position(|(other, _)| *other == name).unwrap(), name);
            let (repository, _) = name.split_once(':').unwrap();
            let signature = referrer(artifact_type, name, image.root());
            self.upstreams.push_referrer(name, &image, &signature).await;
            let older = Image::artifact("application/vnd.dev.cosign.simplesigning.v1+json", name, None);
            let tag = format!("{}.sig", digest_tag(image.digest()));
            self.upstreams.push(&format!("{repository}:{tag}"), &older).await;
            let repository = format!("team/{repository}");
            signatures.push(Signature {
                repository: repository.clone(),
                at: signature.digest().to_owned(),
                content: signature,
            });
            signatures.push(Signature { repository, at: tag, content: older });
        }
        signatures
    }

    /// Verifies the mirror while no registry can be reached.
    async fn verify_alone(&self, more: &[&str]) -> Finished {
        let verify = self.program(&["verify", "-f", "-", "-o", "json"]).args(more).unset("REFERRERS");
        verify.env("HTTPS_PROXY", "http://127.0.0.1:1").env("REGISTRY_RETRY_ATTEMPTS", "1").run().await
    }

    /// Writes the files for a runtime, and fills in the login as an administrator would.
    async fn restore(&self, runtime: &str, name: &str) -> (String, Value) {
        let folder = self.folder.path().join(name).display().to_string();
        let arguments = ["restore", "-o", &folder, "--runtime", runtime, "-f", "-", "--output", "json"];
        let finished = self.program(&arguments).run().await.assert_code(0);
        let report = serde_json::from_str(&finished.stdout).unwrap();
        for entry in fs::read_dir(Path::new(&folder).join("certs.d")).into_iter().flatten().flatten() {
            let file = entry.path().join("hosts.toml");
            if file.is_file() && self.config.contains(PASSWORD) {
                let login = STANDARD.encode(format!("{USER}:{PASSWORD}"));
                let text = fs::read_to_string(&file).unwrap();
                let text = text.replace("#[host.", "[host.").replace("#  Authorization", "  Authorization");
                fs::write(&file, text.replace("BASE64_OF_USER_COLON_PASSWORD", &login)).unwrap();
            }
        }
        (folder, report)
    }

    /// Without a drill, tools reach what is upstream.
    async fn can_reach(&self, image: &str) {
        let skopeo = Program::new(&["inspect", "--raw", &format!("docker://{image}")]).binary(&program("skopeo"));
        let skopeo = skopeo.env("HTTPS_PROXY", self.upstreams.proxy()).env("SSL_CERT_FILE", self.upstreams.authority());
        skopeo.run().await.assert_code(0);
    }

    fn auth_file(&self) -> String {
        let file = self.folder.path().join("auth.json");
        let login = STANDARD.encode(format!("{USER}:{PASSWORD}"));
        fs::write(&file, json!({ "auths": { self.mirror.host(): { "auth": login } } }).to_string()).unwrap();
        file.display().to_string()
    }

    async fn drill(&self, folder: &str, tool: &str, more: &[&str]) -> Finished {
        let auth_file = self.auth_file();
        let arguments =
            ["drill", "--restore", folder, "--runtime", tool, "--output", "json", "--auth-file", &auth_file];
        let servers = program("crictl").parent().unwrap().display().to_string();
        let path = format!("{servers}:{}", env::var("PATH").unwrap());
        let left_behind = || {
            let entries = fs::read_dir(env::temp_dir()).unwrap().flatten();
            let drills = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("k8s-copycat-drill-"));
            drills.count()
        };
        let scratch = tempfile::tempdir().unwrap();
        // The registries are there all the time: it is the drill that keeps the tools from them.
        let drill = Program::new(&arguments)
            .args(more)
            .env("PATH", path)
            .env("TMPDIR", scratch.path())
            .env("HTTPS_PROXY", self.upstreams.proxy())
            .env("SSL_CERT_FILE", self.upstreams.authority());
        let finished = drill.run().await;
        assert_eq!(left_behind(), 0);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "the store is removed");
        finished
    }

    /// What came up, and what did not although or because it is (not) covered.
    async fn came(&self, folder: &str, tool: &str) -> BTreeSet<(String, String)> {
        let finished = self.drill(folder, tool, &[]).await.assert_code(0);
        let report: Value = serde_json::from_str(&finished.stdout).unwrap();
        let images = report["images"].as_array().unwrap().iter();
        images.map(|image| (text_of(&image["image"]), text_of(&image["came"]))).collect()
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// A cluster's images: Docker Hub's own and others', four registries, by tag, by digest and by both, indexes among them.
const IMAGES: [(&str, &str); 30] = [
    ("docker.io/library/nginx:1.27", "nginx:1.27"),
    ("docker.io/library/redis:7", "redis:7"),
    ("docker.io/library/busybox:latest", "busybox"),
    ("docker.io/library/alpine:3", "docker.io/alpine:3"),
    ("docker.io/library/postgres:16", "postgres:16@%"),
    ("docker.io/library/python:3.13", "index.docker.io/library/python:3.13"),
    ("docker.io/library/golang:1.26", "golang@%"),
    ("docker.io/acme/web:1", "acme/web:1"),
    ("docker.io/acme/web:2", "acme/web:2"),
    ("docker.io/acme/worker:v1.2.3_4", "acme/worker:v1.2.3_4"),
    ("docker.io/acme/a__b.c--d:1", "acme/a__b.c--d:1"),
    ("docker.io/grafana/grafana:11", "docker.io/grafana/grafana:11@%"),
    ("quay.io/acme/app:1", "quay.io/acme/app:1"),
    ("quay.io/acme/app:2", "quay.io/acme/app@%"),
    ("quay.io/acme/web:1", "quay.io/acme/web:1"),
    ("quay.io/prometheus/prometheus:v3", "quay.io/prometheus/prometheus:v3"),
    ("quay.io/prometheus/node-exporter:v1", "quay.io/prometheus/node-exporter:v1"),
    ("quay.io/jetstack/cert-manager:v1", "quay.io/jetstack/cert-manager:v1@%"),
    ("quay.io/top:1", "quay.io/top:1"),
    ("quay.io/deep/er/and/deeper:1", "quay.io/deep/er/and/deeper:1"),
    ("ghcr.io/acme/tool:1", "ghcr.io/acme/tool:1"),
    ("ghcr.io/acme/tool:2", "ghcr.io/acme/tool:2"),
    ("ghcr.io/acme/web:1", "ghcr.io/acme/web:1"),
    ("ghcr.io/acme/charts/app:1", "ghcr.io/acme/charts/app@%"),
    ("ghcr.io/fluxcd/source-controller:v1", "ghcr.io/fluxcd/source-controller:v1"),
    ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
    ("registry.k8s.io/coredns/coredns:v1", "registry.k8s.io/coredns/coredns:v1"),
    ("registry.k8s.io/kube-proxy:v1", "registry.k8s.io/kube-proxy:v1@%"),
    ("registry.k8s.io/ingress-nginx/controller:v1", "registry.k8s.io/ingress-nginx/controller:v1"),
    ("registry.k8s.io/etcd:3.6", "registry.k8s.io/etcd:3.6"),
];

/// Those with a signature or an attestation: an index by its tag, an image by its digest, one by both.
const SIGNED: [(&str, &str); 3] = [
    ("docker.io/library/nginx:1.27", BUNDLE),
    ("quay.io/acme/app:2", "application/vnd.in-toto+json"),
    ("quay.io/jetstack/cert-manager:v1", "application/vnd.cncf.notary.signature"),
];

async fn every_image_comes_up(has_login: bool) {
    let skipped = "quay.io/acme/skipped:1";
    let scene = Scene::new(&IMAGES, &[skipped], "repoPrefix: $registry", has_login).await;
    let signatures = scene.sign().await;
    scene.mirror().await;
    scene.can_reach(skipped).await;
    for Signature { repository, at, content } in &signatures {
        scene.mirror.assert_has(repository, at, content).await;
    }
    let verified: Value = serde_json::from_str(&scene.verify_alone(&["--deep"]).await.assert_code(0).stdout).unwrap();
    assert_eq!(verified["summary"]["images"]["whole"], 30, "{verified:#}");
    let of_tag = verified["images"].as_array().unwrap().iter().find(|image| image["image"] == "nginx:1.27").unwrap();
    assert!(text_of(&of_tag["reason"]).starts_with("not compared with the source"), "{of_tag:#}");
    for (runtime, tools) in [("containerd", &["containerd"][..]), ("crio", &["podman", "skopeo"])] {
        let (folder, report) = scene.restore(runtime, runtime).await;
        assert_eq!(report["summary"]["covered"], 30, "{report:#}");
        assert_eq!(report["summary"]["uncovered"], 1, "{report:#}");
        for tool in tools {
            let came = scene.came(&folder, tool).await;
            let not_up: Vec<_> = came.iter().filter(|(_, came)| came != "up").collect();
            assert_eq!(not_up, [&(skipped.to_owned(), "uncovered".to_owned())], "{tool}");
            assert_eq!(came.len(), 31);
        }
    }
    // The mirror is found to have lost a signature, whether or not the registries are there.
    let lost = &signatures[2];
    scene.mirror.delete(&lost.repository, &lost.at).await;
    let verified: Value = serde_json::from_str(&scene.verify_alone(&[]).await.assert_code(1).stdout).unwrap();
    let counts = &verified["summary"]["images"];
    assert_eq!((&counts["whole"], &counts["incomplete"]), (&json!(29), &json!(1)), "{verified:#}");
    let incomplete =
        verified["images"].as_array().unwrap().iter().find(|image| image["result"] == "incomplete").unwrap();
    assert_eq!(incomplete["problems"][0]["digest"], lost.at.as_str(), "{incomplete:#}");
}

#[tokio::test]
async fn every_image_comes_up_with_the_registries_out_of_reach() {
    every_image_comes_up(false).await;
}

#[tokio::test]
async fn every_image_comes_up_from_a_mirror_that_wants_a_login() {
    every_image_comes_up(true).await;
}

/// What the report says of each way of naming is what runtimes do.
#[tokio::test]
async fn the_report_is_right_for_every_way_of_naming() {
    let images = [
        ("docker.io/library/nginx:1", "nginx:1"),
        ("docker.io/acme/web:1", "acme/web:1"),
        ("docker.io/library/redis:7", "redis:7@%"),
        ("quay.io/acme/app:1", "quay.io/acme/app:1"),
        ("quay.io/acme/tool:1", "quay.io/acme/tool@%"),
    ];
    let regex = "pathMap: [{ from: '^library/(.*)$', to: 'base/$1', regex: true }]\nrepoPrefix: all";
    // How many of them containerd and CRI-O get.
    for (naming, containerd, crio) in [
        ("repoPrefix: $registry", 5, 5),
        ("repoPrefix: fixed/$registry", 5, 5),
        // The registry dropped: docker.io/acme/app would be quay.io's, so tags are left out where a rule is for all of a registry.
        ("", 2, 5),
        // docker.io/library/nginx is where no prefix leads.
        (regex, 1, 5),
    ] {
        let scene = Scene::new(&images, &["ghcr.io/acme/skipped:1"], naming, false).await;
        scene.mirror().await;
        for (runtime, tool, covered) in [("containerd", "containerd", containerd), ("crio", "skopeo", crio)] {
            let (folder, report) = scene.restore(runtime, runtime).await;
            assert_eq!(report["summary"]["covered"], covered, "{naming}: {report:#}");
            // Code 0: what is covered came up, and nothing else did.
            let came = scene.came(&folder, tool).await;
            assert_eq!(came.iter().filter(|(_, came)| came == "up").count(), covered, "{naming}: {came:#?}");
            scene.drill(&folder, tool, &["--strict"]).await.assert_code(1);
        }
    }
}

/// What k3s's reader of `registries.yaml` unpacks for a name: the text in the image's file, if it is found.
fn k3s_gets(scene: &Scene, registries: &Path, image: &str) -> Option<String> {
    let unpacked = tempfile::tempdir().unwrap();
    let to = unpacked.path().join("image");
    let output = std::process::Command::new(program("wharfie"))
        .arg("--private-registry")
        .args([registries, Path::new(image), &to])
        // All registries are within reach of a client that trusts them; this one does not.
        .env("HTTPS_PROXY", scene.upstreams.proxy())
        .env("HOME", unpacked.path())
        .output()
        .unwrap();
    let text = fs::read_to_string(to.join("name")).ok();
    assert_eq!(output.status.success(), text.is_some(), "{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[tokio::test]
async fn k3s_gets_the_image_that_a_name_means_or_none() {
    let images = [
        ("docker.io/library/nginx:1", "nginx:1"),
        ("docker.io/acme/web:1", "acme/web:1"),
        ("docker.io/library/redis:7", "redis:7@%"),
        ("quay.io/acme/app:1", "quay.io/acme/app:1"),
        ("quay.io/acme/tool:1", "quay.io/acme/tool@%"),
        ("ghcr.io/a.b/c_d:1", "ghcr.io/a.b/c_d:1"),
    ];
    let flat = "pathMap: [{ from: '/', to: '-', regex: true }]\nrepoPrefix: all/of";
    for (naming, has_login) in [("repoPrefix: $registry", true), ("", false), (flat, false)] {
        let scene = Scene::new(&images, &["ghcr.io/acme/skipped:1"], naming, has_login).await;
        scene.mirror().await;
        let (folder, report) = scene.restore("k3s", "k3s").await;
        assert_eq!(report["summary"]["covered"], images.len(), "{naming}: {report:#}");
        let registries = Path::new(&folder).join("registries.yaml");
        // As its comments say.
        let text = fs::read_to_string(&registries).unwrap();
        let text = text.replace("/etc/rancher/k3s/k8s-copycat-ca.crt", &format!("{folder}/k8s-copycat-ca.crt"));
        let login = format!("    auth:\n      username: {USER}\n      password: {PASSWORD}\n");
        let commented = "    #auth:\n    #  username: FILL_IN\n    #  password: FILL_IN\n";
        assert!(text.contains(commented));
        fs::write(&registries, text.replace(commented, if has_login { &login } else { "" })).unwrap();
        for reported in report["images"].as_array().unwrap() {
            let name = text_of(&reported["image"]);
            // Its parser refuses a tag beside a digest.
            let asked = match name.split_once('@') {
                Some((tagged, digest)) => format!("{}@{digest}", tagged.split(':').next().unwrap()),
                None => name.clone(),
            };
            let expected = (reported["status"] == "covered").then(|| {
                let is_source = |source: &&&str| name.starts_with(source.split(':').next().unwrap());
                images.iter().map(|(source, _)| source).find(is_source).unwrap().to_string()
            });
            assert_eq!(k3s_gets(&scene, &registries, &asked), expected, "{naming}: {asked}");
        }
        // Names whose repositories the mirror has for others.
        for foreign in
            ["docker.io/acme/app:1", "quay.io/acme/web:1", "docker.io/all/of/acme-app:1", "quay.io/library/nginx:1"]
        {
            assert_eq!(k3s_gets(&scene, &registries, foreign), None, "{naming}: {foreign}");
        }
    }
}

/// A mirror that has lost an image is found out before the day.
#[tokio::test]
async fn a_covered_image_that_the_mirror_has_lost_fails_the_drill() {
    let images = [("docker.io/library/nginx:1", "nginx:1"), ("quay.io/acme/app:1", "quay.io/acme/app:1")];
    let scene = Scene::new(&images, &[], "repoPrefix: $registry", false).await;
    scene.mirror().await;
    scene.mirror.remove_repository("team/quay.io/acme/app");
    for (runtime, tool) in [("containerd", "containerd"), ("crio", "podman"), ("crio", "skopeo")] {
        let (folder, _) = scene.restore(runtime, tool).await;
        let finished = scene.drill(&folder, tool, &[]).await.assert_code(1);
        let report: Value = serde_json::from_str(&finished.stdout).unwrap();
        let summary = json!({ "images": 2, "up": 1, "failed": 1, "uncovered": 0, "unexpected": 0 });
        assert_eq!(report["summary"], summary);
        let failed = &report["images"][1];
        assert_eq!(
            (text_of(&failed["image"]), text_of(&failed["came"])),
            ("quay.io/acme/app:1".into(), "failed".into())
        );
        assert_eq!(failed["workloads"], json!(["deployment default/web"]));
    }
}

/// Files that were edited so that a name gets more than the restore has for it.
#[tokio::test]
async fn an_image_that_comes_up_though_it_is_not_covered_fails_the_drill() {
    let images = [("docker.io/library/nginx:1", "nginx:1"), ("quay.io/acme/app:1", "quay.io/acme/app:1")];
    let scene =
        Scene::new(&[&images[..], &[("quay.io/acme/tool:1", "quay.io/acme/tool@%")]].concat(), &[], "", false).await;
    scene.mirror().await;
    let (folder, report) = scene.restore("containerd", "files").await;
    assert_eq!(report["summary"]["covered"], 1, "{report:#}");
    let hosts = Path::new(&folder).join("certs.d/quay.io/hosts.toml");
    let text = fs::read_to_string(&hosts).unwrap();
    fs::write(&hosts, text.replace("[\"pull\"]", "[\"pull\", \"resolve\"]")).unwrap();
    let finished = scene.drill(&folder, "containerd", &[]).await.assert_code(1);
    let report: Value = serde_json::from_str(&finished.stdout).unwrap();
    let summary = json!({ "images": 3, "up": 1, "failed": 0, "uncovered": 1, "unexpected": 1 });
    assert_eq!(report["summary"], summary, "{report:#}");
    let came = report["images"].as_array().unwrap().iter().find(|image| image["came"] == "unexpected").unwrap();
    assert_eq!(came["image"], "quay.io/acme/app:1");
}

#[tokio::test]
async fn files_that_nothing_here_reads_are_refused() {
    let scene = Scene::new(&[("quay.io/acme/app:1", "quay.io/acme/app:1")], &[], "repoPrefix: $registry", false).await;
    let (folder, _) = scene.restore("k3s", "k3s").await;
    let finished = scene.drill(&folder, "containerd", &[]).await.assert_code(2);
    assert!(finished.stderr.starts_with("k3s files can't be rehearsed here"), "{finished:?}");
    let finished = scene.drill("/nonexistent", "containerd", &[]).await.assert_code(2);
    assert!(finished.stderr.starts_with("cannot read /nonexistent/restore.json"), "{finished:?}");
}
