//! WebAssembly components in registries, in the format of the CNCF's TAG Runtime ("Wasm OCI Artifact layout", 2024):
//! an image manifest with a config of [`CONFIG`] and one layer of [`LAYER`], as `wkg` and `oras` read and write it.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use oci_client::manifest::OCI_IMAGE_MEDIA_TYPE;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{Backoff, Contents, Descriptor, Error, Manifest, Repository, Selector, UploadError, error::Fault};
use crate::model::Digest;

/// The media type of the config.
const CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// The media type of the component.
const LAYER: &str = "application/wasm";

/// What a component tells of itself in its config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentFacts {
    /// The interfaces that it exports, as `k8s-copycat:policy/skip@1.0.0`.
    pub exports: Vec<String>,
    /// Those that it imports.
    pub imports: Vec<String>,
}

/// Reads the component whose manifest has this digest; `longest` bytes at most.
///
/// # Errors
/// When the registry does not hand it out, when it is something else, or too large.
pub async fn fetch_component(repository: &Repository, digest: &Digest, longest: usize) -> Result<Bytes, Error> {
    let manifest = repository.manifest(Selector::Digest(digest)).await?;
    let refused = |why: String| Error::new(format!("reading the plugin {digest}"), Fault::Refused(why));
    let layer = match manifest.contents()? {
        Contents::Image { blobs } => sole_layer(blobs.get(1..).unwrap_or_default()).cloned(),
        Contents::Index { .. } => None,
    };
    let layer = layer.ok_or_else(|| {
        refused(format!("it is no WebAssembly artifact, which would be a manifest with one layer of type {LAYER}"))
    })?;
    if layer.size > longest as u64 {
        return Err(refused(format!("it has {} bytes, and may have {longest}; raise its moduleSize", layer.size)));
    }
    // The stream ends with an error where size or digest is another one.
    let _place = repository.host.places.one().await;
    let transfer = repository.blob(&layer).try_collect::<Vec<Bytes>>();
    let pieces = match repository.wire.timeout() {
        None => transfer.await?,
        // A start or a reload waits for it, and one that drips would bring something at any moment.
        Some(timeout) => tokio::time::timeout(timeout, transfer).await.map_err(|_| {
            let seconds = timeout.as_secs_f32();
            refused(format!(
                "it has not come whole after {seconds}s; raise requestTimeout if its registry is that slow"
            ))
        })??,
    };
    Ok(pieces.concat().into())
}

fn sole_layer(layers: &[Descriptor]) -> Option<&Descriptor> {
    match layers {
        [layer] if layer.media_type == LAYER => Some(layer),
        _ => None,
    }
}

/// Stores a component under a tag, and answers with the digest of its manifest. The same component gives the same
/// digest. `title` is the file's name for those who pull it as a file.
///
/// # Errors
/// When the registry does not take it, or has taken it and does not hand it out.
pub async fn push_component(
    repository: &Repository,
    tag: &str,
    (component, title): (Bytes, &str),
    facts: &ComponentFacts,
    backoff: Backoff,
) -> Result<Digest, Error> {
    let layer = descriptor(LAYER, &component);
    let config = json!({
        // Required by the format; a time would make another digest of the same component.
        "created": "1970-01-01T00:00:00Z",
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [layer.digest.to_string()],
        "component": { "exports": facts.exports, "imports": facts.imports },
    });
    let config: Bytes = config.to_string().into();
    let config_descriptor = descriptor(CONFIG, &config);
    let written = |descriptor: &Descriptor, annotations: Value| {
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
        "config": written(&config_descriptor, json!({})),
        "layers": [written(&layer, json!({ "org.opencontainers.image.title": title }))],
    });
    let manifest = Manifest::new(manifest.to_string().into(), None)?;
    upload(repository, &layer, &component, backoff).await?;
    upload(repository, &config_descriptor, &config, backoff).await?;
    repository.put_manifest(Selector::Tag(tag), &manifest).await?;
    let digest = manifest.digest().clone();
    let lost = |why: String| Error::new(format!("looking whether {repository}:{tag} has arrived"), Fault::Refused(why));
    match repository.head(Selector::Tag(tag)).await? {
        Some(arrived) if arrived == digest => {}
        Some(arrived) => return Err(lost(format!("after the push the tag has digest {arrived} instead of {digest}"))),
        None => return Err(lost("after the push it is not there".to_owned())),
    }
    // Many say that they have what they have not: who is to use it asks for all of it, and so does this.
    if fetch_component(repository, &digest, component.len()).await? != component {
        return Err(lost("after the push another component is there".to_owned()));
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
            let _place = repository.host.places.one().await;
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
