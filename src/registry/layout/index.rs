//! `index.json`: the manifest of each name. Content written by others is preserved.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    slice,
    sync::Arc,
};

use serde::{Deserialize, Serialize, Serializer, de};
use serde_json::value::{RawValue, to_raw_value};

use crate::model::Digest;

/// The text of an empty index.
pub(super) const EMPTY: &[u8] =
    br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// More than any layout has: an entry takes some 300 bytes of memory.
const MAX_ENTRIES: usize = 1_000_000;

/// The entries of an `index.json` and its other fields. There may be many thousands of entries, so they are indexed by
/// name, and a clone shares their texts without an allocation for each.
#[derive(Clone)]
pub(super) struct Index {
    fields: BTreeMap<String, Box<RawValue>>,
    entries: Vec<Arc<RawValue>>,
    positions: HashMap<Arc<str>, Positions>,
}

/// The positions of the entries with a name.
#[derive(Clone)]
enum Positions {
    One(usize),
    /// In order; only if other programs wrote duplicates.
    Several(Vec<usize>),
}

impl Positions {
    fn as_slice(&self) -> &[usize] {
        match self {
            Self::One(position) => slice::from_ref(position),
            Self::Several(positions) => positions,
        }
    }

    fn push(&mut self, position: usize) {
        match self {
            Self::One(first) => *self = Self::Several(vec![*first, position]),
            Self::Several(positions) => positions.push(position),
        }
    }
}

/// An entry of `index.json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutEntry {
    /// The annotation `org.opencontainers.image.ref.name`; none if it has none.
    pub name: Option<String>,
    /// Empty if it has none.
    pub media_type: String,
    /// As written; it may be of an algorithm that is not supported.
    pub digest: String,
}

/// The fields of an entry that are used; others are preserved.
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
    /// From the image specification's "Pre-Defined Annotation Keys"; empty if there is none.
    #[serde(rename = "org.opencontainers.image.ref.name", default, borrow)]
    ref_name: Cow<'a, str>,
}

impl Entry<'static> {
    pub(super) fn new(name: String, media_type: String, digest: &Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest: digest.to_string().into(),
            size,
            annotations: Some(Annotations { ref_name: name.into() }),
        }
    }
}

impl Entry<'_> {
    /// Empty if the entry has none.
    pub(super) fn media_type(&self) -> &str {
        &self.media_type
    }

    /// None if its algorithm is not supported.
    pub(super) fn digest(&self) -> Option<Digest> {
        self.digest.parse().ok()
    }

    /// In bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.annotations.as_ref().map(|annotations| &*annotations.ref_name).filter(|name| !name.is_empty())
    }
}

impl Index {
    pub(super) fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        let mut fields: BTreeMap<String, &RawValue> = serde_json::from_slice(text)?;
        // Go's encoder writes an empty list as null.
        let raws: Vec<&RawValue> = match fields.remove("manifests") {
            Some(manifests) => serde_json::from_str::<Option<_>>(manifests.get())?.unwrap_or_default(),
            None => Vec::new(),
        };
        if raws.len() > MAX_ENTRIES {
            return Err(de::Error::custom(format_args!("it has more than {MAX_ENTRIES} entries")));
        }
        let mut index = Self {
            fields: fields.into_iter().map(|(name, value)| (name, value.to_owned())).collect(),
            entries: Vec::with_capacity(raws.len()),
            positions: HashMap::with_capacity(raws.len()),
        };
        for raw in raws {
            let entry: Entry<'_> = serde_json::from_str(raw.get())?;
            index.push(raw.to_owned().into(), entry.name());
        }
        Ok(index)
    }

    fn push(&mut self, raw: Arc<RawValue>, name: Option<&str>) {
        if let Some(name) = name {
            let position = self.entries.len();
            match self.positions.get_mut(name) {
                Some(positions) => positions.push(position),
                None => drop(self.positions.insert(name.into(), Positions::One(position))),
            }
        }
        self.entries.push(raw);
    }

    /// The entries with a name, in order.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = Entry<'_>> {
        let positions = self.positions.get(name).into_iter().flat_map(Positions::as_slice);
        positions.filter_map(|position| serde_json::from_str(self.entries.get(*position)?.get()).ok())
    }

    /// All entries, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = LayoutEntry> {
        let entries = self.entries.iter().filter_map(|raw| serde_json::from_str::<Entry<'_>>(raw.get()).ok());
        entries.map(|entry| LayoutEntry {
            name: entry.name().map(str::to_owned),
            media_type: entry.media_type.clone().into_owned(),
            digest: entry.digest.clone().into_owned(),
        })
    }

    /// Makes `entry` the only one with its name, at the position of the first that had it. False if nothing changed.
    pub(super) fn set(&mut self, entry: &Entry<'_>) -> Result<bool, serde_json::Error> {
        let name = entry.name().unwrap_or_default();
        let mut existing = self.named(name);
        if existing.next().as_ref() == Some(entry) && existing.next().is_none() {
            return Ok(false);
        }
        drop(existing);
        let raw: Arc<RawValue> = to_raw_value(entry)?.into();
        let Some([first, duplicates @ ..]) = self.positions.get(name).map(Positions::as_slice) else {
            self.push(raw, Some(name));
            return Ok(true);
        };
        if let Some(old) = self.entries.get_mut(*first) {
            *old = raw;
        }
        if !duplicates.is_empty() {
            let duplicates = duplicates.to_vec();
            self.remove(&duplicates)?;
        }
        Ok(true)
    }

    /// Removes the entries at these positions.
    fn remove(&mut self, positions: &[usize]) -> Result<(), serde_json::Error> {
        self.positions.clear();
        for (position, raw) in std::mem::take(&mut self.entries).into_iter().enumerate() {
            if !positions.contains(&position) {
                let entry: Entry<'_> = serde_json::from_str(raw.get())?;
                self.push(Arc::clone(&raw), entry.name());
            }
        }
        Ok(())
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let fields = self.fields.iter().map(|(name, value)| (name.as_str(), Field::Raw(value)));
        let fields: BTreeMap<_, _> = fields.chain([("manifests", Field::Entries(Entries(&self.entries)))]).collect();
        let entries = self.entries.iter().map(|raw| raw.get().len() + 1).sum::<usize>();
        let mut text = Vec::with_capacity(entries + EMPTY.len());
        serde_json::to_writer(&mut text, &fields)?;
        Ok(text)
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Field<'a> {
    Raw(&'a RawValue),
    Entries(Entries<'a>),
}

struct Entries<'a>(&'a [Arc<RawValue>]);

impl Serialize for Entries<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|raw| &**raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, content: &[u8]) -> Entry<'static> {
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        Entry::new(name.to_owned(), media_type.to_owned(), &Digest::sha256(content), content.len() as u64)
    }

    fn entries(index: &Index) -> Vec<Entry<'_>> {
        index.entries.iter().map(|raw| serde_json::from_str(raw.get()).unwrap()).collect()
    }

    /// In order; each is found by its name.
    fn names(index: &Index) -> Vec<String> {
        let names: Vec<_> = entries(index).iter().filter_map(Entry::name).map(str::to_owned).collect();
        assert!(names.iter().all(|name| index.named(name).all(|entry| entry.name() == Some(name))));
        assert_eq!(index.positions.values().map(|positions| positions.as_slice().len()).sum::<usize>(), names.len());
        names
    }

    #[test]
    fn replaces_an_entry_in_place() {
        let mut index = Index::parse(EMPTY).unwrap();
        for name in ["a:1", "b:1", "c:1"] {
            assert!(index.set(&entry(name, b"old")).unwrap());
        }
        assert!(index.set(&entry("b:1", b"new")).unwrap());
        assert!(!index.set(&entry("b:1", b"new")).unwrap(), "an existing entry needs no write");
        assert_eq!(names(&index), ["a:1", "b:1", "c:1"]);
        let digests: Vec<_> = entries(&index).iter().filter_map(Entry::digest).collect();
        assert_eq!(digests, [Digest::sha256(b"old"), Digest::sha256(b"new"), Digest::sha256(b"old")]);
    }

    #[test]
    fn removes_duplicate_entries() {
        let text = format!(
            r#"{{"manifests":[{0},{1},{0}]}}"#,
            serde_json::to_string(&entry("a:1", b"x")).unwrap(),
            serde_json::to_string(&entry("b:1", b"x")).unwrap()
        );
        let mut index = Index::parse(text.as_bytes()).unwrap();
        assert!(index.set(&entry("a:1", b"x")).unwrap());
        assert_eq!(names(&index), ["a:1", "b:1"]);
        assert!(!index.set(&entry("b:1", b"x")).unwrap());
    }

    #[test]
    fn preserves_the_content_of_others() {
        let foreign =
            r#"{ "digest":"blake3:00", "size": 1, "x": [1.50, 18446744073709551616], "platform":{"os":"linux"} }"#;
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{foreign}],"annotations":{{"who":"else"}},"y":1e400}}"#);
        let mut index = Index::parse(text.as_bytes()).unwrap();
        assert!(index.set(&entry("a:1", b"x")).unwrap());
        let written = String::from_utf8(index.to_json().unwrap()).unwrap();
        assert!(written.contains(foreign), "{written}");
        assert!(written.contains(r#""annotations":{"who":"else"}"#) && written.contains(r#""y":1e400"#), "{written}");
        assert_eq!(Index::parse(written.as_bytes()).unwrap().entries.len(), 2);
    }

    #[test]
    fn an_index_without_a_list_is_empty() {
        for text in ["{}", r#"{"manifests":null}"#, r#"{"manifests":[]}"#] {
            assert_eq!(Index::parse(text.as_bytes()).unwrap().entries.len(), 0, "{text}");
        }
    }

    #[test]
    fn more_entries_than_a_layout_has_are_refused() {
        let entry = r#"{"digest":"a","size":1}"#;
        let text = format!(r#"{{"manifests":[{}{entry}]}}"#, format!("{entry},").repeat(MAX_ENTRIES));
        let error = Index::parse(text.as_bytes()).err().unwrap().to_string();
        assert!(error.contains("more than 1000000 entries"), "{error}");
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
