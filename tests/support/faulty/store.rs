//! The content of a registry.

use std::{
    collections::{HashMap, HashSet},
    time::Instant,
};

use bytes::Bytes;
use demo::Image;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

#[derive(Default)]
pub struct Repository {
    /// By digest.
    pub blobs: HashMap<String, Bytes>,
    /// Media type and bytes, by digest.
    pub manifests: HashMap<String, (String, Bytes)>,
    /// Digests by tag.
    pub tags: HashMap<String, String>,
    /// When each tag was first set by a client.
    pub first_tagged: HashMap<String, Instant>,
    /// How often each blob was uploaded.
    pub upload_counts: HashMap<String, usize>,
    /// It has confirmed content that it does not have: that a client puts a manifest too early is not its fault any more.
    pub gave_false_success: bool,
    /// It accepts manifests with missing content.
    pub skips_validation: bool,
}

/// The digests that a manifest refers to.
pub struct Content {
    pub blobs: Vec<String>,
    pub manifests: Vec<String>,
}

/// `sha256:HEX`
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn referrers_tag(subject: &Image) -> String {
    subject.digest().replace(':', "-")
}

/// The keep-alive tag of a digest.
pub fn keep_alive_tag(digest: &str) -> String {
    format!("copycat-{}", digest.replace(':', "-"))
}

impl Repository {
    pub fn add_image(&mut self, tag: &str, image: &Image) {
        for blob in image.blobs() {
            self.blobs.insert(blob.digest.clone(), blob.bytes.clone());
        }
        for manifest in image.manifests() {
            let held = (manifest.media_type.to_owned(), manifest.bytes.clone());
            self.manifests.insert(manifest.digest.clone(), held);
        }
        self.tags.insert(tag.to_owned(), image.digest().to_owned());
    }

    /// Adds what refers to `subject`, and the index that lists it.
    pub fn add_referrer(&mut self, subject: &Image, referrer: &Image) {
        let root = referrer.root();
        self.add_image(&root.digest, referrer);
        let entry = json!({ "mediaType": root.media_type, "digest": root.digest, "size": root.bytes.len() });
        let media_type = "application/vnd.oci.image.index.v1+json";
        let list = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": [entry] });
        let list = Bytes::from(list.to_string());
        let digest = digest(&list);
        self.tags.insert(referrers_tag(subject), digest.clone());
        self.manifests.insert(digest, (media_type.to_owned(), list));
    }

    /// What is missing of a referrer, compared byte for byte.
    pub fn missing_referrer(&self, subject: &Image, referrer: &Image) -> Vec<String> {
        let mut missing = self.missing_content(&[], referrer);
        let list = self.manifest(&referrers_tag(subject)).and_then(|(_, (_, list))| Content::of(list));
        if !list.is_some_and(|list| list.manifests.iter().any(|digest| digest == referrer.digest())) {
            missing.push("the entry in the list of referrers".to_owned());
        }
        missing
    }

    /// A manifest with its digest, by a tag or digest.
    pub fn manifest(&self, reference: &str) -> Option<(&String, &(String, Bytes))> {
        self.manifests.get_key_value(self.tags.get(reference).map_or(reference, String::as_str))
    }

    /// What is missing of `image` with these tags, compared byte for byte.
    pub fn missing_content(&self, tags: &[String], image: &Image) -> Vec<String> {
        let mut missing = Vec::new();
        for tag in tags {
            if self.tags.get(tag).map(String::as_str) != Some(image.digest()) {
                missing.push(format!("tag {tag}"));
            }
        }
        for manifest in image.manifests() {
            let expected = (manifest.media_type.to_owned(), manifest.bytes.clone());
            if self.manifests.get(&manifest.digest) != Some(&expected) {
                missing.push(format!("manifest {}", manifest.digest));
            }
        }
        for blob in image.blobs() {
            if self.blobs.get(&blob.digest).is_none_or(|bytes| *bytes != blob.bytes) {
                missing.push(format!("blob {}", blob.digest));
            }
        }
        missing
    }

    /// Content that is missing here.
    pub fn missing(&self, content: &Content) -> Vec<String> {
        let blobs = content.blobs.iter().filter(|digest| !self.blobs.contains_key(*digest));
        let manifests = content.manifests.iter().filter(|digest| !self.manifests.contains_key(*digest));
        blobs.chain(manifests).cloned().collect()
    }

    /// Removes one of these blobs and manifests, if there is any.
    pub fn lose_content(&mut self, content: &Content, which: usize) {
        let all: Vec<&String> = content.blobs.iter().chain(&content.manifests).collect();
        if let Some(lost) = all.get(which % all.len().max(1)) {
            self.gave_false_success |= self.blobs.remove(*lost).is_some() | self.manifests.remove(*lost).is_some();
        }
    }
}

impl Content {
    /// Reads a manifest; none if it is invalid.
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
