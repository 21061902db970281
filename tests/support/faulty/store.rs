//! What a registry holds, and what was done to it that no client should do.

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use bytes::Bytes;
use demo::Image;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// One repository.
#[derive(Default)]
pub struct Repository {
    /// By digest.
    pub blobs: HashMap<String, Bytes>,
    /// Media type and bytes, by digest.
    pub manifests: HashMap<String, (String, Bytes)>,
    /// Digests by tag.
    pub tags: HashMap<String, String>,
    /// When each tag was set for the first time by a client.
    pub since: HashMap<String, Instant>,
    /// How often each blob was sent whole.
    pub sent: HashMap<String, usize>,
    /// It has said of something that it was there, and it was not: a client can't be blamed any more for believing it.
    pub has_lied: bool,
    /// It takes manifests whatever they name.
    pub lax: bool,
}

/// What a manifest names.
pub struct Parts {
    pub blobs: Vec<String>,
    pub manifests: Vec<String>,
}

/// `sha256:` and the digits.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// The tag that keeps what is named by its digest alone.
pub fn keeping_tag(digest: &str) -> String {
    format!("copycat-{}", digest.replace(':', "-"))
}

impl Repository {
    /// Puts an image there.
    pub fn hold(&mut self, tag: &str, image: &Image) {
        for blob in image.blobs() {
            self.blobs.insert(blob.digest.clone(), blob.bytes.clone());
        }
        for manifest in image.manifests() {
            let held = (manifest.media_type.to_owned(), manifest.bytes.clone());
            self.manifests.insert(manifest.digest.clone(), held);
        }
        self.tags.insert(tag.to_owned(), image.digest().to_owned());
    }

    /// A manifest with its digest, by a tag or digest.
    pub fn manifest(&self, reference: &str) -> Option<(&String, &(String, Bytes))> {
        self.manifests.get_key_value(self.tags.get(reference).map_or(reference, String::as_str))
    }

    /// What `image` has that is not here byte for byte, or is not under these tags.
    pub fn lacks(&self, tags: &[String], image: &Image) -> Vec<String> {
        let mut lacking = Vec::new();
        for tag in tags {
            if self.tags.get(tag).map(String::as_str) != Some(image.digest()) {
                lacking.push(format!("tag {tag}"));
            }
        }
        for manifest in image.manifests() {
            let expected = (manifest.media_type.to_owned(), manifest.bytes.clone());
            if self.manifests.get(&manifest.digest) != Some(&expected) {
                lacking.push(format!("manifest {}", manifest.digest));
            }
        }
        for blob in image.blobs() {
            if self.blobs.get(&blob.digest).is_none_or(|bytes| *bytes != blob.bytes) {
                lacking.push(format!("blob {}", blob.digest));
            }
        }
        lacking
    }

    /// Parts of a manifest that are not here.
    pub fn missing(&self, parts: &Parts) -> Vec<String> {
        let blobs = parts.blobs.iter().filter(|digest| !self.blobs.contains_key(*digest));
        let manifests = parts.manifests.iter().filter(|digest| !self.manifests.contains_key(*digest));
        blobs.chain(manifests).cloned().collect()
    }

    /// Loses one part of a manifest, if it has any.
    pub fn lose(&mut self, parts: &Parts, which: usize) {
        let all: Vec<&String> = parts.blobs.iter().chain(&parts.manifests).collect();
        if let Some(lost) = all.get(which % all.len().max(1)) {
            self.has_lied |= self.blobs.remove(*lost).is_some() | self.manifests.remove(*lost).is_some();
        }
    }
}

impl Parts {
    /// None where it is no manifest.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let content: Value = serde_json::from_slice(bytes).ok()?;
        let digests = |list: &Value| -> Vec<String> {
            let entries = list.as_array().map(Vec::as_slice).unwrap_or_default();
            let digests: HashSet<&str> = entries.iter().filter_map(|entry| entry["digest"].as_str()).collect();
            digests.into_iter().map(str::to_owned).collect()
        };
        let mut blobs = digests(&content["layers"]);
        blobs.extend(content["config"]["digest"].as_str().map(str::to_owned));
        Some(Self { blobs, manifests: digests(&content["manifests"]) })
    }
}
