//! Manifests as bytes, and the few things in them that a copy has to know.

use std::fmt;

use bytes::Bytes;

use super::Error;
use crate::model::Digest;

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
    /// Whether the content is said to be elsewhere (`urls`), so that registries need not have it.
    pub foreign: bool,
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
        /// In order, each with its platform unread.
        manifests: Vec<Descriptor>,
    },
}

impl Manifest {
    /// The bytes as they came.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// `mediaType` of the JSON; where it has none, the `Content-Type` it came with.
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

    /// What it names.
    ///
    /// # Errors
    /// When it is neither an image nor an index, or a descriptor in it is malformed.
    pub fn contents(&self) -> Result<Contents, Error> {
        unimplemented!()
    }
}
