//! Indexes of some of an index's platforms. This is the one place where a manifest is written anew: for registries that
//! take no index before everything that it names is there.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::model::{Digest, Platform};
use crate::registry::{Error, Manifest, error::Fault, manifest::no_manifest};

/// The annotation that names the index from which another one was made.
const SOURCE_DIGEST: &str = "k8s-copycat.source.digest";
/// The operating system of what does not run.
const UNKNOWN: &str = "unknown";

/// What an index lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The digest of the content.
    pub digest: Digest,
    /// What it runs on; none where that is not said.
    pub platform: Option<Platform>,
    /// The image that it says something about, as an attestation does.
    pub attested: Option<Digest>,
}

#[derive(Deserialize)]
struct WrittenEntry {
    digest: String,
    platform: Option<WrittenPlatform>,
    annotations: Option<WrittenAnnotations>,
}

#[derive(Deserialize)]
struct WrittenAnnotations {
    /// By this BuildKit says which image an attestation, an entry for the platform `unknown/unknown`, is about.
    #[serde(rename = "vnd.docker.reference.digest")]
    attested: Option<String>,
}

#[derive(Deserialize)]
struct WrittenPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
}

/// An index as it is written, so that whatever is kept stays as it is.
struct Written<'a> {
    fields: BTreeMap<String, &'a RawValue>,
    entries: Vec<&'a RawValue>,
}

impl Manifest {
    /// What it lists, in order; none for an image.
    ///
    /// # Errors
    /// When an entry is malformed.
    pub fn entries(&self) -> Result<Option<Vec<IndexEntry>>, Error> {
        let read = || match written(self.bytes())? {
            Some(written) => written.entries.into_iter().map(entry).collect::<Result<_, Fault>>().map(Some),
            None => Ok(None),
        };
        read().map_err(|fault| self.unreadable(fault))
    }

    /// The index of those of its entries whose digests are `kept`. They, and all else in it, are as they were; an
    /// annotation, `k8s-copycat.source.digest`, names this one. The same index makes the same bytes each time.
    ///
    /// # Errors
    /// When it is no index, or a malformed one.
    pub fn subset(&self, kept: &BTreeSet<Digest>) -> Result<Self, Error> {
        self.write_subset(kept).map_err(|fault| self.unreadable(fault))
    }

    fn write_subset(&self, kept: &BTreeSet<Digest>) -> Result<Self, Fault> {
        let Written { mut fields, entries } = written(self.bytes())?.ok_or_else(|| no_manifest("it is no index"))?;
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
        Self::of(bytes.into(), Some(self.media_type()), digest)
    }

    /// The digest of the index that this one says it is a [`Manifest::subset`] of.
    pub fn subset_of(&self) -> Option<Digest> {
        let written = written(self.bytes()).ok()??;
        let source = *annotations(&written.fields).ok()?.get(SOURCE_DIGEST)?;
        serde_json::from_str::<String>(source.get()).ok()?.parse().ok()
    }
}

fn written(bytes: &[u8]) -> Result<Option<Written<'_>>, Fault> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_slice(bytes).map_err(malformed)?;
    let entries = match fields.get("manifests") {
        Some(manifests) => serde_json::from_str::<Option<Vec<&RawValue>>>(manifests.get()).map_err(malformed)?,
        None => None,
    };
    Ok(entries.map(|entries| Written { fields, entries }))
}

fn entry(raw: &RawValue) -> Result<IndexEntry, Fault> {
    let written: WrittenEntry = serde_json::from_str(raw.get()).map_err(malformed)?;
    let digest = written.digest.parse().map_err(|error| Fault::Refused(format!("an entry of it is wrong: {error}")))?;
    let platform = written.platform.filter(|platform| platform.os != UNKNOWN);
    let platform =
        platform.and_then(|platform| Platform::new(&platform.os, &platform.architecture, platform.variant.as_deref()));
    let attested = written.annotations.and_then(|annotations| annotations.attested?.parse().ok());
    Ok(IndexEntry { digest, platform, attested })
}

fn annotations<'a>(fields: &BTreeMap<String, &'a RawValue>) -> Result<BTreeMap<String, &'a RawValue>, Fault> {
    let written = fields.get("annotations").map(|raw| serde_json::from_str::<Option<_>>(raw.get()));
    Ok(written.transpose().map_err(malformed)?.flatten().unwrap_or_default())
}

fn malformed(error: serde_json::Error) -> Fault {
    no_manifest(&error.to_string())
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
    fn entries_say_what_they_run_on_and_what_they_attest() {
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
    fn a_subset_is_always_the_same_and_keeps_all_else() {
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
    fn a_subset_names_what_it_was_made_from() {
        let index = index();
        assert_eq!(index.subset_of(), None);
        let subset = index.subset(&BTreeSet::from([digest(3)])).unwrap();
        assert_eq!(subset.subset_of().as_ref(), Some(index.digest()));
        let nested = subset.subset(&BTreeSet::from([digest(3)])).unwrap();
        assert_eq!(nested.subset_of().as_ref(), Some(subset.digest()));
    }

    #[test]
    fn what_is_no_index_has_no_subset() {
        let image = format!(r#"{{"config":{{"mediaType":"c","digest":"{}","size":1}}}}"#, digest(1));
        let error = Manifest::new(image.into(), None).unwrap().subset(&BTreeSet::new()).unwrap_err();
        assert!(error.to_string().contains("no index"), "{error}");
    }
}
