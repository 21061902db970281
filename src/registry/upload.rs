//! Writes blobs. Here because oci-client 0.18 sends them in pieces of at most 4 MiB or without looking at their end,
//! leaves the session of a refused mount behind, and asks for no right to mount.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use url::Url;

use super::{
    BlobStream, Descriptor, Error, Repository, UploadError,
    answer::Response,
    error::Fault,
    patience::Patience,
    repository::{query, stored_as},
    wire::{Payload, Request, To},
};
use crate::model::Digest;

/// See [`Repository::mount`]. The session of a refused mount is kept for the upload that follows.
pub(super) async fn mount(to: &Repository, digest: &Digest, from: &str) -> Result<bool, Fault> {
    let scopes = [to.push_scope(), format!("repository:{from}:pull")];
    let query = query(&[("mount", &digest.to_string()), ("from", from)]);
    let asked = || async {
        let response = start(to, Some(&query), &scopes).await?;
        match response.status() {
            StatusCode::CREATED => stored_as(&response, digest).map(|()| true),
            StatusCode::ACCEPTED => {
                if let Ok(session) = to.wire.location(response.url(), response.headers()) {
                    to.host.keep_session(&to.name, digest, session);
                }
                Ok(false)
            }
            // A mount saves work, no more: an upload tells whether something is wrong.
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                tracing::debug!(repository = %to, %digest, from, status = status.as_u16(), "mount refused");
                Ok(false)
            }
            _ => Err(to.refusal(response).await),
        }
    };
    to.wire.backoff().run(asked).await
}

/// See [`Repository::upload`].
pub(super) async fn upload(
    to: &Repository,
    descriptor: &Descriptor,
    mut body: BlobStream,
    progress: impl Fn(u64) + Send + Sync + 'static,
) -> Result<(), UploadError> {
    let digest = &descriptor.digest;
    let target = |fault| UploadError::Target(to.blob_error("writing", digest, fault));
    if descriptor.size == 0 {
        // An empty body is never asked for, so what its source has to say is heard before.
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(UploadError::Source)?;
            if !piece.is_empty() {
                return Err(UploadError::Source(wrong_size(to, descriptor, piece.len() as u64)));
            }
        }
    }
    let mut session = match to.host.take_session(&to.name, digest) {
        Some(session) => session,
        None => open_session(to).await.map_err(target)?,
    };
    session.query_pairs_mut().append_pair("digest", &digest.to_string());

    let patience = Arc::new(Patience::new());
    let broke = Arc::new(Mutex::new(None));
    let outgoing = Outgoing {
        source: body,
        sent: 0,
        repository: to.clone(),
        descriptor: descriptor.clone(),
        patience: Arc::clone(&patience),
        progress,
        broke: Arc::clone(&broke),
    };
    let payload = match descriptor.size {
        0 => Payload::Empty,
        length => Payload::Stream { body: reqwest::Body::wrap_stream(outgoing), length, patience },
    };
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))]);
    let scopes = [to.push_scope()];
    let request = Request { method: Method::PUT, to: To::Url(session), headers, scopes: &scopes, payload };
    let answer = to.wire.send(&to.host, request).await;
    if let Some(error) = broke.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(UploadError::Source(error));
    }
    let response = answer.map_err(target)?;
    match response.status() {
        StatusCode::OK | StatusCode::CREATED | StatusCode::NO_CONTENT => stored_as(&response, digest).map_err(target),
        status if status.is_success() => {
            let fault = Fault::Malformed(format!("it answered {status} to a whole blob, so it has not stored it"));
            Err(target(fault))
        }
        _ => Err(target(to.refusal(response).await)),
    }
}

async fn open_session(to: &Repository) -> Result<Url, Fault> {
    let scopes = [to.push_scope()];
    let opened = || async {
        let response = start(to, None, &scopes).await?;
        match response.status() {
            StatusCode::ACCEPTED => to.wire.location(response.url(), response.headers()),
            status if status.is_success() => {
                Err(Fault::Malformed(format!("it answered {status} where an upload was to begin")))
            }
            _ => Err(to.refusal(response).await),
        }
    };
    to.wire.backoff().run(opened).await
}

async fn start(to: &Repository, query: Option<&str>, scopes: &[String]) -> Result<Response, Fault> {
    let path = format!("/v2/{}/blobs/uploads/", to.name);
    let to_path = To::Path(&path, query);
    let request =
        Request { method: Method::POST, to: to_path, headers: HeaderMap::new(), scopes, payload: Payload::Empty };
    to.wire.send(&to.host, request).await
}

fn wrong_size(to: &Repository, descriptor: &Descriptor, found: u64) -> Error {
    let fault = Fault::Malformed(format!("{found} bytes came where its manifest says {}", descriptor.size));
    to.blob_error("reading for", &descriptor.digest, fault)
}

/// A body that counts, and remembers why it ended early.
struct Outgoing<P> {
    source: BlobStream,
    sent: u64,
    repository: Repository,
    descriptor: Descriptor,
    patience: Arc<Patience>,
    progress: P,
    broke: Arc<Mutex<Option<Error>>>,
}

impl<P> Outgoing<P> {
    fn end(&self, error: Error) -> io::Error {
        *self.broke.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        io::Error::other("the blob's source broke")
    }
}

// Nothing in it is pinned but the source, which is pinned in its box.
impl<P> Unpin for Outgoing<P> {}

impl<P: Fn(u64)> Stream for Outgoing<P> {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        let piece = match self.source.as_mut().poll_next(context) {
            Poll::Pending => {
                self.patience.source_is_asked();
                return Poll::Pending;
            }
            Poll::Ready(piece) => piece,
        };
        self.patience.receiver_is_handed();
        let size = self.descriptor.size;
        Poll::Ready(match piece {
            Some(Ok(bytes)) => {
                let length = bytes.len() as u64;
                self.sent += length;
                if self.sent > size {
                    Some(Err(self.end(wrong_size(&self.repository, &self.descriptor, self.sent))))
                } else {
                    (self.progress)(length);
                    Some(Ok(bytes))
                }
            }
            Some(Err(error)) => Some(Err(self.end(error))),
            None if self.sent < size => Some(Err(self.end(wrong_size(&self.repository, &self.descriptor, self.sent)))),
            None => None,
        })
    }
}
