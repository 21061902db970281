//! Manifests as bytes, and the few things in them that a copy has to know. They are not read into oci-client's types,
//! which refuse the `"layers": null` of images from scratch, and take what is image and index at once.

mod index;

use std::fmt;

use bytes::Bytes;
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use serde::Deserialize;

use crate::model::Digest;
use crate::registry::{Error, error::Fault};

pub use index::IndexEntry;

/// Longer manifests are refused; the distribution specification asks registries to take this much.
pub(in crate::registry) const LONGEST_MANIFEST: usize = 4 * 1024 * 1024;

/// What is asked for: without it registries would convert to schema 1, or to one platform.
pub(in crate::registry) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// The media types of [`ACCEPTED`].
pub(in crate::registry) const KNOWN: [&str; 4] =
    [OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE];

/// Which manifest of a repository.
#[derive(Clone, Copy, Debug)]
pub enum Selector<'a> {
    /// What a tag points to.
    Tag(&'a str),
    /// The one with this digest.
    Digest(&'a Digest),
}

/// As it stands in a URL.
impl fmt::Display for Selector<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// What a manifest says of a blob or of another manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The media type as written.
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The length of the content in bytes.
    pub size: u64,
    /// Whether it is a layer that its publisher keeps elsewhere (`urls`) and that must not be distributed, so that
    /// registries need not have it.
    pub foreign: bool,
}

impl Descriptor {
    /// Whether the content is a manifest or an index by its media type. What else an index lists (build caches do) is
    /// stored as a blob.
    pub fn is_manifest(&self) -> bool {
        KNOWN.contains(&self.media_type.as_str())
    }
}

/// A manifest or index, byte for byte as it came.
#[derive(Clone, Debug)]
pub struct Manifest {
    bytes: Bytes,
    media_type: String,
    digest: Digest,
}

/// What has to be at a registry before a manifest can be put there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// An image or artifact.
    Image {
        /// The config first, then the layers in order.
        blobs: Vec<Descriptor>,
    },
    /// An index or a Docker manifest list.
    Index {
        /// In order, for whatever platforms.
        manifests: Vec<Descriptor>,
    },
}

impl Manifest {
    /// Takes bytes for a manifest, with the SHA-256 for its digest. `content_type` is what they were sent or stored
    /// as; it counts only where the JSON does not say.
    ///
    /// # Errors
    /// When they are no manifest, or one of schema 1.
    pub fn new(bytes: Bytes, content_type: Option<&str>) -> Result<Self, Error> {
        let digest = Digest::sha256(&bytes);
        Self::of(bytes, content_type, digest).map_err(|fault| Error::new("reading a manifest".to_owned(), fault))
    }

    /// The same, the digest known.
    pub(in crate::registry) fn of(bytes: Bytes, content_type: Option<&str>, digest: Digest) -> Result<Self, Fault> {
        let written = read(&bytes)?;
        let content_type = content_type.map(|text| text.split(';').next().unwrap_or(text).trim());
        let media_type = match (written.media_type, content_type) {
            (Some(media_type), _) => media_type,
            (None, Some(known)) if KNOWN.contains(&known) => known.to_owned(),
            (None, _) if written.manifests.is_some() => OCI_IMAGE_INDEX_MEDIA_TYPE.to_owned(),
            (None, _) => OCI_IMAGE_MEDIA_TYPE.to_owned(),
        };
        Ok(Self { bytes, media_type, digest })
    }

    /// The bytes as they came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// `mediaType` of the JSON; where it has none, the type it came with.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// Computed over the bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Itself as an index would list it.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: self.media_type.clone(),
            digest: self.digest.clone(),
            size: self.bytes.len() as u64,
            foreign: false,
        }
    }

    /// Whether it refers to another manifest, as signatures do.
    pub fn has_subject(&self) -> bool {
        read(&self.bytes).is_ok_and(|written| written.subject.is_some())
    }

    /// What it names.
    ///
    /// # Errors
    /// When a descriptor in it is malformed.
    pub fn contents(&self) -> Result<Contents, Error> {
        self.named().map_err(|fault| self.unreadable(fault))
    }

    /// Something in it is not as it should be.
    pub(in crate::registry) fn unreadable(&self, fault: Fault) -> Error {
        Error::new(format!("reading the manifest {}", self.digest), fault)
    }

    fn named(&self) -> Result<Contents, Fault> {
        let written = read(&self.bytes)?;
        match (written.manifests, written.config) {
            (Some(manifests), _) => Ok(Contents::Index { manifests: descriptors(manifests)? }),
            (None, Some(config)) => {
                let blobs = std::iter::once(config).chain(written.layers.unwrap_or_default());
                Ok(Contents::Image { blobs: descriptors(blobs)? })
            }
            (None, None) => Err(no_manifest("it has neither a config nor manifests")),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<WrittenDescriptor>,
    layers: Option<Vec<WrittenDescriptor>>,
    manifests: Option<Vec<WrittenDescriptor>>,
    subject: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenDescriptor {
    media_type: String,
    digest: String,
    size: u64,
    urls: Option<Vec<String>>,
}

fn read(bytes: &[u8]) -> Result<Written, Fault> {
    let written: Written = serde_json::from_slice(bytes).map_err(|error| no_manifest(&error.to_string()))?;
    if written.schema_version == Some(1) {
        let advice = "it is of Docker's schema 1, which registries have stopped taking: push the image again with a \
                      current tool";
        return Err(Fault::Refused(advice.to_owned()));
    }
    match (&written.manifests, &written.config) {
        // One reader's image would be another's index (CVE-2021-41190).
        (Some(_), Some(_)) => Err(Fault::Refused("it claims to be an image and an index at once".to_owned())),
        (None, None) => Err(no_manifest("it has neither a config nor manifests")),
        _ => Ok(written),
    }
}

/// Layers that must not be distributed: Docker's `foreign` and OCI's `nondistributable` ones. `urls` alone say only where
/// else a blob is to be had.
fn is_foreign(media_type: &str) -> bool {
    media_type.contains(".foreign.") || media_type.contains(".nondistributable.")
}

/// What should be a manifest, and is none.
pub(in crate::registry) fn no_manifest(why: &str) -> Fault {
    Fault::Malformed(format!("what came is no manifest: {why}"))
}

fn descriptors(written: impl IntoIterator<Item = WrittenDescriptor>) -> Result<Vec<Descriptor>, Fault> {
    let read = written.into_iter().map(|written| {
        let digest =
            written.digest.parse().map_err(|error| Fault::Refused(format!("a descriptor in it is wrong: {error}")))?;
        let foreign = written.urls.is_some_and(|urls| !urls.is_empty()) && is_foreign(&written.media_type);
        Ok(Descriptor { media_type: written.media_type, digest, size: written.size, foreign })
    });
    read.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Retry;

    fn hex(byte: u8) -> String {
        format!("sha256:{}", hex::encode([byte; 32]))
    }

    fn manifest(json: &serde_json::Value, content_type: Option<&str>) -> Result<Manifest, Error> {
        Manifest::new(json.to_string().into(), content_type)
    }

    #[test]
    fn an_image_names_its_config_first_and_then_its_layers() {
        let json = json!({"schemaVersion": 2, "config": {"mediaType": "c", "digest": hex(1), "size": 1},
            "layers": [{"mediaType": "l", "digest": hex(2), "size": 2},
                       {"mediaType": "l", "digest": hex(3), "size": 3, "urls": ["https://also-there.example"]},
                       {"mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", "digest": hex(4),
                        "size": 4, "urls": ["https://elsewhere.example"]}]});
        let Contents::Image { blobs } = manifest(&json, None).unwrap().contents().unwrap() else { panic!("index") };
        let seen: Vec<_> = blobs.iter().map(|d| (d.digest.to_string(), d.size, d.foreign)).collect();
        assert_eq!(seen, [(hex(1), 1, false), (hex(2), 2, false), (hex(3), 3, false), (hex(4), 4, true)]);
    }

    #[test]
    fn an_image_from_scratch_has_no_layers() {
        let json = json!({"config": {"mediaType": "c", "digest": hex(1), "size": 1}, "layers": null});
        let Contents::Image { blobs } = manifest(&json, None).unwrap().contents().unwrap() else { panic!("index") };
        assert_eq!(blobs.len(), 1);
    }

    #[test]
    fn the_media_type_is_the_jsons_own_else_the_answers_else_what_it_looks_like() {
        let config = json!({"mediaType": "c", "digest": hex(1), "size": 1});
        for (json, content_type, expected) in [
            (json!({"mediaType": "x/own", "manifests": []}), Some(IMAGE_MANIFEST_MEDIA_TYPE), "x/own"),
            (json!({"config": config}), Some(IMAGE_MANIFEST_MEDIA_TYPE), IMAGE_MANIFEST_MEDIA_TYPE),
            (
                json!({"manifests": []}),
                Some("application/vnd.docker.distribution.manifest.list.v2+json; charset=utf-8"),
                IMAGE_MANIFEST_LIST_MEDIA_TYPE,
            ),
            (json!({"config": config}), Some("text/plain"), OCI_IMAGE_MEDIA_TYPE),
            (json!({"manifests": []}), None, OCI_IMAGE_INDEX_MEDIA_TYPE),
        ] {
            assert_eq!(manifest(&json, content_type).unwrap().media_type(), expected, "{json}");
        }
    }

    #[test]
    fn the_digest_is_that_of_the_bytes() {
        let manifest = manifest(&json!({"manifests": []}), None).unwrap();
        assert_eq!(*manifest.digest(), Digest::sha256(manifest.bytes()));
        assert_eq!(manifest.descriptor().size, manifest.bytes().len() as u64);
    }

    #[test]
    fn what_is_no_manifest_is_refused() {
        let config = json!({"mediaType": "c", "digest": hex(1), "size": 1});
        for (json, retry) in [
            (json!({"schemaVersion": 1, "fsLayers": []}), Retry::Later),
            (json!({"manifests": [], "config": config}), Retry::Later),
            (json!({}), Retry::Soon),
            (json!([]), Retry::Soon),
            (json!({"config": {"mediaType": "c", "digest": hex(1), "size": -1}}), Retry::Soon),
        ] {
            assert_eq!(manifest(&json, None).unwrap_err().retry(), retry, "{json}");
        }
        assert!(Manifest::new("<html>".into(), None).unwrap_err().to_string().contains("no manifest"));
        let json = json!({"config": {"mediaType": "c", "digest": "sha256:1", "size": 1}});
        assert!(manifest(&json, None).unwrap().contents().unwrap_err().to_string().contains("sha256:1"));
    }
}
