//! `index.json`: which manifest has which name. What others wrote into it stays as they wrote it.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use crate::model::Digest;

/// The text of an index of nothing.
pub(super) const EMPTY: &[u8] =
    br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// The entries of an `index.json`, and all else that stands in it. It borrows from the text, since there may be
/// thousands of entries, and many who read them at once.
pub(super) struct Index<'a> {
    fields: BTreeMap<String, &'a RawValue>,
    entries: Vec<(Entry<'a>, Cow<'a, RawValue>)>,
}

/// What is asked of an entry; what it has besides is kept, and not looked at.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Entry<'a> {
    #[serde(default, borrow)]
    media_type: Cow<'a, str>,
    #[serde(borrow)]
    digest: Cow<'a, str>,
    size: u64,
    #[serde(default, borrow)]
    annotations: Option<Annotations<'a>>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Annotations<'a> {
    /// As of the image specification's "Pre-Defined Annotation Keys"; empty where there is none.
    #[serde(rename = "org.opencontainers.image.ref.name", default, borrow)]
    ref_name: Cow<'a, str>,
}

impl<'a> Entry<'a> {
    /// A manifest under a name.
    pub(super) fn new(name: &'a str, media_type: &'a str, digest: &Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest: digest.to_string().into(),
            size,
            annotations: Some(Annotations { ref_name: name.into() }),
        }
    }

    /// The manifest's media type; empty where the entry has none.
    pub(super) fn media_type(&self) -> &str {
        &self.media_type
    }

    /// The manifest's digest; none where it is of an algorithm that is not known here.
    pub(super) fn digest(&self) -> Option<Digest> {
        self.digest.parse().ok()
    }

    /// The manifest's length in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The name it has.
    pub(super) fn name(&self) -> Option<&str> {
        self.annotations.as_ref().map(|annotations| &*annotations.ref_name).filter(|name| !name.is_empty())
    }
}

impl<'a> Index<'a> {
    /// Reads an `index.json`.
    pub(super) fn parse(text: &'a [u8]) -> Result<Self, serde_json::Error> {
        let mut fields: BTreeMap<String, &'a RawValue> = serde_json::from_slice(text)?;
        // Go's encoder writes a list of nothing as null.
        let entries: Vec<&'a RawValue> = match fields.remove("manifests") {
            Some(manifests) => serde_json::from_str::<Option<_>>(manifests.get())?.unwrap_or_default(),
            None => Vec::new(),
        };
        let entries = entries.into_iter().map(|raw| Ok((serde_json::from_str(raw.get())?, Cow::Borrowed(raw))));
        Ok(Self { fields, entries: entries.collect::<Result<_, serde_json::Error>>()? })
    }

    /// The entries, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry<'a>> {
        self.entries.iter().map(|(entry, _)| entry)
    }

    /// Lets `entry` be the only one of its name, in the place of the first that had it. False when nothing changed.
    pub(super) fn set(&mut self, entry: Entry<'a>) -> Result<bool, serde_json::Error> {
        let mut holders = self.entries().filter(|other| other.name() == entry.name());
        if holders.next() == Some(&entry) && holders.next().is_none() {
            return Ok(false);
        }
        drop(holders);
        let place = self.entries().position(|other| other.name() == entry.name()).unwrap_or(self.entries.len());
        self.entries.retain(|(other, _)| other.name() != entry.name());
        let raw = to_raw_value(&entry)?;
        self.entries.insert(place, (entry, Cow::Owned(raw)));
        Ok(true)
    }

    /// The text of the `index.json`.
    pub(super) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let manifests: Vec<&RawValue> = self.entries.iter().map(|(_, raw)| &**raw).collect();
        let manifests = to_raw_value(&manifests)?;
        let fields = self.fields.iter().map(|(name, value)| (name.as_str(), *value));
        serde_json::to_vec(&fields.chain([("manifests", &*manifests)]).collect::<BTreeMap<_, _>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry<'a>(name: &'a str, content: &[u8]) -> Entry<'a> {
        Entry::new(name, "application/vnd.oci.image.manifest.v1+json", &Digest::sha256(content), content.len() as u64)
    }

    fn names<'a>(index: &'a Index<'_>) -> Vec<&'a str> {
        index.entries().filter_map(Entry::name).collect()
    }

    #[test]
    fn a_name_is_moved_and_the_others_stay_where_they_are() {
        let mut index = Index::parse(EMPTY).unwrap();
        for name in ["a:1", "b:1", "c:1"] {
            assert!(index.set(entry(name, b"old")).unwrap());
        }
        assert!(index.set(entry("b:1", b"new")).unwrap());
        assert!(!index.set(entry("b:1", b"new")).unwrap(), "nothing is to be written for what is there already");
        assert_eq!(names(&index), ["a:1", "b:1", "c:1"]);
        let digests: Vec<_> = index.entries().filter_map(Entry::digest).collect();
        assert_eq!(digests, [Digest::sha256(b"old"), Digest::sha256(b"new"), Digest::sha256(b"old")]);
    }

    #[test]
    fn two_entries_of_one_name_become_one() {
        let text = format!(
            r#"{{"manifests":[{0},{1},{0}]}}"#,
            serde_json::to_string(&entry("a:1", b"x")).unwrap(),
            serde_json::to_string(&entry("b:1", b"x")).unwrap()
        );
        let mut index = Index::parse(text.as_bytes()).unwrap();
        assert!(index.set(entry("a:1", b"x")).unwrap());
        assert_eq!(names(&index), ["a:1", "b:1"]);
    }

    #[test]
    fn what_others_wrote_is_kept_to_the_letter() {
        let foreign =
            r#"{ "digest":"blake3:00", "size": 1, "x": [1.50, 18446744073709551616], "platform":{"os":"linux"} }"#;
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{foreign}],"annotations":{{"who":"else"}},"y":1e400}}"#);
        let mut index = Index::parse(text.as_bytes()).unwrap();
        assert!(index.set(entry("a:1", b"x")).unwrap());
        let written = String::from_utf8(index.to_json().unwrap()).unwrap();
        assert!(written.contains(foreign), "{written}");
        assert!(written.contains(r#""annotations":{"who":"else"}"#) && written.contains(r#""y":1e400"#), "{written}");
        assert_eq!(Index::parse(written.as_bytes()).unwrap().entries().count(), 2);
    }

    #[test]
    fn an_index_without_a_list_is_empty() {
        for text in ["{}", r#"{"manifests":null}"#, r#"{"manifests":[]}"#] {
            assert_eq!(Index::parse(text.as_bytes()).unwrap().entries().count(), 0, "{text}");
        }
    }

    #[test]
    fn what_is_no_index_is_refused() {
        for text in
            ["", "[]", "null", r#"{"manifests":{}}"#, r#"{"manifests":[1]}"#, r#"{"manifests":[{"size":1}]}"#, "{}x"]
        {
            assert!(Index::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
