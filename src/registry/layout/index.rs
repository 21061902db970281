//! `index.json`: which manifest has which name. What others wrote into it stays as they wrote it.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    slice,
    sync::Arc,
};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use crate::model::Digest;

/// The text of an index of nothing.
pub(super) const EMPTY: &[u8] =
    br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;

/// The entries of an `index.json`, and all else that stands in it. There may be many thousands of entries: they are found
/// by their names, and a clone shares their texts: it allocates nothing for each of them.
#[derive(Clone)]
pub(super) struct Index {
    fields: BTreeMap<String, Box<RawValue>>,
    entries: Vec<Arc<RawValue>>,
    places: HashMap<Arc<str>, Places>,
}

/// Where the entries of a name are.
#[derive(Clone)]
enum Places {
    One(usize),
    /// In order; only where others wrote.
    Several(Vec<usize>),
}

impl Places {
    fn as_slice(&self) -> &[usize] {
        match self {
            Self::One(place) => slice::from_ref(place),
            Self::Several(places) => places,
        }
    }

    fn push(&mut self, place: usize) {
        match self {
            Self::One(first) => *self = Self::Several(vec![*first, place]),
            Self::Several(places) => places.push(place),
        }
    }
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

impl Entry<'static> {
    /// A manifest under a name.
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

impl Index {
    /// Reads an `index.json`.
    pub(super) fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        let mut fields: BTreeMap<String, &RawValue> = serde_json::from_slice(text)?;
        // Go's encoder writes a list of nothing as null.
        let raws: Vec<&RawValue> = match fields.remove("manifests") {
            Some(manifests) => serde_json::from_str::<Option<_>>(manifests.get())?.unwrap_or_default(),
            None => Vec::new(),
        };
        let mut index = Self {
            fields: fields.into_iter().map(|(name, value)| (name, value.to_owned())).collect(),
            entries: Vec::with_capacity(raws.len()),
            places: HashMap::with_capacity(raws.len()),
        };
        for raw in raws {
            let entry: Entry<'_> = serde_json::from_str(raw.get())?;
            index.push(raw.to_owned().into(), entry.name());
        }
        Ok(index)
    }

    fn push(&mut self, raw: Arc<RawValue>, name: Option<&str>) {
        if let Some(name) = name {
            let place = self.entries.len();
            match self.places.get_mut(name) {
                Some(places) => places.push(place),
                None => drop(self.places.insert(name.into(), Places::One(place))),
            }
        }
        self.entries.push(raw);
    }

    /// The entries of that name, in order.
    pub(super) fn named(&self, name: &str) -> impl Iterator<Item = Entry<'_>> {
        let places = self.places.get(name).into_iter().flat_map(Places::as_slice);
        places.filter_map(|place| serde_json::from_str(self.entries.get(*place)?.get()).ok())
    }

    /// Lets `entry`, which has a name, be the only one of its name, in the place of the first that had it. False when
    /// nothing changed.
    pub(super) fn set(&mut self, entry: &Entry<'_>) -> Result<bool, serde_json::Error> {
        let name = entry.name().unwrap_or_default();
        let mut holders = self.named(name);
        if holders.next().as_ref() == Some(entry) && holders.next().is_none() {
            return Ok(false);
        }
        drop(holders);
        let raw: Arc<RawValue> = to_raw_value(entry)?.into();
        let Some([first, twins @ ..]) = self.places.get(name).map(Places::as_slice) else {
            self.push(raw, Some(name));
            return Ok(true);
        };
        if let Some(held) = self.entries.get_mut(*first) {
            *held = raw;
        }
        if !twins.is_empty() {
            let twins = twins.to_vec();
            self.remove(&twins)?;
        }
        Ok(true)
    }

    /// Takes out the entries at these places; all others are counted anew.
    fn remove(&mut self, gone: &[usize]) -> Result<(), serde_json::Error> {
        self.places.clear();
        for (place, raw) in std::mem::take(&mut self.entries).into_iter().enumerate() {
            if !gone.contains(&place) {
                let entry: Entry<'_> = serde_json::from_str(raw.get())?;
                self.push(Arc::clone(&raw), entry.name());
            }
        }
        Ok(())
    }

    /// The text of the `index.json`.
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

    /// In their order; each is found by its name.
    fn names(index: &Index) -> Vec<String> {
        let names: Vec<_> = entries(index).iter().filter_map(Entry::name).map(str::to_owned).collect();
        assert!(names.iter().all(|name| index.named(name).all(|entry| entry.name() == Some(name))));
        assert_eq!(index.places.values().map(|places| places.as_slice().len()).sum::<usize>(), names.len());
        names
    }

    #[test]
    fn a_name_is_moved_and_the_others_stay_where_they_are() {
        let mut index = Index::parse(EMPTY).unwrap();
        for name in ["a:1", "b:1", "c:1"] {
            assert!(index.set(&entry(name, b"old")).unwrap());
        }
        assert!(index.set(&entry("b:1", b"new")).unwrap());
        assert!(!index.set(&entry("b:1", b"new")).unwrap(), "nothing is to be written for what is there already");
        assert_eq!(names(&index), ["a:1", "b:1", "c:1"]);
        let digests: Vec<_> = entries(&index).iter().filter_map(Entry::digest).collect();
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
        assert!(index.set(&entry("a:1", b"x")).unwrap());
        assert_eq!(names(&index), ["a:1", "b:1"]);
        assert!(!index.set(&entry("b:1", b"x")).unwrap());
    }

    #[test]
    fn what_others_wrote_is_kept_to_the_letter() {
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
    fn what_is_no_index_is_refused() {
        for text in
            ["", "[]", "null", r#"{"manifests":{}}"#, r#"{"manifests":[1]}"#, r#"{"manifests":[{"size":1}]}"#, "{}x"]
        {
            assert!(Index::parse(text.as_bytes()).is_err(), "{text}");
        }
    }
}
