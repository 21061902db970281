//! WebAssembly components in registries, in the format of the CNCF's TAG Runtime ("Wasm OCI Artifact layout", 2024): an
//! image manifest with a config of [`CONFIG`] and one layer of [`LAYER`], as `wkg` and `oras` read and write it.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use oci_client::manifest::OCI_IMAGE_MEDIA_TYPE;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    error::{Error, UploadError},
    fault::Fault,
    http::retry::Backoff,
    manifest::{Contents, Descriptor, Manifest, TagOrDigest},
    repository::Repository,
};
use crate::model::Digest;

/// The media type of the config.
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// The media type of the component.
const LAYER: &str = "application/wasm";

/// The interfaces of a component, for its config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentInterfaces {
    /// Exported ones, such as `k8s-copycat:policy/skip@1.0.0`.
    pub exports: Vec<String>,
    /// Imported ones.
    pub imports: Vec<String>,
}

/// Pulls the component whose manifest has this digest, of at most `max_size` bytes.
///
/// # Errors
/// When the registry does not return it, when it is no component, or too large.
pub async fn fetch_component(repository: &Repository, digest: &Digest, max_size: usize) -> Result<Bytes, Error> {
    let manifest = repository.manifest(TagOrDigest::Digest(digest)).await?;
    let permanent = |reason: String| Error::new(format!("reading the plugin {digest}"), Fault::Permanent(reason));
    let layer = match manifest.contents()? {
        Contents::Image { blobs } => only_layer(blobs.get(1..).unwrap_or_default()).cloned(),
        Contents::Index { .. } => None,
    };
    let layer = layer.ok_or_else(|| {
        permanent(format!("it is no WebAssembly artifact, that is, a manifest with a single layer of type {LAYER}"))
    })?;
    if layer.size > max_size as u64 {
        return Err(permanent(format!(
            "it has {} bytes, and {max_size} are allowed: raise its moduleSize",
            layer.size
        )));
    }
    let _permit = repository.host.requests.acquire().await;
    let download = repository.blob(&layer).try_collect::<Vec<Bytes>>();
    let chunks = match repository.client.timeout() {
        None => download.await?,
        // A start or a reload waits for it, so the timeout bounds the whole download.
        Some(timeout) => tokio::time::timeout(timeout, download).await.map_err(|_| {
            let seconds = timeout.as_secs_f32();
            permanent(format!(
                "the download was incomplete after {seconds}s; raise requestTimeout if its registry is slow"
            ))
        })??,
    };
    Ok(chunks.concat().into())
}

fn only_layer(layers: &[Descriptor]) -> Option<&Descriptor> {
    match layers {
        [layer] if layer.media_type == LAYER => Some(layer),
        _ => None,
    }
}

/// Pushes a component under a tag, and returns the digest of its manifest. The same component has the same digest.
/// `title` is the file name for clients that pull it as a file.
///
/// # Errors
/// When the registry rejects it, or does not return it afterwards.
pub async fn push_component(
    repository: &Repository,
    tag: &str,
    (component, title): (Bytes, &str),
    interfaces: &ComponentInterfaces,
    backoff: Backoff,
) -> Result<Digest, Error> {
    let layer = descriptor(LAYER, &component);
    let config = json!({
        // Required by the format. The current time would give the same component another digest each time.
        "created": "1970-01-01T00:00:00Z",
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [layer.digest.to_string()],
        "component": { "exports": interfaces.exports, "imports": interfaces.imports },
    });
    let config: Bytes = config.to_string().into();
    let config_descriptor = descriptor(CONFIG, &config);
    let to_json = |descriptor: &Descriptor, annotations: Value| {
        json!({
            "mediaType": descriptor.media_type,
            "digest": descriptor.digest.to_string(),
            "size": descriptor.size,
            "annotations": annotations,
        })
    };
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_IMAGE_MEDIA_TYPE,
        "config": to_json(&config_descriptor, json!({})),
        "layers": [to_json(&layer, json!({ "org.opencontainers.image.title": title }))],
    });
    let manifest = Manifest::new(manifest.to_string().into(), None)?;
    upload(repository, &layer, &component, backoff).await?;
    upload(repository, &config_descriptor, &config, backoff).await?;
    repository.put_manifest(TagOrDigest::Tag(tag), &manifest).await?;
    let digest = manifest.digest().clone();
    let failed = |reason: String| Error::new(format!("verifying {repository}:{tag}"), Fault::Permanent(reason));
    match repository.head(TagOrDigest::Tag(tag)).await? {
        Some(found) if found == digest => {}
        Some(found) => {
            return Err(failed(format!("after the push the tag has the digest {found} instead of {digest}")));
        }
        None => return Err(failed("after the push the tag does not exist".to_owned())),
    }
    // Many registries announce blobs that they don't have, so it is pulled as its users would.
    if fetch_component(repository, &digest, component.len()).await? != component {
        return Err(failed("after the push the registry returns another component".to_owned()));
    }
    Ok(digest)
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Descriptor {
    let (media_type, size) = (media_type.to_owned(), bytes.len() as u64);
    Descriptor { media_type, digest: Digest::sha256(bytes), size, foreign: false }
}

async fn upload(repository: &Repository, blob: &Descriptor, bytes: &Bytes, backoff: Backoff) -> Result<(), Error> {
    if repository.has_blob(&blob.digest).await? {
        return Ok(());
    }
    let mut failures = 0;
    loop {
        let body = stream::iter([Ok(bytes.clone())]).boxed();
        let uploaded = {
            let _permit = repository.host.requests.acquire().await;
            repository.upload(blob, body, |_| {}).await
        };
        let error = match uploaded {
            Ok(()) => return Ok(()),
            Err(UploadError::Source(error) | UploadError::Target(error)) => error,
        };
        failures += 1;
        let Some(pause) = backoff.pause(failures, error.retry()) else { return Err(error) };
        sleep(pause).await;
    }
}
