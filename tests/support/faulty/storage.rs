//! Damage to what a registry stores, and a reading of it that owes nothing to the program.

use bytes::Bytes;
use serde_json::Value;

use super::store::{Repository, digest};

/// What happens to the storage of one repository. Numbers choose one of all blobs, or manifests, by their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    LoseBlob(usize),
    /// Half of it is gone.
    CutBlob(usize),
    /// One of its bits is flipped.
    FlipBlob(usize),
    /// The manifest of a platform, or that of a tag.
    LoseManifest(usize),
    CutManifest(usize),
    FlipManifest(usize),
    LoseTags,
    LoseAll,
}

/// What is stored of an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// There is no manifest under the tag or digest.
    pub has_no_root: bool,
    /// A blob or a manifest below is missing.
    pub lacks_parts: bool,
    /// A manifest has other bytes.
    pub has_wrong_manifests: bool,
    /// A blob has another length.
    pub has_wrong_lengths: bool,
    /// A blob has other bytes, of whatever length.
    pub has_wrong_bytes: bool,
}

impl Repository {
    /// Returns a blob whose bits were flipped: a registry stores it once for all of its repositories.
    pub fn damage(&mut self, damage: Damage) -> Option<(String, Bytes)> {
        // What a client was told may not hold any more.
        self.gave_false_success = true;
        let chosen = |digests: Vec<&String>, number: usize| {
            let mut digests: Vec<String> = digests.into_iter().cloned().collect();
            digests.sort_unstable();
            (!digests.is_empty()).then(|| digests[number % digests.len()].clone())
        };
        let blob = |number| chosen(self.blobs.keys().collect(), number);
        let manifest = |number| chosen(self.manifests.keys().collect(), number);
        match damage {
            Damage::LoseBlob(number) => drop(blob(number).and_then(|blob| self.blobs.remove(&blob))),
            Damage::CutBlob(number) => {
                if let Some(bytes) = blob(number).and_then(|blob| self.blobs.get_mut(&blob)) {
                    change(bytes, true, number);
                }
            }
            Damage::FlipBlob(number) => {
                let name = blob(number)?;
                let bytes = self.blobs.get_mut(&name)?;
                change(bytes, false, number);
                return Some((name, bytes.clone()));
            }
            Damage::LoseManifest(number) => drop(manifest(number).and_then(|lost| self.manifests.remove(&lost))),
            Damage::CutManifest(number) | Damage::FlipManifest(number) => {
                if let Some((_, bytes)) = manifest(number).and_then(|manifest| self.manifests.get_mut(&manifest)) {
                    change(bytes, matches!(damage, Damage::CutManifest(_)), number);
                }
            }
            Damage::LoseTags => self.tags.clear(),
            Damage::LoseAll => {
                self.blobs.clear();
                self.manifests.clear();
                self.tags.clear();
            }
        }
        None
    }

    /// Follows a tag or digest to the last layer.
    pub fn read(&self, reference: &str) -> Reading {
        let mut reading = Reading::default();
        let root = self.tags.get(reference).map_or(reference, String::as_str);
        if !self.manifests.contains_key(root) {
            return Reading { has_no_root: true, ..reading };
        }
        let mut unread = vec![root.to_owned()];
        while let Some(name) = unread.pop() {
            let Some((_, bytes)) = self.manifests.get(&name) else {
                reading.lacks_parts = true;
                continue;
            };
            if digest(bytes) != name {
                reading.has_wrong_manifests = true;
                continue;
            }
            let content: Value = serde_json::from_slice(bytes).unwrap();
            let of = |list: &str| content[list].as_array().into_iter().flatten();
            unread.extend(of("manifests").map(|child| child["digest"].as_str().unwrap().to_owned()));
            for blob in of("layers").chain(content.get("config")) {
                let (name, size) = (blob["digest"].as_str().unwrap(), blob["size"].as_u64().unwrap());
                match self.blobs.get(name) {
                    None => reading.lacks_parts = true,
                    Some(bytes) => {
                        reading.has_wrong_lengths |= bytes.len() as u64 != size;
                        reading.has_wrong_bytes |= digest(bytes) != name;
                    }
                }
            }
        }
        reading
    }
}

fn change(bytes: &mut Bytes, cuts: bool, number: usize) {
    let mut changed = bytes.to_vec();
    if cuts {
        changed.truncate(changed.len() / 2);
    } else if !changed.is_empty() {
        let position = number % changed.len();
        changed[position] ^= 1;
    }
    *bytes = changed.into();
}

#[cfg(test)]
mod tests {
    use demo::{Format, Image, Layer};

    use super::*;

    #[test]
    fn a_reading_finds_each_damage() {
        let images = ["amd64", "arm64"].map(|architecture| {
            let layers = ["shared", architecture].map(|content| Layer::files(&[("content", content)]).unwrap());
            Image::single(Format::Oci, architecture, &layers)
        });
        let image = Image::index(Format::Oci, &images);
        let whole = || {
            let mut repository = Repository::default();
            repository.add_image("1", &image);
            repository
        };
        assert_eq!(whole().read("1"), Reading::default());
        assert_eq!(whole().read(image.digest()), Reading::default());
        let after = |damage| {
            let mut repository = whole();
            repository.damage(damage);
            repository.read("1")
        };
        for number in 0..5 {
            assert_eq!(after(Damage::LoseBlob(number)), Reading { lacks_parts: true, ..Reading::default() });
            let cut = Reading { has_wrong_lengths: true, has_wrong_bytes: true, ..Reading::default() };
            assert_eq!(after(Damage::CutBlob(number)), cut);
            assert_eq!(after(Damage::FlipBlob(number)), Reading { has_wrong_bytes: true, ..Reading::default() });
            let lost = after(Damage::LoseManifest(number));
            assert!(lost.lacks_parts || lost.has_no_root, "{lost:?}");
            for damage in [Damage::CutManifest(number), Damage::FlipManifest(number)] {
                assert_eq!(after(damage), Reading { has_wrong_manifests: true, ..Reading::default() });
            }
        }
        for damage in [Damage::LoseTags, Damage::LoseAll] {
            assert_eq!(after(damage), Reading { has_no_root: true, ..Reading::default() });
        }
    }
}
