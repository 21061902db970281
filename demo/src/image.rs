//! Images with configurations, manifests and indexes, in the OCI and the Docker format.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::{Layer, digest};

/// The media types of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OCI image specification 1.1.
    Oci,
    /// Docker image manifest version 2, schema 2, and its manifest list.
    Docker,
}

impl Format {
    fn index(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.index.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    fn manifest(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
            Self::Docker => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    fn config(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::Docker => "application/vnd.docker.container.image.v1+json",
        }
    }

    fn layer(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Docker => "application/vnd.docker.image.rootfs.diff.tar.gzip",
        }
    }
}

/// A configuration or a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// `sha256:…`
    pub digest: String,
    /// Its bytes.
    pub bytes: Bytes,
}

/// A manifest or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The media type, for `Content-Type`.
    pub media_type: &'static str,
    /// `sha256:…`
    pub digest: String,
    /// Its bytes.
    pub bytes: Bytes,
}

impl Manifest {
    fn new(media_type: &'static str, content: &Value) -> Self {
        let bytes = Bytes::from(content.to_string());
        Self { media_type, digest: digest(&bytes), bytes }
    }
}

/// A complete image, for one platform or an index of several.
#[derive(Clone, Debug)]
pub struct Image {
    root: Manifest,
    children: Vec<Manifest>,
    blobs: Vec<Blob>,
    architecture: Option<String>,
}

impl Image {
    /// An image for Linux on `architecture` with these layers, the base layer first.
    pub fn single(format: Format, architecture: &str, layers: &[Layer]) -> Self {
        let diff_ids: Vec<_> = layers.iter().map(|layer| &layer.diff_id).collect();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = blob(config.to_string().into());
        let mut blobs: Vec<Blob> =
            layers.iter().map(|layer| Blob { digest: layer.digest.clone(), bytes: layer.bytes.clone() }).collect();
        let layers: Vec<_> =
            blobs.iter().map(|blob| descriptor(format.layer(), &blob.digest, blob.bytes.len())).collect();
        let root = Manifest::new(
            format.manifest(),
            &json!({
                "schemaVersion": 2,
                "mediaType": format.manifest(),
                "config": descriptor(format.config(), &config.digest, config.bytes.len()),
                "layers": layers,
            }),
        );
        blobs.insert(0, config);
        Self { root, children: Vec::new(), blobs, architecture: Some(architecture.to_owned()) }
    }

    /// An index of `images`, each for one platform.
    pub fn index(format: Format, images: &[Self]) -> Self {
        let manifests: Vec<_> = images
            .iter()
            .map(|image| {
                json!({
                    "mediaType": image.root.media_type,
                    "digest": image.root.digest,
                    "size": image.root.bytes.len(),
                    "platform": { "architecture": image.architecture, "os": "linux" },
                })
            })
            .collect();
        let mut blobs: Vec<Blob> = Vec::new();
        for blob in images.iter().flat_map(|image| &image.blobs) {
            if !blobs.contains(blob) {
                blobs.push(blob.clone());
            }
        }
        Self {
            root: Manifest::new(
                format.index(),
                &json!({ "schemaVersion": 2, "mediaType": format.index(), "manifests": manifests }),
            ),
            children: images.iter().map(|image| image.root.clone()).collect(),
            blobs,
            architecture: None,
        }
    }

    /// An artifact of this type, such as a signature or an SBOM, that refers to `subject`.
    pub fn artifact(artifact_type: &str, content: &str, subject: Option<&Manifest>) -> Self {
        let empty = blob("{}".into());
        let content = blob(content.to_owned().into());
        let mut manifest = json!({
            "schemaVersion": 2,
            "mediaType": Format::Oci.manifest(),
            "artifactType": artifact_type,
            "config": descriptor("application/vnd.oci.empty.v1+json", &empty.digest, empty.bytes.len()),
            "layers": [descriptor(artifact_type, &content.digest, content.bytes.len())],
            "annotations": { "org.opencontainers.image.created": "2026-01-01T00:00:00Z" },
        });
        if let (Some(subject), Some(fields)) = (subject, manifest.as_object_mut()) {
            let subject = descriptor(subject.media_type, &subject.digest, subject.bytes.len());
            fields.insert("subject".to_owned(), subject);
        }
        let root = Manifest::new(Format::Oci.manifest(), &manifest);
        Self { root, children: Vec::new(), blobs: vec![empty, content], architecture: None }
    }

    /// The digest of [`Self::root`].
    pub fn digest(&self) -> &str {
        &self.root.digest
    }

    /// The manifest or index that a tag points to.
    pub fn root(&self) -> &Manifest {
        &self.root
    }

    /// All manifests, children before the index.
    pub fn manifests(&self) -> impl Iterator<Item = &Manifest> {
        self.children.iter().chain([&self.root])
    }

    /// All configurations and layers, each once.
    pub fn blobs(&self) -> &[Blob] {
        &self.blobs
    }
}

fn blob(bytes: Bytes) -> Blob {
    Blob { digest: digest(&bytes), bytes }
}

fn descriptor(media_type: &str, digest: &str, size: usize) -> Value {
    json!({ "mediaType": media_type, "digest": digest, "size": size })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index(format: Format) -> Image {
        let base = Layer::files(&[("base", "shared")]).unwrap();
        let images = ["amd64", "arm64"].map(|architecture| {
            let own = Layer::files(&[("app", architecture)]).unwrap();
            Image::single(format, architecture, &[base.clone(), own])
        });
        Image::index(format, &images)
    }

    #[test]
    fn an_index_references_stored_content_by_digest_and_size() {
        for format in [Format::Oci, Format::Docker] {
            let image = index(format);
            let stored = |entry: &Value| {
                let digest = entry["digest"].as_str().unwrap();
                let size = entry["size"].as_u64().unwrap() as usize;
                image.manifests().any(|m| m.digest == digest && m.bytes.len() == size)
                    || image.blobs().iter().any(|b| b.digest == digest && b.bytes.len() == size)
            };
            let mut references = 0;
            for manifest in image.manifests() {
                let content: Value = serde_json::from_slice(&manifest.bytes).unwrap();
                assert_eq!(content["mediaType"], manifest.media_type);
                let lists = ["manifests", "layers"].into_iter().filter_map(|list| content[list].as_array());
                for entry in lists.flatten().chain(content.get("config")) {
                    assert!(stored(entry), "{entry}");
                    references += 1;
                }
            }
            assert_eq!(references, 8, "two children, each with a configuration and two layers");
            assert_eq!(image.blobs().len(), 5, "the base layer is stored once");
            assert_eq!(image.manifests().last(), Some(image.root()));
        }
    }

    #[test]
    fn images_are_deterministic_and_differ_by_format() {
        assert_eq!(index(Format::Oci).digest(), index(Format::Oci).digest());
        assert_ne!(index(Format::Oci).digest(), index(Format::Docker).digest());
    }
}
