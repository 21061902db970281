//! Manifests as bytes, and what they reference. They are not parsed into oci-client's types, which reject the
//! `"layers": null` of images from scratch, and accept a manifest that is both an image and an index.

pub(super) mod index;
pub(super) mod referrers;

use std::fmt;

use bytes::Bytes;
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
};
use serde::Deserialize;

use crate::{
    model::Digest,
    registry::{error::Error, fault::Fault},
};

/// In bytes; the distribution specification requires registries to accept this much.
pub(in crate::registry) const MAX_MANIFEST: usize = 4 * 1024 * 1024;

/// The `Accept` header: without it registries convert to schema 1, or return one platform.
pub(in crate::registry) const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// The media types in [`ACCEPTED`].
pub(in crate::registry) const KNOWN: [&str; 4] =
    [OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE];

/// The key of the entries of an index.
const MANIFEST_LIST_KEY: &str = "manifests";

/// A tag or a digest: the `<reference>` of the distribution specification.
#[derive(Clone, Copy, Debug)]
pub enum TagOrDigest<'a> {
    /// A tag.
    Tag(&'a str),
    /// A digest.
    Digest(&'a Digest),
}

/// As in a URL.
impl fmt::Display for TagOrDigest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => f.write_str(tag),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// A descriptor of the image specification: a reference to a blob or to another manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The media type as json.
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The length of the content in bytes.
    pub size: u64,
    /// Whether it is a non-distributable ("foreign") layer with `urls`, which registries need not have.
    pub foreign: bool,
}

impl Descriptor {
    /// Whether the content is a manifest or an index by its media type. Other entries of an index (as in build caches)
    /// are stored as blobs.
    pub fn is_manifest(&self) -> bool {
        KNOWN.contains(&self.media_type.as_str())
    }
}

/// A manifest or index with its original bytes.
#[derive(Clone, Debug)]
pub struct Manifest {
    bytes: Bytes,
    media_type: String,
    digest: Digest,
}

/// What a registry must have before it accepts a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// An image or artifact.
    Image {
        /// The config first, then the layers in order.
        blobs: Vec<Descriptor>,
    },
    /// An index or a Docker manifest list.
    Index {
        /// In order, for all platforms.
        manifests: Vec<Descriptor>,
    },
}

impl Manifest {
    /// Parses a manifest; its digest is the SHA-256. `content_type` is used if the JSON has no `mediaType`.
    ///
    /// # Errors
    /// When the bytes are no manifest, or one of schema 1.
    pub fn new(bytes: Bytes, content_type: Option<&str>) -> Result<Self, Error> {
        let digest = Digest::sha256(&bytes);
        Self::with_digest(bytes, content_type, digest)
            .map_err(|fault| Error::new("parsing a manifest".to_owned(), fault))
    }

    /// The same with a known digest.
    pub(in crate::registry) fn with_digest(
        bytes: Bytes,
        content_type: Option<&str>,
        digest: Digest,
    ) -> Result<Self, Fault> {
        let json = parse(&bytes)?;
        let content_type = content_type.map(|text| text.split(';').next().unwrap_or(text).trim());
        let media_type = match (json.media_type, content_type) {
            (Some(media_type), _) => media_type,
            (None, Some(known)) if KNOWN.contains(&known) => known.to_owned(),
            (None, _) if json.manifests.is_some() => OCI_IMAGE_INDEX_MEDIA_TYPE.to_owned(),
            (None, _) => OCI_IMAGE_MEDIA_TYPE.to_owned(),
        };
        Ok(Self { bytes, media_type, digest })
    }

    /// The original bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// `mediaType` of the JSON, or else the content type.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// Computed over the bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The descriptor of this manifest.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor {
            media_type: self.media_type.clone(),
            digest: self.digest.clone(),
            size: self.bytes.len() as u64,
            foreign: false,
        }
    }

    /// Whether it is a referrer: it has a `subject`, as signatures have.
    pub fn has_subject(&self) -> bool {
        parse(&self.bytes).is_ok_and(|json| json.subject.is_some())
    }

    /// What it references.
    ///
    /// # Errors
    /// When a descriptor in it is malformed.
    pub fn contents(&self) -> Result<Contents, Error> {
        self.parse_contents().map_err(|fault| self.error(fault))
    }

    pub(in crate::registry) fn error(&self, fault: Fault) -> Error {
        Error::new(format!("reading the manifest {}", self.digest), fault)
    }

    fn parse_contents(&self) -> Result<Contents, Fault> {
        let json = parse(&self.bytes)?;
        match (json.manifests, json.config) {
            (Some(manifests), _) => Ok(Contents::Index { manifests: descriptors(manifests)? }),
            (None, Some(config)) => {
                let blobs = std::iter::once(config).chain(json.layers.unwrap_or_default());
                Ok(Contents::Image { blobs: descriptors(blobs)? })
            }
            (None, None) => Err(invalid_manifest("it has neither a config nor manifests")),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ManifestJson {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<DescriptorJson>,
    layers: Option<Vec<DescriptorJson>>,
    manifests: Option<Vec<DescriptorJson>>,
    subject: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DescriptorJson {
    media_type: String,
    digest: String,
    size: u64,
    urls: Option<Vec<String>>,
}

fn parse(bytes: &[u8]) -> Result<ManifestJson, Fault> {
    let json: ManifestJson = serde_json::from_slice(bytes).map_err(|error| invalid_manifest(&error.to_string()))?;
    if json.schema_version == Some(1) {
        let advice = "the manifest is of Docker's obsolete schema 1, which registries do not accept: push the image again \
                      with a current tool";
        return Err(Fault::Permanent(advice.to_owned()));
    }
    match (&json.manifests, &json.config) {
        // Clients would disagree on whether it is an image or an index (CVE-2021-41190).
        (Some(_), Some(_)) => Err(Fault::Permanent("the manifest is an image and an index at once".to_owned())),
        (None, None) => Err(invalid_manifest("it has neither a config nor manifests")),
        _ => Ok(json),
    }
}

/// Non-distributable layers: Docker's `foreign` and OCI's `nondistributable` ones. `urls` alone are only mirrors.
fn is_foreign(media_type: &str) -> bool {
    media_type.contains(".foreign.") || media_type.contains(".nondistributable.")
}

pub(in crate::registry) fn invalid_manifest(why: &str) -> Fault {
    Fault::InvalidResponse(format!("the content is no manifest: {why}"))
}

fn descriptors(json: impl IntoIterator<Item = DescriptorJson>) -> Result<Vec<Descriptor>, Fault> {
    let descriptors = json.into_iter().map(|json| {
        let digest = json
            .digest
            .parse()
            .map_err(|error| Fault::Permanent(format!("the manifest has an invalid descriptor: {error}")))?;
        let foreign = json.urls.is_some_and(|urls| !urls.is_empty()) && is_foreign(&json.media_type);
        Ok(Descriptor { media_type: json.media_type, digest, size: json.size, foreign })
    });
    descriptors.collect()
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
    fn lists_the_config_before_the_layers() {
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
    fn accepts_null_layers() {
        let json = json!({"config": {"mediaType": "c", "digest": hex(1), "size": 1}, "layers": null});
        let Contents::Image { blobs } = manifest(&json, None).unwrap().contents().unwrap() else { panic!("index") };
        assert_eq!(blobs.len(), 1);
    }

    #[test]
    fn media_type_comes_from_json_then_content_type_then_content() {
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
    fn digest_is_that_of_the_bytes() {
        let manifest = manifest(&json!({"manifests": []}), None).unwrap();
        assert_eq!(*manifest.digest(), Digest::sha256(manifest.bytes()));
        assert_eq!(manifest.descriptor().size, manifest.bytes().len() as u64);
    }

    #[test]
    fn rejects_what_is_no_manifest() {
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
