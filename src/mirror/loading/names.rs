//! The names in a layout, by repository.

use std::collections::{BTreeMap, HashMap};

use crate::{
    model::{Algorithm, Digest, Reference},
    registry::LayoutEntry,
};

/// In front of a name, to read it as an image reference; no registry has this name.
const NO_REGISTRY: &str = "layout.invalid";

/// A name of the layout and what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// As in the layout.
    pub text: String,
    /// A tag; none for an image that is named by its digest.
    pub tag: Option<String>,
    pub digest: Digest,
    pub media_type: String,
}

/// A name that can't be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unusable {
    pub text: String,
    pub reason: String,
}

/// The names of one repository, by what is loaded in this order.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RepositoryNames {
    /// Images, by tag or by digest.
    pub images: Vec<Name>,
    /// Lists of referrers, where registries without the referrers API have them (`sha256-<hex>`).
    pub lists: Vec<Name>,
    /// cosign's older tags (`sha256-<hex>.sig`).
    pub digest_tags: Vec<Name>,
}

impl RepositoryNames {
    pub fn all(&self) -> impl Iterator<Item = &Name> {
        self.images.iter().chain(&self.lists).chain(&self.digest_tags)
    }

    pub fn len(&self) -> usize {
        self.all().count()
    }
}

/// The names by repository, and those that can't be used.
pub(super) fn by_repository(entries: Vec<LayoutEntry>) -> (BTreeMap<String, RepositoryNames>, Vec<Unusable>) {
    let mut repositories = BTreeMap::<String, RepositoryNames>::new();
    let mut unusable = Vec::new();
    let mut known = HashMap::<String, String>::new();
    for entry in entries {
        let text = entry.name.clone().unwrap_or_default();
        if let Some(other) = known.get(&text).filter(|_| !text.is_empty()) {
            if *other != entry.digest {
                let reason = format!("the layout has the name twice, for {other} and for {}", entry.digest);
                unusable.push(Unusable { text, reason });
            }
            continue;
        }
        known.insert(text.clone(), entry.digest.clone());
        match read(&entry) {
            Ok((repository, name)) => {
                let names = repositories.entry(repository).or_default();
                let tag = name.tag.as_deref().unwrap_or_default();
                match digest_tag(tag) {
                    Some("") => names.lists.push(name),
                    Some(_) => names.digest_tags.push(name),
                    None => names.images.push(name),
                }
            }
            Err(reason) => unusable.push(Unusable { text, reason }),
        }
    }
    (repositories, unusable)
}

fn read(entry: &LayoutEntry) -> Result<(String, Name), String> {
    let Some(text) = entry.name.clone() else {
        return Err(format!("{} has no name in the layout (org.opencontainers.image.ref.name)", entry.digest));
    };
    let digest: Digest = entry.digest.parse().map_err(|error| format!("{error}"))?;
    // A tag alone is what other tools write. Without this `1.27` would be a repository.
    let last = text.rsplit('/').next().unwrap_or_default();
    if !last.contains([':', '@']) {
        return Err("the name has no repository: it must be REPOSITORY:TAG or REPOSITORY@DIGEST".to_owned());
    }
    let reference: Reference = format!("{NO_REGISTRY}/{text}").parse().map_err(|error| format!("{error}"))?;
    if reference.digest().is_some_and(|named| *named != digest) {
        return Err(format!("the layout has {digest} under this name"));
    }
    let name = Name { text, tag: reference.tag().map(str::to_owned), digest, media_type: entry.media_type.clone() };
    Ok((reference.repository().to_owned(), name))
}

/// What follows in a tag that stands for a digest, with its dot: empty in the tag of a list of referrers. None for other tags.
fn digest_tag(tag: &str) -> Option<&str> {
    let (algorithm, rest) = tag.split_once('-')?;
    if ![Algorithm::Sha256.name(), Algorithm::Sha512.name()].contains(&algorithm) {
        return None;
    }
    let (hex, suffix) = rest.split_at_checked(64)?;
    let is_hex = hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (is_hex && (suffix.is_empty() || suffix.starts_with('.'))).then_some(suffix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str, content: &str) -> LayoutEntry {
        let digest = Digest::sha256(content.as_bytes()).to_string();
        LayoutEntry { name: Some(name.to_owned()).filter(|name| !name.is_empty()), media_type: String::new(), digest }
    }

    #[test]
    fn names_are_images_lists_and_older_tags_of_their_repositories() {
        let (digest, subject) = (Digest::sha256(b"kept"), Digest::sha256(b"subject").referrers_tag());
        let signature = format!("{subject}.sig");
        let names = [
            "library/nginx:1.27",
            &format!("library/nginx@{digest}"),
            &format!("library/nginx:{subject}"),
            &format!("library/nginx:{signature}"),
            "docker.io/a/b:sha256-short",
            "library/nginx:1.27",
        ];
        let entries = names.iter().map(|name| entry(name, "kept")).collect();
        let (repositories, unusable) = by_repository(entries);
        assert_eq!(unusable, []);
        assert_eq!(repositories.keys().collect::<Vec<_>>(), ["docker.io/a/b", "library/nginx"]);
        let tags = |names: &[Name]| names.iter().map(|name| name.tag.clone().unwrap_or_default()).collect::<Vec<_>>();
        let nginx = &repositories["library/nginx"];
        assert_eq!(tags(&nginx.images), ["1.27", ""]);
        assert_eq!((tags(&nginx.lists), tags(&nginx.digest_tags)), (vec![subject], vec![signature]));
        assert_eq!(tags(&repositories["docker.io/a/b"].images), ["sha256-short"]);
    }

    #[test]
    fn what_names_no_repository_is_told() {
        let other = Digest::sha256(b"other");
        for (name, reason) in [
            ("", "has no name in the layout"),
            ("1.27", "no repository"),
            ("library/nginx", "no repository"),
            ("Library/nginx:1", "Library"),
            ("localhost:5000/nginx:1", "localhost:5000"),
            ("../../etc:1", ".."),
            ("nginx:a/../b", ""),
            ("nginx:", ""),
            (&format!("nginx@{other}"), "under this name"),
        ] {
            let (repositories, unusable) = by_repository(vec![entry(name, "content")]);
            assert!(repositories.is_empty(), "{name}: {repositories:?}");
            assert!(unusable[0].text == name && unusable[0].reason.contains(reason), "{name}: {unusable:?}");
        }
        let md5 = LayoutEntry { digest: "md5:1".to_owned(), ..entry("a:1", "") };
        assert!(by_repository(vec![md5]).1[0].reason.contains("md5:1"));
        let (repositories, unusable) = by_repository(vec![entry("a:1", "one"), entry("a:1", "two")]);
        assert_eq!((repositories["a"].images.len(), unusable.len()), (1, 1));
        assert!(unusable[0].reason.contains("twice"), "{unusable:?}");
    }
}
