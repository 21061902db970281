//! Lists of the manifests that refer to another one by their `subject`: answers of the referrers API, and the index that
//! takes its place at registries without that API (distribution specification 1.1, "Referrers Tag Schema").

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{
    Map, Value,
    value::{RawValue, to_raw_value},
};

use super::{MANIFEST_LIST_KEY, Manifest, invalid_manifest};
use crate::{
    model::Digest,
    registry::{error::Error, fault::Fault},
};

/// The fields of a new index.
const NEW_INDEX: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json"}"#;

/// The type of a config that has no content. Some registries list it as the artifact type of every artifact without a config.
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// The longest annotations of an entry that are kept, in bytes as JSON. A list can't be longer than a manifest.
const MAX_ANNOTATIONS: usize = 2048;

/// An entry of a list of referrers, as its registry describes it.
#[derive(Clone, Debug)]
pub struct ReferrerEntry {
    /// The digest of the referrer's manifest.
    pub digest: Digest,
    /// What it is, as `application/vnd.dev.sigstore.bundle.v0.3+json`; none if the list does not say.
    pub artifact_type: Option<String>,
    /// None without annotations, and if they are too long.
    annotations: Option<Box<RawValue>>,
}

/// The entry of a referrer in a list.
#[derive(Clone, Debug)]
pub struct ReferrerDescriptor {
    /// The digest of the referrer's manifest.
    pub digest: Digest,
    json: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryJson<'a> {
    digest: String,
    artifact_type: Option<String>,
    #[serde(borrow)]
    annotations: Option<&'a RawValue>,
}

impl ReferrerEntry {
    /// The entries of a list; at most `max`, and whether there are more.
    pub(in crate::registry) fn list(bytes: &[u8], max: usize) -> Result<(Vec<Self>, bool), Fault> {
        #[derive(Deserialize)]
        struct List<'a> {
            #[serde(borrow)]
            manifests: Option<Vec<&'a RawValue>>,
        }
        let list: List<'_> = serde_json::from_slice(bytes).map_err(|error| not_a_list(&error.to_string()))?;
        let Some(raw) = list.manifests else { return Err(not_a_list("it has no `manifests`")) };
        let is_cut = raw.len() > max;
        let entries = raw.into_iter().take(max).map(|raw| {
            let json: EntryJson<'_> =
                serde_json::from_str(raw.get()).map_err(|error| not_a_list(&error.to_string()))?;
            let digest = json.digest.parse().map_err(|error| not_a_list(&format!("invalid entry: {error}")))?;
            let artifact_type = json.artifact_type.filter(|text| !text.is_empty() && text != EMPTY);
            let annotations = json.annotations.filter(|annotations| annotations.get().len() <= MAX_ANNOTATIONS);
            Ok(Self { digest, artifact_type, annotations: annotations.map(ToOwned::to_owned) })
        });
        Ok((entries.collect::<Result<_, Fault>>()?, is_cut))
    }

    /// The entry as it is to be listed: what the manifest says, with the annotations that the list has, or else those of the
    /// manifest.
    ///
    /// # Errors
    /// When the annotations are malformed.
    pub fn describing(&self, manifest: &Manifest) -> Result<ReferrerDescriptor, Error> {
        self.described(manifest).map_err(|fault| manifest.error(fault))
    }

    fn described(&self, manifest: &Manifest) -> Result<ReferrerDescriptor, Fault> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct DescriptorJson<'a> {
            media_type: &'a str,
            digest: String,
            size: usize,
            #[serde(skip_serializing_if = "Option::is_none")]
            artifact_type: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            annotations: Option<Box<RawValue>>,
        }
        let details = manifest.artifact_details();
        let own = details.annotations.map(|annotations| to_raw_value(&annotations)).transpose();
        let own = own.map_err(|error| not_a_list(&error.to_string()))?;
        let own = own.filter(|annotations| annotations.get().len() <= MAX_ANNOTATIONS);
        let json = to_raw_value(&DescriptorJson {
            media_type: manifest.media_type(),
            digest: manifest.digest().to_string(),
            size: manifest.bytes().len(),
            artifact_type: details.artifact_type.or_else(|| self.artifact_type.clone()),
            annotations: self.annotations.clone().or(own),
        });
        let json = json.map_err(|error| not_a_list(&error.to_string()))?;
        Ok(ReferrerDescriptor { digest: manifest.digest().clone(), json })
    }
}

/// What a manifest says of itself as an artifact.
#[derive(Debug, Default, PartialEq)]
struct ArtifactDetails {
    artifact_type: Option<String>,
    annotations: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactJson {
    artifact_type: Option<String>,
    config: Option<ConfigJson>,
    subject: Option<SubjectJson>,
    annotations: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigJson {
    media_type: String,
}

#[derive(Deserialize)]
struct SubjectJson {
    digest: String,
}

impl Manifest {
    /// The digest of the manifest that this one refers to.
    pub fn subject(&self) -> Option<Digest> {
        let json: ArtifactJson = serde_json::from_slice(self.bytes()).ok()?;
        json.subject?.digest.parse().ok()
    }

    /// What it is: `artifactType`, or else the media type of its config.
    pub fn artifact_type(&self) -> Option<String> {
        self.artifact_details().artifact_type
    }

    /// The descriptors of its layers with all fields, as signatures of cosign 2 are in; none if it is no image.
    pub fn layer_descriptors(&self) -> Option<Vec<Value>> {
        #[derive(Deserialize)]
        struct Layers {
            layers: Option<Vec<Value>>,
            manifests: Option<IgnoredAny>,
        }
        let json: Layers = serde_json::from_slice(self.bytes()).ok()?;
        if json.manifests.is_some() { None } else { Some(json.layers.unwrap_or_default()) }
    }

    fn artifact_details(&self) -> ArtifactDetails {
        let Ok(json) = serde_json::from_slice::<ArtifactJson>(self.bytes()) else { return ArtifactDetails::default() };
        let artifact_type = json.artifact_type.filter(|artifact_type| !artifact_type.is_empty());
        ArtifactDetails {
            artifact_type: artifact_type.or(json.config.map(|config| config.media_type)),
            annotations: json.annotations,
        }
    }

    /// The referrers that this index lists.
    ///
    /// # Errors
    /// When it is no index, or an entry is malformed.
    pub fn referrers(&self) -> Result<Vec<ReferrerEntry>, Error> {
        ReferrerEntry::list(self.bytes(), usize::MAX).map(|(entries, _)| entries).map_err(|fault| self.error(fault))
    }

    /// This index with further referrers; those that it lists stay as they are. None if it lists all of them.
    ///
    /// # Errors
    /// When it is no index, or a malformed one.
    pub fn with_referrers(&self, added: &[ReferrerDescriptor]) -> Result<Option<Self>, Error> {
        extended(self.bytes(), added).map_err(|fault| self.error(fault))
    }

    /// A new index of referrers.
    ///
    /// # Errors
    /// When an entry is malformed.
    pub fn of_referrers(added: &[ReferrerDescriptor]) -> Result<Self, Error> {
        let index = extended(NEW_INDEX.as_bytes(), added).and_then(|index| match index {
            Some(index) => Ok(index),
            None => Self::with_digest(NEW_INDEX.into(), None, Digest::sha256(NEW_INDEX.as_bytes())),
        });
        index.map_err(|fault| Error::new("making an index of referrers".to_owned(), fault))
    }
}

fn extended(index: &[u8], added: &[ReferrerDescriptor]) -> Result<Option<Manifest>, Fault> {
    let mut fields: BTreeMap<&str, &RawValue> =
        serde_json::from_slice(index).map_err(|e| not_a_list(&e.to_string()))?;
    let listed = match fields.get(MANIFEST_LIST_KEY) {
        Some(listed) => {
            serde_json::from_str::<Vec<Box<RawValue>>>(listed.get()).map_err(|e| not_a_list(&e.to_string()))?
        }
        None => Vec::new(),
    };
    let mut known = HashSet::new();
    for raw in &listed {
        let json: EntryJson<'_> = serde_json::from_str(raw.get()).map_err(|error| not_a_list(&error.to_string()))?;
        known.insert(json.digest);
    }
    let before = listed.len();
    let mut entries = listed;
    for ReferrerDescriptor { digest, json } in added {
        if known.insert(digest.to_string()) {
            entries.push(json.clone());
        }
    }
    if entries.len() == before {
        return Ok(None);
    }
    let entries = to_raw_value(&entries).map_err(|error| not_a_list(&error.to_string()))?;
    fields.insert(MANIFEST_LIST_KEY, &entries);
    let bytes = serde_json::to_vec(&fields).map_err(|error| not_a_list(&error.to_string()))?;
    let digest = Digest::sha256(&bytes);
    Manifest::with_digest(bytes.into(), None, digest).map(Some)
}

fn not_a_list(reason: &str) -> Fault {
    invalid_manifest(&format!("it is no list of referrers: {reason}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn digest(byte: u8) -> Digest {
        format!("sha256:{}", hex::encode([byte; 32])).parse().unwrap()
    }

    fn manifest(json: &Value) -> Manifest {
        Manifest::new(json.to_string().into(), None).unwrap()
    }

    fn entries(json: &Value) -> Vec<ReferrerEntry> {
        ReferrerEntry::list(json.to_string().as_bytes(), 10).unwrap().0
    }

    fn signature(annotations: &Value) -> Manifest {
        manifest(&json!({
            "schemaVersion": 2,
            "config": {"mediaType": "application/vnd.example.signature", "digest": digest(1).to_string(), "size": 2},
            "subject": {"mediaType": "m", "digest": digest(9).to_string(), "size": 3},
            "annotations": annotations,
        }))
    }

    #[test]
    fn reads_what_an_artifact_is_and_what_it_refers_to() {
        let signature = signature(&json!({}));
        assert_eq!(signature.subject(), Some(digest(9)));
        assert_eq!(signature.artifact_type().as_deref(), Some("application/vnd.example.signature"));
        let named = manifest(&json!({
            "artifactType": "text/sbom", "config": {"mediaType": "c", "digest": digest(1).to_string(), "size": 2}
        }));
        assert_eq!((named.subject(), named.artifact_type().as_deref()), (None, Some("text/sbom")));
    }

    #[test]
    fn reads_at_most_so_many_entries() {
        let all: Vec<Value> = (0..5).map(|byte| json!({"digest": digest(byte).to_string(), "size": 1})).collect();
        let list = json!({"manifests": all}).to_string();
        let (found, is_cut) = ReferrerEntry::list(list.as_bytes(), 3).unwrap();
        assert_eq!((found.len(), is_cut), (3, true));
        assert!(!ReferrerEntry::list(list.as_bytes(), 5).unwrap().1);
        let vague = json!({"manifests": [{"digest": digest(1).to_string(), "size": 1, "artifactType": EMPTY}]});
        assert_eq!(entries(&vague)[0].artifact_type, None);
        for malformed in [json!({}), json!([]), json!({"manifests": [{"digest": "sha256:1"}]}), json!({"manifests": 1})]
        {
            let error = ReferrerEntry::list(malformed.to_string().as_bytes(), 3).unwrap_err();
            assert!(error.to_string().contains("no list of referrers"), "{malformed}: {error}");
        }
    }

    #[test]
    fn entries_of_other_writers_keep_every_byte() {
        let others = format!(
            r#"{{"schemaVersion":2, "x": [1.50], "manifests":[ {{"annotations":{{"a": "\u00e4"}}, "digest":"{}","size":7,"mediaType":"m","artifactType":"t"}} ]}}"#,
            digest(3)
        );
        let index = Manifest::new(others.into(), None).unwrap();
        let signature = signature(&json!({"made": "2026"}));
        // The size is a lie.
        let own = signature.digest().to_string();
        let added = entries(&json!({"manifests": [{"digest": own, "size": 1, "mediaType": "m"}]}));
        let added = [added[0].describing(&signature).unwrap()];
        let extended = index.with_referrers(&added).unwrap().unwrap();
        let text = std::str::from_utf8(extended.bytes()).unwrap();
        assert!(text.contains(r#"{"annotations":{"a": "\u00e4"}, "digest":"#) && text.contains("[1.50]"), "{text}");
        let listed = extended.referrers().unwrap();
        assert_eq!(
            listed.iter().map(|entry| entry.digest.clone()).collect::<Vec<_>>(),
            [digest(3), signature.digest().clone()]
        );
        assert_eq!(listed[1].artifact_type.as_deref(), Some("application/vnd.example.signature"));
        let entry = format!(
            r#""size":{},"artifactType":"application/vnd.example.signature","annotations":{{"made":"2026"}}"#,
            signature.bytes().len()
        );
        assert!(text.contains(&entry), "{entry} is not in {text}");
        assert!(extended.with_referrers(&added).unwrap().is_none(), "nothing is new");
    }

    #[test]
    fn a_new_index_lists_the_referrers() {
        let added = entries(&json!({"manifests": [
            {"digest": digest(4).to_string(), "size": 1, "mediaType": "m", "artifactType": "t", "annotations": {"own": "1"}}
        ]}));
        let index =
            Manifest::of_referrers(&[added[0].describing(&signature(&json!({"made": "2026"}))).unwrap()]).unwrap();
        assert_eq!(index.media_type(), "application/vnd.oci.image.index.v1+json");
        let text = std::str::from_utf8(index.bytes()).unwrap();
        assert!(text.contains(r#""annotations":{"own":"1"}"#) && !text.contains("2026"), "{text}");
    }

    #[test]
    fn long_annotations_are_left_out() {
        let long = json!({"long": "x".repeat(MAX_ANNOTATIONS)});
        let manifest = signature(&long);
        let list = json!({"manifests": [{"digest": digest(4).to_string(), "size": 1, "annotations": long}]});
        let descriptor = entries(&list)[0].describing(&manifest).unwrap();
        assert!(!descriptor.json.get().contains("annotations"), "{}", descriptor.json);
    }

    #[test]
    fn signatures_with_the_same_payload_differ_in_their_annotations() {
        let image = |signature: &str| {
            manifest(&json!({
                "config": {"mediaType": "c", "digest": digest(1).to_string(), "size": 2},
                "layers": [{"mediaType": "m", "size": 3, "digest": digest(2).to_string(), "annotations": {"dev.cosignproject.cosign/signature": signature}}],
            }))
        };
        assert_ne!(image("one").layer_descriptors(), image("other").layer_descriptors());
        assert_eq!(manifest(&json!({"manifests": []})).layer_descriptors(), None);
    }
}
