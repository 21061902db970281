//! Images signed with the real cosign verify at the mirror once the source is gone.

use std::{fs, path::Path, process::Command};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    mirroring::index,
    planning::command,
    support::{Access, Program, Registry, deployment, list, program},
};

const REPOSITORY: &str = "team/app";
const SBOM: &str = "application/spdx+json";
const NOTATION: &str = "application/vnd.cncf.notary.signature";

/// The tools, with a key pair and no access to Sigstore's services.
struct Signer {
    folder: TempDir,
}

impl Signer {
    fn new() -> Self {
        let signer = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(signer.folder.path().join("content.json"), "{\"content\": 1}").unwrap();
        signer.run("cosign", &["generate-key-pair"]);
        signer.run("cosign", &["signing-config", "create", "--out", "services.json"]);
        signer
    }

    fn try_run(&self, tool: &str, arguments: &[&str]) -> Result<String, String> {
        let mut tool = Command::new(program(tool));
        // Whatever its author signs with elsewhere must not play a part.
        tool.env_clear().env("COSIGN_PASSWORD", "").env("HOME", self.folder.path()).current_dir(self.folder.path());
        let output = tool.args(arguments).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    fn run(&self, tool: &str, arguments: &[&str]) -> String {
        self.try_run(tool, arguments).unwrap_or_else(|error| panic!("{tool} {arguments:?}: {error}"))
    }

    /// As cosign 3 does it by default: a bundle, as a referrer.
    fn sign(&self, image: &str) {
        let sign = ["sign", "--key", "cosign.key", "--signing-config", "services.json", "--allow-http-registry", "-y"];
        self.run("cosign", &[&sign[..], &[image]].concat());
    }

    /// As cosign 2 does it: under a tag.
    fn sign_by_tag(&self, image: &str) {
        let sign = [
            "sign",
            "--key",
            "cosign.key",
            "--use-signing-config=false",
            "--tlog-upload=false",
            "--new-bundle-format=false",
            "--allow-http-registry",
            "-y",
        ];
        self.run("cosign", &[&sign[..], &[image]].concat());
    }

    fn verify(&self, image: &str, bundle: bool) -> Result<String, String> {
        let format = format!("--new-bundle-format={bundle}");
        let verify = ["verify", "--key", "cosign.pub", "--allow-http-registry", "--insecure-ignore-tlog=true", &format];
        self.try_run("cosign", &[&verify[..], &[image]].concat())
    }

    /// Attaches an artifact and returns its digest.
    fn attach(&self, image: &str, artifact_type: &str) -> String {
        let attach = [
            "attach",
            "--plain-http",
            "--format",
            "go-template",
            "--template",
            "{{.digest}}",
            "--artifact-type",
            artifact_type,
        ];
        let content = format!("content.json:{artifact_type}");
        self.run("oras", &[&attach[..], &[image, &content]].concat()).trim().to_owned()
    }
}

/// What was pushed to the source, by digest.
struct Signed {
    image: String,
    child: String,
    sbom: String,
    notation: String,
}

/// An index that is signed in both formats, one of its images too, with an SBOM that is signed, and a manifest of notation's
/// type.
async fn signed(signer: &Signer, source: &Registry) -> Signed {
    let image = index("signed");
    source.push(REPOSITORY, "1", &image).await;
    let at = |digest: &str| format!("{}/{REPOSITORY}@{digest}", source.host());
    let child = image.manifests().next().unwrap().digest.clone();
    signer.sign(&at(image.digest()));
    signer.sign_by_tag(&at(image.digest()));
    signer.sign(&at(&child));
    let sbom = signer.attach(&at(image.digest()), SBOM);
    signer.sign(&at(&sbom));
    let notation = signer.attach(&at(image.digest()), NOTATION);
    Signed { image: image.digest().to_owned(), child, sbom, notation }
}

fn sync(source: &Registry) -> Program {
    of_image(&["sync", "-f", "-"], &source.host())
}

/// A command for the image that a source has or had.
fn of_image(arguments: &[&str], source: &str) -> Program {
    let manifests = list(&[deployment("web").image(&format!("{source}/{REPOSITORY}:1")).manifest()]);
    command(arguments, &manifests).env("REFERRERS", "all").env("REGISTRY_RETRY_ATTEMPTS", "1")
}

/// Verifies every signature at a registry.
fn assert_verified(signer: &Signer, host: &str, repository: &str, signed: &Signed) {
    let at = |digest: &str| format!("{host}/{repository}@{digest}");
    for (digest, bundle) in [(&signed.image, true), (&signed.image, false), (&signed.child, true), (&signed.sbom, true)]
    {
        let verified = signer.verify(&at(digest), bundle);
        assert!(verified.is_ok(), "{digest} in {host}, bundle: {bundle}: {verified:?}");
    }
    signer.verify(&at(&signed.notation), true).unwrap_err();
    let tree = signer.run("oras", &["discover", "--plain-http", "--format", "tree", &at(&signed.image)]);
    assert!(tree.contains(&signed.sbom) && tree.contains(&signed.notation), "{tree}");
}

#[tokio::test]
async fn cosign_verifies_at_the_mirror_when_the_source_is_gone() {
    let signer = Signer::new();
    let source = Registry::with_referrers_api().await;
    let signed = signed(&signer, &source).await;
    let (with_api, without) = (Registry::with_referrers_api().await, Registry::distribution(Access::Anonymous).await);
    let folder = tempfile::tempdir().unwrap();
    for target in [&with_api, &without] {
        sync(&source).env("TARGET_REGISTRY", target.host()).run().await.assert_code(0);
    }
    let layout = sync(&source).unset("TARGET_REGISTRY").env("TARGET_KIND", "oci-layout");
    layout.env("TARGET_PATH", folder.path()).run().await.assert_code(0);
    let everything = contents(&source, &signed.image).await;
    // With and without its source the mirror is found to have all that these tools have made.
    let host = source.host();
    let is_whole = |more: &'static [&'static str]| {
        let verify = || of_image(&[&["verify", "-f", "-", "--deep"], more].concat(), &host);
        let layout = verify().unset("TARGET_REGISTRY").env("TARGET_KIND", "oci-layout");
        let registries = [&with_api, &without].map(|target| verify().env("TARGET_REGISTRY", target.host()));
        let [with_api, without] = registries;
        let programs = [layout.env("TARGET_PATH", folder.path()), with_api, without];
        async move {
            for program in programs {
                let finished = program.run().await.assert_code(0);
                assert!(finished.stdout.contains("1 whole; "), "{finished:?}");
            }
        }
    };
    is_whole(&[]).await;
    drop(source);
    is_whole(&["--no-source"]).await;
    is_whole(&[]).await;

    for target in [&with_api, &without] {
        assert_verified(&signer, &target.host(), REPOSITORY, &signed);
        for (digest, content) in &everything {
            assert_eq!(target.manifest(REPOSITORY, digest).await.as_ref(), Some(content), "{digest}");
        }
    }
    for (digest, (_, content)) in &everything {
        assert_eq!(fs::read(folder.path().join("blobs").join(digest.replace(':', "/"))).unwrap(), *content, "{digest}");
    }
    // Another tool carries the layout to a registry, with all that belongs to the image.
    let restored = Registry::with_referrers_api().await;
    copy_layout(&signer, folder.path(), &restored, &signed);
    assert_verified(&signer, &restored.host(), "restored/app", &signed);
}

type Content = (String, bytes::Bytes);

/// All manifests of the source, by digest, without the lists that it makes by itself.
async fn contents(source: &Registry, image: &str) -> Vec<(String, Content)> {
    let mut contents = Vec::new();
    let mut digests = vec![image.to_owned()];
    while let Some(digest) = digests.pop() {
        let content = source.manifest(REPOSITORY, &digest).await.unwrap();
        let url = format!("{}/v2/{REPOSITORY}/referrers/{digest}", source.url());
        let list: Value = serde_json::from_slice(&reqwest::get(url).await.unwrap().bytes().await.unwrap()).unwrap();
        let manifest: Value = serde_json::from_slice(&content.1).unwrap();
        let children = manifest["manifests"].as_array().into_iter().flatten();
        let entries = list["manifests"].as_array().unwrap().iter().chain(children);
        digests.extend(entries.map(|entry| entry["digest"].as_str().unwrap().to_owned()));
        contents.push((digest, content));
    }
    assert_eq!(contents.len(), 1 + 2 + 5, "index, images; their bundles, the SBOM and its bundle, notation's");
    contents
}

/// oras copies what refers to an image; cosign's tag has to be named.
fn copy_layout(signer: &Signer, layout: &Path, target: &Registry, signed: &Signed) {
    let older = format!("{}.sig", signed.image.replace(':', "-"));
    for (tag, more) in [("1", &["--recursive"][..]), (&*older, &[])] {
        let from =
            ["--from-oci-layout-path", layout.to_str().unwrap(), &format!("{REPOSITORY}:{tag}")].map(str::to_owned);
        let to = format!("{}/restored/app:{tag}", target.host());
        let copy = [&["cp", "--to-plain-http"][..], more, &from.each_ref().map(String::as_str), &[&to]].concat();
        signer.run("oras", &copy);
    }
}
