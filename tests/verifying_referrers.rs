//! `verify` looks whether signatures, attestations and SBOMs are at the targets, too.

use demo::Image;
use serde_json::{Value, json};

use crate::{
    planning::command,
    referrers::{BUNDLE, REPOSITORY, Signed, blob_in, digest_tag, listed, push_referrers, referrer, registry},
    support::{Fault, Program, Registry, Request},
    verifying::{document, manifests, own_layer, result, verify},
};

async fn sync(reference: &str, target: &Registry, referrers: &str) {
    let sync = command(&["sync", "-f", "-"], &manifests(&[reference])).env("TARGET_REGISTRY", target.host());
    sync.env("REFERRERS", referrers).run().await.assert_code(0);
}

fn verify_with(reference: &str, target: &Registry, referrers: &str, more: &[&str]) -> Program {
    verify(&[reference], target, more).env("REFERRERS", referrers)
}

/// Result and reason.
async fn judged(program: Program) -> (String, String, Value) {
    let all = document(&program.run().await);
    let (result, reason) = result(&all, "app");
    (result.to_owned(), reason.to_owned(), all)
}

#[tokio::test]
async fn a_referrer_that_the_target_has_lost_is_found_and_named() {
    let signed = Signed::new();
    let source = registry(true).await;
    let reference = signed.push(&source, true).await;
    let child = signed.image.manifests().next().unwrap().digest.clone();
    for damage in ["manifest", "of child", "of SBOM", "blob", "older tag", "older blob", "list"] {
        let target = registry(false).await;
        sync(&reference, &target, "all").await;
        let all = document(&verify_with(&reference, &target, "all", &["--deep"]).run().await.assert_code(0));
        assert_eq!(result(&all, "app"), ("whole", ""), "{all}");
        let (part, named) = match damage {
            "manifest" => {
                target.delete(REPOSITORY, signed.signature.digest()).await;
                ("referrer", signed.signature.digest().to_owned())
            }
            "of child" => {
                target.delete(REPOSITORY, signed.of_child.digest()).await;
                ("referrer", signed.of_child.digest().to_owned())
            }
            "of SBOM" => {
                target.remove_blob(&own_layer(&signed.of_sbom));
                ("referrer_blob", own_layer(&signed.of_sbom))
            }
            "blob" => {
                target.remove_blob(&own_layer(&signed.signature));
                ("referrer_blob", own_layer(&signed.signature))
            }
            "older tag" => {
                target.delete(REPOSITORY, &signed.older_tag()).await;
                ("referrer", signed.older_tag())
            }
            "older blob" => {
                target.remove_blob(&own_layer(&signed.older));
                ("referrer_blob", own_layer(&signed.older))
            }
            _ => {
                target.delete(REPOSITORY, &digest_tag(&child)).await;
                ("referrer", signed.of_child.digest().to_owned())
            }
        };
        let (result, reason, all) = judged(verify_with(&reference, &target, "all", &[])).await;
        assert_eq!(result, "incomplete", "{damage}: {reason}");
        assert!(reason.contains(&named), "{damage}: {reason}");
        assert_eq!(all["images"][0]["problems"][0]["part"], part, "{damage}: {all}");
        // What the target does not even list only the source knows.
        let (result, reason, _) = judged(verify_with(&reference, &target, "all", &["--no-source"])).await;
        let expected = if matches!(damage, "older tag" | "list") { "whole" } else { "incomplete" };
        assert_eq!(result, expected, "{damage}: {reason}");
        let (result, reason, _) = judged(verify_with(&reference, &target, "none", &[])).await;
        assert_eq!(result, "whole", "{damage}: {reason}");
        if damage == "of SBOM" {
            let (result, reason, _) = judged(verify_with(&reference, &target, "signatures", &[])).await;
            assert_eq!(result, "whole", "{damage}: {reason}");
        }
        if damage == "manifest" {
            let digest = reference.rsplit_once(':').unwrap().0.to_owned() + "@" + signed.image.digest();
            sync(&digest, &target, "none").await;
            let (result, reason, _) = judged(verify_with(&digest, &target, "signatures", &[])).await;
            assert!(result == "incomplete" && reason.contains(signed.signature.digest()), "{result}: {reason}");
            assert!(reason.contains("signature or attestation"), "{reason}");
        }
    }
}

#[tokio::test]
async fn what_the_source_has_must_be_at_the_target_if_it_is_selected() {
    let signed = Signed::new();
    for (source_api, target_api) in [(true, true), (false, true), (false, false)] {
        let (source, target) = (registry(source_api).await, registry(target_api).await);
        let reference = signed.push(&source, source_api).await;
        sync(&reference, &target, "signatures").await;
        let (result, reason, _) = judged(verify_with(&reference, &target, "signatures", &[])).await;
        assert_eq!((result.as_str(), reason.as_str()), ("whole", ""), "an SBOM is no signature");
        let (result, reason, _) = judged(verify_with(&reference, &target, "all", &[])).await;
        assert!(result == "incomplete" && reason.contains(signed.sbom.digest()), "{result}: {reason}");
        let narrowed = verify_with(&reference, &target, "all", &[]).env("REFERRER_TYPES", "application/vnd*");
        assert_eq!(judged(narrowed).await.0, "whole");

        let later = referrer(BUNDLE, "later", signed.image.root());
        push_referrers(&source, source_api, signed.image.digest(), &[&signed.signature, &later]).await;
        let required = verify_with(&reference, &target, "signatures", &[]).env("REFERRERS_REQUIRED", "true");
        for program in [required, verify_with(&reference, &target, "signatures", &[])] {
            let (result, reason, all) = judged(program).await;
            assert!(result == "incomplete" && reason.contains(later.digest()), "{result}: {reason}");
            assert_eq!(all["images"][0]["problemCount"], 1, "{all}");
        }
        let (result, reason, _) = judged(verify_with(&reference, &target, "signatures", &["--no-source"])).await;
        assert_eq!(result, "whole", "{reason}");
        // That day is what the mirror is for.
        source.inject(
            999,
            |request| request.path.contains("referrers") || request.path.contains("sha256-"),
            Fault::Answer(503, vec![]),
        );
        let (result, reason, _) = judged(verify_with(&reference, &target, "signatures", &[])).await;
        assert!(result == "whole" && reason.contains("not compared with the source"), "{result}: {reason}");
    }
}

#[tokio::test]
async fn signatures_under_an_older_tag_must_all_be_there() {
    let (source, target) = (registry(true).await, registry(false).await);
    let signed = Signed::new();
    let reference = signed.push(&source, true).await;
    sync(&reference, &target, "signatures").await;
    // At the source another signature takes the place of the one that was copied.
    let newer = Image::artifact("application/vnd.dev.cosign.simplesigning.v1+json", "newer", None);
    source.push(REPOSITORY, &signed.older_tag(), &newer).await;
    let (result, reason, _) = judged(verify_with(&reference, &target, "signatures", &[])).await;
    assert!(result == "incomplete" && reason.contains(newer.digest()), "{result}: {reason}");

    // The target has all of the source's, and one of its own.
    let mut both: Value = serde_json::from_slice(&newer.root().bytes).unwrap();
    let older: Value = serde_json::from_slice(&signed.older.root().bytes).unwrap();
    let layer = older["layers"][0].clone();
    both["layers"].as_array_mut().unwrap().push(layer);
    target.push(REPOSITORY, &signed.older_tag(), &newer).await;
    target.push(REPOSITORY, "own", &signed.older).await;
    target.put_manifest(REPOSITORY, &signed.older_tag(), newer.root().media_type, both.to_string()).await;
    let (result, reason, _) = judged(verify_with(&reference, &target, "signatures", &[])).await;
    assert_eq!(result, "whole", "{reason}");
}

#[tokio::test]
async fn lists_that_lie_cost_little_and_accuse_nobody() {
    let signed = Signed::new();
    let (source, target) = (registry(false).await, registry(true).await);
    let reference = signed.push(&source, false).await;
    sync(&reference, &target, "signatures").await;
    let stray = Image::artifact(BUNDLE, "refers to nothing", None);
    source.push(REPOSITORY, stray.digest(), &stray).await;
    let media_type = "application/vnd.oci.image.index.v1+json";
    let entry = |image: &Image| json!({ "mediaType": image.root().media_type, "digest": image.digest(), "size": image.root().bytes.len(), "artifactType": BUNDLE });
    let mut entries = vec![entry(&signed.signature); 9_000];
    entries.extend([entry(&stray), entry(&signed.image)]);
    entries.reverse();
    let list = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": entries });
    source.put_manifest(REPOSITORY, &digest_tag(signed.image.digest()), media_type, list.to_string()).await;
    source.take_requests();
    target.take_requests();
    let (result, reason, _) = judged(verify_with(&reference, &target, "signatures", &[])).await;
    assert_eq!(result, "whole", "{reason}");
    assert!(reason.contains("more than 1000 referrers"), "{reason}");
    assert!(source.take_requests().len() < 60 && target.take_requests().len() < 60);
}

#[tokio::test]
async fn what_a_publisher_names_is_told_in_bounds() {
    let signed = Signed::new();
    let (source, target) = (registry(false).await, registry(false).await);
    let reference = signed.push(&source, false).await;
    sync(&reference, &target, "none").await;
    let endless = referrer(&format!("{BUNDLE}{}", "\u{1b}[2J".repeat(20_000)), "endless", signed.image.root());
    push_referrers(&source, false, signed.image.digest(), &[&endless]).await;
    let finished = verify_with(&reference, &target, "signatures", &[]).run().await.assert_code(1);
    assert!(finished.stdout.contains(endless.digest()) && finished.stdout.len() < 10_000, "{}", finished.stdout.len());
    assert!(!finished.stdout.contains('\u{1b}'));
}

#[tokio::test]
async fn referrers_in_a_layout_are_verified() {
    let signed = Signed::new();
    let source = registry(true).await;
    let reference = signed.push(&source, true).await;
    let folder = tempfile::tempdir().unwrap();
    let at_layout = |arguments: &[&str]| {
        let program = command(arguments, &manifests(&[&reference])).unset("TARGET_REGISTRY").env("REFERRERS", "all");
        program.env("TARGET_KIND", "oci-layout").env("TARGET_PATH", folder.path())
    };
    at_layout(&["sync", "-f", "-"]).run().await.assert_code(0);
    let verify = || at_layout(&["verify", "-f", "-", "-o", "json"]);
    assert_eq!(judged(verify()).await.0, "whole");
    for lost in [own_layer(&signed.of_sbom), signed.of_child.digest().to_owned()] {
        let file = blob_in(folder.path(), &lost);
        let bytes = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let (result, reason, _) = judged(verify()).await;
        assert!(result == "incomplete" && reason.contains(&lost), "{result}: {reason}");
        std::fs::write(&file, bytes).unwrap();
    }
    assert_eq!(judged(verify()).await.0, "whole");
}

/// As docs/verify.md tells.
#[tokio::test]
async fn a_verification_of_referrers_costs_these_requests() {
    let signed = Signed::new();
    for (source_api, target_api) in [(true, true), (false, false)] {
        let (source, target) = (registry(source_api).await, registry(target_api).await);
        let reference = signed.push(&source, source_api).await;
        sync(&reference, &target, "signatures").await;
        let image = {
            target.take_requests();
            verify_with(&reference, &target, "none", &[]).run().await.assert_code(0);
            target.take_requests().len()
        };
        source.take_requests();
        verify_with(&reference, &target, "signatures", &[]).run().await.assert_code(0);
        let (at_source, at_target) = (source.take_requests(), target.take_requests());
        // Of three manifests the list and two tags. Two have a referrer each, one an older tag: manifest, configuration, layer;
        // the three share the configuration.
        let lists = if target_api { 3 } else { 1 + 3 + 2 };
        // This registry's API does not tell of what type the SBOM is: it is looked up at the target, then at the source.
        let untyped = usize::from(source_api);
        assert_eq!(at_target.len(), image + lists + 3 * 2 + 3 + 1 + 3 + untyped, "{at_target:#?}");
        let lists = if source_api { 3 } else { 1 + 3 + 2 };
        assert_eq!(at_source.len(), 1 + lists + 3 * 2 + untyped, "{at_source:#?}");
        assert!(!at_source.iter().any(Request::is_blob), "{at_source:#?}");

        let (_, _, all) = judged(verify_with(&reference, &target, "signatures", &["--no-source"])).await;
        assert_eq!(all["summary"]["images"]["whole"], 1, "{all}");
        assert_eq!(source.take_requests().len(), 0);
        assert_eq!(listed(&target, target_api, signed.image.digest()).await, [signed.signature.digest()]);
    }
}
