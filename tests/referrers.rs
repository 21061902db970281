//! Signatures, attestations and SBOMs are copied with the images they belong to.

use std::{fs, path::Path};

use demo::{Image, Manifest};
use k8s_openapi::api::core::v1::Event;
use kube::{Api, Client, api::ListParams};
use serde_json::{Value, json};

use crate::{
    mirroring::{arrives, index},
    planning::command,
    support::{Access, Cluster, Fault, Program, Registry, Request, deployment, eventually, list},
};

pub const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const NOTATION: &str = "application/vnd.cncf.notary.signature";
const SBOM: &str = "application/spdx+json";
pub const REPOSITORY: &str = "team/app";

pub fn referrer(artifact_type: &str, content: &str, subject: &Manifest) -> Image {
    Image::artifact(artifact_type, content, Some(subject))
}

/// The tag of the index of the referrers of a digest, or of cosign's signatures with a suffix.
pub fn digest_tag(digest: &str) -> String {
    digest.replace(':', "-")
}

/// Puts the index that lists these referrers, as a client does at a registry without the referrers API.
async fn put_list(registry: &Registry, subject: &str, referrers: &[&Image]) {
    let entries: Vec<Value> = referrers.iter().map(|referrer| entry(referrer)).collect();
    put_entries(registry, subject, &entries).await;
}

/// The entry of a referrer in a list.
pub fn entry(referrer: &Image) -> Value {
    let root = referrer.root();
    let manifest: Value = serde_json::from_slice(&root.bytes).unwrap();
    let artifact_type = &manifest["artifactType"];
    json!({ "mediaType": root.media_type, "digest": root.digest, "size": root.bytes.len(), "artifactType": artifact_type })
}

async fn put_entries(registry: &Registry, subject: &str, entries: &[Value]) {
    let media_type = "application/vnd.oci.image.index.v1+json";
    let list = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": entries });
    registry.put_manifest(REPOSITORY, &digest_tag(subject), media_type, list.to_string()).await;
}

/// Pushes referrers of one manifest.
pub async fn push_referrers(registry: &Registry, has_api: bool, subject: &str, referrers: &[&Image]) {
    for referrer in referrers {
        registry.push(REPOSITORY, referrer.digest(), referrer).await;
    }
    if !has_api {
        put_list(registry, subject, referrers).await;
    }
}

/// The digests that a registry lists as referrers.
pub async fn listed(registry: &Registry, has_api: bool, subject: &str) -> Vec<String> {
    let list: Value = if has_api {
        let url = format!("{}/v2/{REPOSITORY}/referrers/{subject}", registry.url());
        serde_json::from_str(&reqwest::get(url).await.unwrap().text().await.unwrap()).unwrap()
    } else {
        let Some((_, index)) = registry.manifest(REPOSITORY, &digest_tag(subject)).await else { return Vec::new() };
        serde_json::from_slice(&index).unwrap()
    };
    let digests = list["manifests"].as_array().unwrap().iter();
    let mut digests: Vec<String> = digests.map(|entry| entry["digest"].as_str().unwrap().to_owned()).collect();
    digests.sort();
    digests
}

fn sync(source: &str, referrers: &str) -> Program {
    let manifests = list(&[deployment("web").image(source).manifest()]);
    command(&["sync", "-f", "-", "--output", "json"], &manifests).env("REFERRERS", referrers)
}

/// An image with everything that may belong to it.
pub struct Signed {
    pub image: Image,
    pub signature: Image,
    pub of_child: Image,
    pub sbom: Image,
    pub of_sbom: Image,
    /// Under cosign's tag.
    pub older: Image,
}

impl Signed {
    pub fn new() -> Self {
        let image = index("signed");
        let child = image.manifests().next().unwrap().clone();
        let sbom = referrer(SBOM, "sbom", image.root());
        Self {
            signature: referrer(BUNDLE, "signature", image.root()),
            of_child: referrer(NOTATION, "signature of a platform", &child),
            of_sbom: referrer(BUNDLE, "signature of the SBOM", sbom.root()),
            older: Image::artifact("application/vnd.dev.cosign.simplesigning.v1+json", "older", None),
            sbom,
            image,
        }
    }

    fn child(&self) -> &str {
        &self.image.manifests().next().unwrap().digest
    }

    pub fn older_tag(&self) -> String {
        format!("{}.sig", digest_tag(self.image.digest()))
    }

    pub async fn push(&self, registry: &Registry, has_api: bool) -> String {
        let reference = registry.push(REPOSITORY, "1", &self.image).await;
        push_referrers(registry, has_api, self.image.digest(), &[&self.signature, &self.sbom]).await;
        push_referrers(registry, has_api, self.child(), &[&self.of_child]).await;
        push_referrers(registry, has_api, self.sbom.digest(), &[&self.of_sbom]).await;
        registry.push(REPOSITORY, &self.older_tag(), &self.older).await;
        reference
    }

    pub async fn assert_at(&self, target: &Registry, has_api: bool) {
        target.assert_has(REPOSITORY, "1", &self.image).await;
        for referrer in [&self.signature, &self.of_child, &self.sbom, &self.of_sbom] {
            target.assert_has(REPOSITORY, referrer.digest(), referrer).await;
        }
        target.assert_has(REPOSITORY, &self.older_tag(), &self.older).await;
        let mut expected = [self.signature.digest(), self.sbom.digest()];
        expected.sort_unstable();
        assert_eq!(listed(target, has_api, self.image.digest()).await, expected);
        assert_eq!(listed(target, has_api, self.child()).await, [self.of_child.digest()]);
        assert_eq!(listed(target, has_api, self.sbom.digest()).await, [self.of_sbom.digest()]);
    }
}

/// A registry with or without the referrers API.
pub async fn registry(has_api: bool) -> Registry {
    if has_api { Registry::with_referrers_api().await } else { Registry::distribution(Access::Anonymous).await }
}

pub fn position(requests: &[Request], method: &str, path_end: &str) -> usize {
    requests.iter().rposition(|request| request.method == method && request.path.ends_with(path_end)).unwrap()
}

#[tokio::test]
async fn everything_that_belongs_to_an_image_is_at_the_target_before_its_tag() {
    let signed = Signed::new();
    for (source_api, target_api) in [(true, false), (false, true)] {
        let (source, target) = (registry(source_api).await, registry(target_api).await);
        let reference = signed.push(&source, source_api).await;
        source.take_requests();
        let sync = sync(&reference, "all").env("TARGET_REGISTRY", target.host());
        sync.run().await.assert_code(0);
        signed.assert_at(&target, target_api).await;
        let written = target.take_requests();
        let tag = position(&written, "PUT", "/manifests/1");
        let root = position(&written, "PUT", &format!("/manifests/{}", signed.image.digest()));
        for referrer in [&signed.signature, &signed.of_child, &signed.sbom, &signed.of_sbom] {
            let put = position(&written, "PUT", &format!("/manifests/{}", referrer.digest()));
            assert!(root < put && put < tag, "subject, referrer, tag: {written:#?}");
        }
        assert!(position(&written, "PUT", &format!("/manifests/{}", signed.older_tag())) < tag, "{written:#?}");

        // Nothing is new: the requests that docs/referrers.md tells, and no others.
        source.take_requests();
        sync.run().await.assert_code(0);
        let (read, written) = (source.take_requests(), target.take_requests());
        let all = read.iter().chain(&written);
        let writes = all.filter(|request| !matches!(request.method.as_str(), "GET" | "HEAD")).count();
        assert_eq!(writes, 0, "{read:#?} {written:#?}");
        assert!(!read.iter().chain(&written).any(Request::is_blob), "{read:#?} {written:#?}");
        // The image's tag; then for the index, two platforms and the SBOM the list and three tags.
        let lists = if source_api { 4 } else { 1 + 4 + 3 };
        assert_eq!(read.len(), 1 + lists + 4 * 3, "{read:#?}");
        // The image's tag and its index (2); the lists of three subjects that have referrers; one tag.
        let lists = if target_api { 3 } else { 3 * 3 + 4 };
        assert_eq!(written.len(), 1 + 2 + lists + 1, "{written:#?}");
    }
}

#[tokio::test]
async fn a_layout_has_everything_that_belongs_to_an_image() {
    let signed = Signed::new();
    let source = registry(true).await;
    let reference = signed.push(&source, true).await;
    let folder = tempfile::tempdir().unwrap();
    let sync = || {
        let sync = sync(&reference, "all").unset("TARGET_REGISTRY").env("TARGET_KIND", "oci-layout");
        sync.env("TARGET_PATH", folder.path())
    };
    sync().run().await.assert_code(0);
    let names = names_in(folder.path());
    for name in ["1", &digest_tag(signed.image.digest()), &digest_tag(signed.child()), &signed.older_tag()] {
        assert!(names.contains(&format!("{REPOSITORY}:{name}")), "{name}: {names:?}");
    }
    for referrer in [&signed.signature, &signed.of_child, &signed.sbom, &signed.of_sbom, &signed.older] {
        for blob in referrer.blobs().iter().map(|blob| (&blob.digest, &blob.bytes)) {
            assert_eq!(fs::read(blob_in(folder.path(), blob.0)).unwrap(), *blob.1);
        }
        assert_eq!(fs::read(blob_in(folder.path(), referrer.digest())).unwrap(), referrer.root().bytes);
    }
    let before = fs::read(folder.path().join("index.json")).unwrap();
    sync().run().await.assert_code(0);
    assert_eq!(fs::read(folder.path().join("index.json")).unwrap(), before, "nothing is new");
}

pub fn names_in(layout: &Path) -> Vec<String> {
    let index: Value = serde_json::from_slice(&fs::read(layout.join("index.json")).unwrap()).unwrap();
    let entries = index["manifests"].as_array().unwrap().iter();
    entries
        .map(|entry| entry["annotations"]["org.opencontainers.image.ref.name"].as_str().unwrap().to_owned())
        .collect()
}

pub fn blob_in(layout: &Path, digest: &str) -> std::path::PathBuf {
    layout.join("blobs").join(digest.replace(':', "/"))
}

#[tokio::test]
async fn by_default_signatures_are_copied_and_sboms_are_not() {
    let signed = Signed::new();
    let (source, target) = (registry(true).await, registry(true).await);
    let reference = signed.push(&source, true).await;
    let sync = sync(&reference, "").unset("REFERRERS").env("TARGET_REGISTRY", target.host());
    sync.run().await.assert_code(0);
    for signature in [&signed.signature, &signed.of_child] {
        target.assert_has(REPOSITORY, signature.digest(), signature).await;
    }
    target.assert_has(REPOSITORY, &signed.older_tag(), &signed.older).await;
    assert_eq!(listed(&target, true, signed.image.digest()).await, [signed.signature.digest()]);
    assert_eq!(target.manifest(REPOSITORY, signed.sbom.digest()).await, None);

    let other = registry(true).await;
    let none = sync.env("REFERRERS", "none").env("TARGET_REGISTRY", other.host());
    source.take_requests();
    none.run().await.assert_code(0);
    assert_eq!(listed(&other, true, signed.image.digest()).await, [""; 0]);
    let read = source.take_requests();
    assert!(
        !read.iter().any(|request| request.path.contains("referrers") || request.path.contains(".sig")),
        "{read:#?}"
    );
}

#[tokio::test]
async fn targets_get_what_their_settings_say() {
    let signed = Signed::new();
    let (source, all, notation) = (registry(true).await, registry(true).await, registry(false).await);
    let reference = signed.push(&source, true).await;
    let manifests = list(&[deployment("web").image(&reference).manifest()]);
    let targets = |types: &str| {
        format!(
            "targets:\n- {{ name: all, kind: docker, registry: '{}', referrers: all }}\n\
             - {{ name: some, kind: docker, registry: '{}' }}\nreferrers: signatures\n{types}",
            all.host(),
            notation.host()
        )
    };
    let sync = Program::new(&["sync", "-f", "-"]).stdin(&manifests).unset("REFERRERS");
    let sync = sync.config(&targets("referrerTypes: ['application/vnd.cncf.*', 'application/spdx*']\n"));
    sync.run().await.assert_code(0);
    assert_eq!(listed(&all, true, signed.image.digest()).await, [signed.sbom.digest()]);
    assert_eq!(listed(&all, true, signed.child()).await, [signed.of_child.digest()]);
    assert_eq!(listed(&notation, false, signed.image.digest()).await, [""; 0]);
    assert_eq!(listed(&notation, false, signed.child()).await, [signed.of_child.digest()]);
}

#[tokio::test]
async fn a_referrer_that_cannot_be_copied_leaves_the_image_and_the_others_there() {
    let signed = Signed::new();
    let (source, target) = (registry(true).await, registry(false).await);
    let reference = signed.push(&source, true).await;
    let sync = sync(&reference, "all").env("TARGET_REGISTRY", target.host()).env("REGISTRY_RETRY_ATTEMPTS", "1");
    let content = signed.signature.blobs()[1].digest.clone();
    source.inject(9, move |request| request.path.ends_with(&content), Fault::Answer(404, vec![]));
    let required = sync.env("REFERRERS_REQUIRED", "true");
    let finished = required.run().await.assert_code(1);
    assert_eq!(target.manifest(REPOSITORY, "1").await, None, "the tag was not moved");
    let line: Value = serde_json::from_str(finished.stdout.lines().next().unwrap()).unwrap();
    assert_eq!(line["kind"], "referrer");
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.contains("required referrer") && reason.contains(signed.signature.digest()), "{reason}");

    let finished = required.env("REFERRERS_REQUIRED", "false").run().await.assert_code(0);
    target.assert_has(REPOSITORY, "1", &signed.image).await;
    target.assert_has(REPOSITORY, signed.sbom.digest(), &signed.sbom).await;
    target.assert_has(REPOSITORY, &signed.older_tag(), &signed.older).await;
    assert_eq!(listed(&target, false, signed.image.digest()).await, [signed.sbom.digest()]);
    let warning = finished.stderr.lines().find(|line| line.contains("a referrer was not copied")).unwrap();
    for part in [signed.signature.digest(), BUNDLE, &reference, &target.host(), "deployment default/web"] {
        assert!(warning.contains(part), "{part}: {warning}");
    }
    let line: Value = serde_json::from_str(finished.stdout.lines().next().unwrap()).unwrap();
    assert_eq!((&line["outcome"], &line["referrers"]["failed"]), (&json!("copied"), &json!(1)), "{line}");
    assert_eq!(line["referrers"]["alreadyThere"], 4, "the first run copied them: {line}");
}

#[tokio::test]
async fn a_signature_that_is_added_later_arrives_with_the_next_look() {
    let cluster = Cluster::shared().await;
    let (client, namespace) = (cluster.admin(), cluster.namespace().await);
    let (source, target) = (registry(true).await, registry(false).await);
    let image = index("unsigned");
    let reference = source.push(REPOSITORY, "1", &image).await;
    deployment("web").image(&reference).apply(&client, &namespace).await;
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(directory.path(), cluster.admin_token());
    let config =
        format!("targetKind: docker\ndocker: {{ registry: '{}' }}\nincludeNamespaces: [{namespace}]\n", target.host());
    let mut program = Program::controller(&kubeconfig).unset("REFERRERS").config(&config).start();
    program.ready().await;
    arrives(&target, REPOSITORY, "1", &image).await;
    assert_eq!(listed(&target, false, image.digest()).await, [""; 0]);

    let signature = referrer(BUNDLE, "later", image.root());
    push_referrers(&source, true, image.digest(), &[&signature]).await;
    let (status, body) = program.post("/force-reconcile").await;
    assert_eq!(status, 200, "{body}");
    target.assert_has(REPOSITORY, signature.digest(), &signature).await;
    assert_eq!(listed(&target, false, image.digest()).await, [signature.digest()]);
    let metrics = program.metrics().await;
    assert_eq!(metrics.sum("k8s_copycat_referrers_total", &[("result", "copied")]), 1.0);

    let lost = referrer(BUNDLE, "lost", image.root());
    push_referrers(&source, true, image.digest(), &[&lost]).await;
    let content = lost.blobs()[1].digest.clone();
    source.inject(9, move |request| request.path.ends_with(&content), Fault::Answer(404, vec![]));
    program.post("/force-reconcile").await;
    let (_, status) = program.get("/status?state=lacks_referrers").await;
    let status: Value = serde_json::from_str(&status).unwrap();
    let shown = &status["images"][0];
    assert_eq!((&shown["state"], &status["summary"]["lackingReferrers"]), (&json!("mirrored"), &json!(1)), "{status}");
    assert_eq!((&shown["referrers"]["atTarget"], &shown["referrers"]["failed"]), (&json!(1), &json!(1)), "{status}");
    let (_, page) = program.get(&format!("/image?destination={}/{REPOSITORY}:1", target.host())).await;
    assert!(page.contains("1 at the target, 1 not copied") && page.contains(lost.digest()), "{page}");
    let metrics = program.metrics().await;
    assert_eq!(metrics.sum("k8s_copycat_images_lacking_referrers", &[]), 1.0);
    let event = warning(&client, &namespace, "web", "MirrorReferrersMissing").await;
    assert!(event.contains(lost.digest()) && event.contains("without 1 signature"), "{event}");

    source.clear_faults();
    program.post("/force-reconcile").await;
    target.assert_has(REPOSITORY, lost.digest(), &lost).await;
    assert_eq!(program.metrics().await.sum("k8s_copycat_images_lacking_referrers", &[]), 0.0);
}

/// The message of the first event with this reason.
async fn warning(client: &Client, namespace: &str, name: &str, reason: &str) -> String {
    let events: Api<Event> = Api::namespaced(client.clone(), namespace);
    eventually(&format!("an event {reason}"), || async {
        let events = events.list(&ListParams::default()).await.unwrap().items;
        let is_it = |event: &Event| {
            event.reason.as_deref() == Some(reason) && event.involved_object.name.as_deref() == Some(name)
        };
        events.into_iter().find(is_it).and_then(|event| event.message)
    })
    .await
}

#[tokio::test]
async fn lists_that_lie_harm_nothing_else() {
    let signed = Signed::new();
    let (source, target) = (registry(false).await, registry(true).await);
    let reference = signed.push(&source, false).await;
    let other = index("another image");
    source.push(REPOSITORY, "2", &other).await;
    let of_other = referrer(BUNDLE, "of another image", other.root());
    source.push(REPOSITORY, of_other.digest(), &of_other).await;
    let missing = referrer(BUNDLE, "never pushed", signed.image.root());
    // Distribution takes no index of what it does not have, so the missing one is deleted afterwards.
    source.push(REPOSITORY, missing.digest(), &missing).await;
    let all = [&of_other, &missing, &signed.image, &signed.signature];
    put_list(&source, signed.image.digest(), &all).await;
    // A tag of the list's name that has an image, and one of cosign's that has an index.
    source.push(REPOSITORY, &digest_tag(signed.child()), &signed.older).await;
    source.push(REPOSITORY, &format!("{}.att", digest_tag(signed.image.digest())), &signed.image).await;
    let sync = sync(&reference, "all").env("TARGET_REGISTRY", target.host()).env("REGISTRY_RETRY_ATTEMPTS", "1");
    let not_found = missing.digest().to_owned();
    source.inject(9, move |request| request.path.ends_with(&not_found), Fault::Answer(404, vec![]));
    let finished = sync.run().await.assert_code(0);
    target.assert_has(REPOSITORY, "1", &signed.image).await;
    target.assert_has(REPOSITORY, &signed.older_tag(), &signed.older).await;
    assert_eq!(listed(&target, true, signed.image.digest()).await, [signed.signature.digest()]);
    for part in [
        format!("but it refers to {}", other.digest()),
        "but it refers to nothing".to_owned(),
        "no list of referrers".to_owned(),
        missing.digest().to_owned(),
    ] {
        assert!(finished.stderr.contains(&part), "{part}: {}", finished.stderr);
    }
}

#[tokio::test]
async fn a_list_of_thousands_of_referrers_is_bounded_and_told() {
    let image = index("popular");
    let (source, target) = (registry(false).await, registry(true).await);
    let reference = source.push(REPOSITORY, "1", &image).await;
    let signature = referrer(BUNDLE, "signature", image.root());
    source.push(REPOSITORY, signature.digest(), &signature).await;
    let same = entry(&signature);
    put_entries(&source, image.digest(), &vec![same; 9_000]).await;
    let sync = sync(&reference, "all").env("TARGET_REGISTRY", target.host());
    let finished = sync.run().await.assert_code(0);
    target.assert_has(REPOSITORY, "1", &image).await;
    assert!(finished.stderr.contains("more than 1000 referrers"), "{}", finished.stderr);
    assert_eq!(listed(&target, true, image.digest()).await, [signature.digest()]);
    assert!(target.take_requests().len() < 100, "what is listed twice is copied once");
}

#[tokio::test]
async fn concurrent_writers_of_one_list_lose_no_entry() {
    let (source, target) = (registry(true).await, registry(false).await);
    let image = index("shared");
    let signatures: Vec<Image> =
        (0..6).map(|number| referrer(BUNDLE, &format!("signature {number}"), image.root())).collect();
    let reference = source.push(REPOSITORY, "1", &image).await;
    target.push(REPOSITORY, "1", &image).await;
    // What others have listed at the target stays.
    let own = referrer(NOTATION, "made at the target", image.root());
    push_referrers(&target, false, image.digest(), &[&own]).await;
    push_referrers(&source, true, image.digest(), &signatures.iter().collect::<Vec<_>>()).await;
    let types = ["*sigstore*", "*", "application/*", "*v0.3*"];
    let programs: Vec<Program> =
        types.iter().map(|_| sync(&reference, "signatures").env("TARGET_REGISTRY", target.host())).collect();
    for finished in futures::future::join_all(programs.iter().map(Program::run)).await {
        finished.assert_code(0);
    }
    let mut expected: Vec<&str> = signatures.iter().chain([&own]).map(Image::digest).collect();
    expected.sort_unstable();
    assert_eq!(listed(&target, false, image.digest()).await, expected);
}

#[tokio::test]
async fn a_target_that_refuses_referrers_gets_the_image_and_the_older_tags() {
    let signed = Signed::new();
    let (source, target) = (registry(true).await, registry(false).await);
    let reference = signed.push(&source, true).await;
    // As Amazon ECR does in some regions.
    for referrer in [&signed.signature, &signed.of_child] {
        let path = format!("/manifests/{}", referrer.digest());
        let is_put = move |request: &Request| request.method == "PUT" && request.path.ends_with(&path);
        target.inject(9, is_put, Fault::Refuse(405, "UNSUPPORTED", "Invalid parameter".to_owned()));
    }
    let sync = sync(&reference, "signatures").env("TARGET_REGISTRY", target.host());
    let finished = sync.run().await.assert_code(0);
    target.assert_has(REPOSITORY, "1", &signed.image).await;
    target.assert_has(REPOSITORY, &signed.older_tag(), &signed.older).await;
    let told = finished.stderr.matches("accepts no manifests that refer to another one").count();
    assert_eq!(told, 2, "{}", finished.stderr);
    assert!(finished.stdout.contains("\"referrersFailed\":2"), "{}", finished.stdout);
}

#[tokio::test]
async fn an_index_of_some_platforms_has_the_signatures_of_its_images_only() {
    let signed = Signed::new();
    let other = signed.image.manifests().nth(1).unwrap().clone();
    let of_other = referrer(BUNDLE, "signature of the other platform", &other);
    let (source, target, sparse) = (registry(true).await, registry(false).await, Registry::distribution_sparse().await);
    let reference = signed.push(&source, true).await;
    push_referrers(&source, true, &other.digest, &[&of_other]).await;
    for (target, keeps_index) in [(&target, false), (&sparse, true)] {
        let sync = sync(&reference, "signatures").env("TARGET_REGISTRY", target.host());
        let sync = sync.env("DIGEST_PULL", "true").env("MIRROR_PLATFORMS", "linux/amd64");
        let sync = sync.env("DIGEST_PULL_IGNORED_TAGS", "none");
        for _ in 0..2 {
            sync.run().await.assert_code(0);
            assert_eq!(listed(target, false, signed.child()).await, [signed.of_child.digest()]);
            assert_eq!(listed(target, false, &other.digest).await, [""; 0]);
            let of_index: &[&str] = if keeps_index { &[signed.signature.digest()] } else { &[] };
            assert_eq!(listed(target, false, signed.image.digest()).await, of_index, "{keeps_index}");
        }
    }
}

#[tokio::test]
async fn signatures_that_were_added_at_the_target_are_not_replaced() {
    let (source, target) = (registry(true).await, registry(false).await);
    let image = index("signed twice");
    let reference = source.push(REPOSITORY, "1", &image).await;
    let tag = format!("{}.sig", digest_tag(image.digest()));
    let (theirs, ours) = (Image::artifact("sig", "theirs", None), Image::artifact("sig", "ours", None));
    source.push(REPOSITORY, &tag, &theirs).await;
    target.push(REPOSITORY, &tag, &ours).await;
    let sync = sync(&reference, "signatures").env("TARGET_REGISTRY", target.host());
    let finished = sync.run().await.assert_code(0);
    target.assert_has(REPOSITORY, &tag, &ours).await;
    assert!(finished.stderr.contains("signatures that the source's lacks"), "{}", finished.stderr);
}
