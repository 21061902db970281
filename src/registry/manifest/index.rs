//! The entries of an index, and indexes with some of its platforms, for registries that accept no index before all its
//! entries exist.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{Manifest, invalid_manifest};
use crate::{
    model::{Digest, Platform},
    registry::{error::Error, fault::Fault},
};

/// The annotation with the digest of the index that a subset was made from.
const SOURCE_DIGEST: &str = "k8s-copycat.source.digest";
/// The operating system of entries that are no images, such as attestations.
const UNKNOWN: &str = "unknown";

/// An entry of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The digest of the content.
    pub digest: Digest,
    /// None if the entry has no platform.
    pub platform: Option<Platform>,
    /// The digest of the image that an attestation describes.
    pub attested: Option<Digest>,
}

#[derive(Deserialize)]
struct EntryJson {
    digest: String,
    platform: Option<PlatformJson>,
    annotations: Option<AnnotationsJson>,
}

#[derive(Deserialize)]
struct AnnotationsJson {
    /// BuildKit's reference from an attestation, an entry for the platform `unknown/unknown`, to its image.
    #[serde(rename = "vnd.docker.reference.digest")]
    attested: Option<String>,
}

#[derive(Deserialize)]
struct PlatformJson {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

/// An index as raw JSON, so that everything kept stays byte for byte.
struct IndexJson<'a> {
    fields: BTreeMap<String, &'a RawValue>,
    entries: Vec<&'a RawValue>,
}

impl Manifest {
    /// The entries in order; None for an image.
    ///
    /// # Errors
    /// When an entry is malformed.
    pub fn entries(&self) -> Result<Option<Vec<IndexEntry>>, Error> {
        let read = || match parse_index(self.bytes())? {
            Some(index) => index.entries.into_iter().map(entry).collect::<Result<_, Fault>>().map(Some),
            None => Ok(None),
        };
        read().map_err(|fault| self.error(fault))
    }

    /// An index with the entries whose digests are in `kept`. These and all other fields are unchanged; the annotation
    /// `k8s-copycat.source.digest` names this index. The result is deterministic.
    ///
    /// # Errors
    /// When it is no index, or a malformed one.
    pub fn subset(&self, kept: &BTreeSet<Digest>) -> Result<Self, Error> {
        self.write_subset(kept).map_err(|fault| self.error(fault))
    }

    fn write_subset(&self, kept: &BTreeSet<Digest>) -> Result<Self, Fault> {
        let IndexJson { mut fields, entries } =
            parse_index(self.bytes())?.ok_or_else(|| invalid_manifest("it is no index"))?;
        let mut kept_entries = Vec::new();
        for raw in entries {
            if kept.contains(&entry(raw)?.digest) {
                kept_entries.push(raw);
            }
        }
        let kept_entries = to_raw_value(&kept_entries).map_err(malformed)?;
        let source = to_raw_value(&self.digest().to_string()).map_err(malformed)?;
        let mut annotations = annotations(&fields)?;
        annotations.insert(SOURCE_DIGEST.to_owned(), &source);
        let annotations = to_raw_value(&annotations).map_err(malformed)?;
        fields.insert("manifests".to_owned(), &kept_entries);
        fields.insert("annotations".to_owned(), &annotations);
        let bytes = serde_json::to_vec(&fields).map_err(malformed)?;
        let digest = Digest::sha256(&bytes);
        Self::with_digest(bytes.into(), Some(self.media_type()), digest)
    }

    /// The digest of the index that this one is a [`Manifest::subset`] of, by its annotation.
    pub fn subset_of(&self) -> Option<Digest> {
        let index = parse_index(self.bytes()).ok()??;
        let source = *annotations(&index.fields).ok()?.get(SOURCE_DIGEST)?;
        serde_json::from_str::<String>(source.get()).ok()?.parse().ok()
    }
}

fn parse_index(bytes: &[u8]) -> Result<Option<IndexJson<'_>>, Fault> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(bytes).map_err(malformed)?;
    let entries = match fields.get("manifests") {
        Some(manifests) => serde_json::from_str::<Option<Vec<&RawValue>>>(manifests.get()).map_err(malformed)?,
        None => None,
    };
    Ok(entries.map(|entries| IndexJson { fields, entries }))
}

fn entry(raw: &RawValue) -> Result<IndexEntry, Fault> {
    let json: EntryJson = serde_json::from_str(raw.get()).map_err(malformed)?;
    let digest =
        json.digest.parse().map_err(|error| Fault::Permanent(format!("the index has an invalid entry: {error}")))?;
    let platform = json.platform.filter(|platform| platform.os != UNKNOWN);
    let platform =
        platform.and_then(|platform| Platform::new(&platform.os, &platform.architecture, platform.variant.as_deref()));
    let attested = json.annotations.and_then(|annotations| annotations.attested?.parse().ok());
    Ok(IndexEntry { digest, platform, attested })
}

fn annotations<'a>(fields: &BTreeMap<String, &'a RawValue>) -> Result<BTreeMap<String, &'a RawValue>, Fault> {
    let annotations = fields.get("annotations").map(|raw| serde_json::from_str::<Option<_>>(raw.get()));
    Ok(annotations.transpose().map_err(malformed)?.flatten().unwrap_or_default())
}

fn malformed(error: serde_json::Error) -> Fault {
    invalid_manifest(&error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(byte: u8) -> Digest {
        format!("sha256:{}", hex::encode([byte; 32])).parse().unwrap()
    }

    fn index() -> Manifest {
        let text = format!(
            r#"{{ "schemaVersion":2, "mediaType":"application/vnd.oci.image.index.v1+json", "x": [1.50, 18446744073709551616],
            "annotations": {{"b":"\u00e4", "a":"1"}}, "manifests": [
            {{"size": 1, "mediaType":"m","digest":"{}","platform":{{"os":"linux","architecture":"arm","variant":"v7"}}}},
            {{"mediaType":"m","digest":"{}","size":2,"platform":{{"architecture":"unknown","os":"unknown"}},
              "annotations":{{"vnd.docker.reference.digest":"{}","n":1}}}},
            {{"mediaType":"m","digest":"{}","size":3,"platform":{{}}}} ]}}"#,
            digest(1),
            digest(2),
            digest(1),
            digest(3)
        );
        Manifest::new(text.into(), None).unwrap()
    }

    #[test]
    fn reads_platforms_and_attestations() {
        let entry = |byte, platform: Option<&str>, attested: Option<u8>| IndexEntry {
            digest: digest(byte),
            platform: platform.map(|text| text.parse().unwrap()),
            attested: attested.map(digest),
        };
        let expected = vec![entry(1, Some("linux/arm/v7"), None), entry(2, None, Some(1)), entry(3, None, None)];
        assert_eq!(index().entries().unwrap(), Some(expected));
        let image = format!(r#"{{"config":{{"mediaType":"c","digest":"{}","size":1}}}}"#, digest(1));
        assert_eq!(Manifest::new(image.into(), None).unwrap().entries().unwrap(), None);
    }

    #[test]
    fn a_subset_is_deterministic_and_keeps_all_other_fields() {
        let index = index();
        let kept = BTreeSet::from([digest(1), digest(2), digest(9)]);
        let subset = index.subset(&kept).unwrap();
        assert_eq!(subset.digest(), index.subset(&kept).unwrap().digest());
        assert_eq!(*subset.digest(), Digest::sha256(subset.bytes()));
        assert_eq!(subset.media_type(), index.media_type());
        let text = std::str::from_utf8(subset.bytes()).unwrap();
        let source = std::str::from_utf8(index.bytes()).unwrap();
        let entries = source.split_once("\"manifests\": [").unwrap().1;
        for entry in entries.split(",\n            {").take(2) {
            assert!(text.contains(entry.trim().trim_start_matches('{')), "{entry} is not in {text}");
        }
        assert!(!text.contains(&digest(3).to_string()) && text.contains("[1.50, 18446744073709551616]"), "{text}");
        let named =
            format!(r#""annotations":{{"a":"1","b":"\u00e4","k8s-copycat.source.digest":"{}"}}"#, index.digest());
        assert!(text.contains(&named), "{named} is not in {text}");
    }

    #[test]
    fn a_subset_names_its_source() {
        let index = index();
        assert_eq!(index.subset_of(), None);
        let subset = index.subset(&BTreeSet::from([digest(3)])).unwrap();
        assert_eq!(subset.subset_of().as_ref(), Some(index.digest()));
        let nested = subset.subset(&BTreeSet::from([digest(3)])).unwrap();
        assert_eq!(nested.subset_of().as_ref(), Some(subset.digest()));
    }

    #[test]
    fn an_image_has_no_subset() {
        let image = format!(r#"{{"config":{{"mediaType":"c","digest":"{}","size":1}}}}"#, digest(1));
        let error = Manifest::new(image.into(), None).unwrap().subset(&BTreeSet::new()).unwrap_err();
        assert!(error.to_string().contains("no index"), "{error}");
    }
}
