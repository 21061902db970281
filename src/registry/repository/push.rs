//! Uploads blobs. Here because oci-client 0.18 sends them in chunks of at most 4 MiB, or does not verify their end.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{Stream, StreamExt, future, stream::Peekable};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::CONTENT_TYPE};

use super::{Repository, check_announced, pull::BlobStream, upload_session::UploadSession};
use crate::{
    model::Retry,
    registry::{
        client::request::{Permit, Request, Target},
        error::{Error, UploadError},
        fault::Fault,
        http::{request::Payload, response::Response, stall::StallTimer},
        manifest::Descriptor,
    },
};

impl Repository {
    /// Uploads a blob in one streamed request. The caller must hold a permit, such as a
    /// [`TransferPermit`](crate::registry::TransferPermit). `progress` is called with the length of each chunk given to
    /// the connection. Not retried, since the stream can be read once only: the caller retries.
    ///
    /// # Errors
    /// Which side failed, and why.
    pub async fn upload(
        &self,
        descriptor: &Descriptor,
        body: BlobStream,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<(), UploadError> {
        let mut source = body.peekable();
        let digest = &descriptor.digest;
        let target = |fault| UploadError::Target(self.blob_error("writing", digest, fault));
        if descriptor.size == 0 {
            self.expect_empty(descriptor, &mut source).await?;
        }
        // Both sides are contacted at the same time.
        let first_chunk = async {
            Pin::new(&mut source).peek().await;
            Ok(())
        };
        let session = UploadSession::reuse_or_open(self, digest);
        let (mut session, ()) = future::try_join(session, first_chunk).await.map_err(target)?;
        if let Some(Err(error)) = Pin::new(&mut source).next_if(Result::is_err).await {
            return Err(UploadError::Source(error));
        }
        let source_error = Arc::new(Mutex::new(None));
        let stall_timer = StallTimer::new(self.client.min_rate());
        let body = UploadBody {
            source,
            sent: 0,
            repository: self.clone(),
            descriptor: descriptor.clone(),
            stall_timer: Arc::clone(&stall_timer),
            progress,
            source_error: Arc::clone(&source_error),
        };
        let payload = match descriptor.size {
            0 => Payload::Empty,
            length => Payload::Stream { body: reqwest::Body::wrap_stream(body), length, stall_timer },
        };
        let result = self.put_blob(&session, descriptor, payload).await;
        if let Some(error) = source_error.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(UploadError::Source(error));
        }
        let response = result.map_err(target)?;
        if has_ended(response.status()) {
            session.close();
        }
        self.check_upload(response, descriptor).await.map_err(target)
    }

    /// The body of an empty upload is never polled, so an error of its source has to be found before.
    async fn expect_empty(
        &self,
        descriptor: &Descriptor,
        source: &mut Peekable<BlobStream>,
    ) -> Result<(), UploadError> {
        while let Some(chunk) = source.next().await {
            let chunk = chunk.map_err(UploadError::Source)?;
            if !chunk.is_empty() {
                return Err(UploadError::Source(self.wrong_size(descriptor, chunk.len() as u64)));
            }
        }
        Ok(())
    }

    async fn put_blob(
        &self,
        session: &UploadSession,
        descriptor: &Descriptor,
        payload: Payload,
    ) -> Result<Response, Fault> {
        let mut to = session.endpoint().clone();
        to.url.query_pairs_mut().append_pair("digest", &descriptor.digest.to_string());
        let request = Request {
            method: Method::PUT,
            target: Target::Endpoint(to),
            headers: HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))]),
            scopes: &[self.push_scope()],
            permit: Permit::Held,
            payload,
        };
        self.client.send(&self.host, request).await
    }

    async fn check_upload(&self, response: Response, descriptor: &Descriptor) -> Result<(), Fault> {
        match response.status() {
            StatusCode::OK if response.is_html_page() => {
                Err(Fault::InvalidResponse("the response to the upload is a web page".to_owned()))
            }
            StatusCode::OK | StatusCode::CREATED | StatusCode::NO_CONTENT => {
                check_announced(&response, &descriptor.digest)
            }
            status if status.is_success() => Err(Fault::InvalidResponse(format!(
                "unexpected status {status} for a whole blob: the registry has not stored it"
            ))),
            // The session is lost; a retry opens another one.
            StatusCode::NOT_FOUND => Err(self.fault(response).await.with_retry(Retry::Soon)),
            _ => Err(self.fault(response).await),
        }
    }
}

/// Whether the registry has closed the session, or must be spared the request that cancels it.
fn has_ended(status: StatusCode) -> bool {
    status.is_success()
        || matches!(
            status,
            StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::NOT_FOUND
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::SERVICE_UNAVAILABLE
        )
}

/// A request body that counts its bytes, and keeps the error of its source.
struct UploadBody<P> {
    source: Peekable<BlobStream>,
    sent: u64,
    repository: Repository,
    descriptor: Descriptor,
    stall_timer: Arc<StallTimer>,
    progress: P,
    source_error: Arc<Mutex<Option<Error>>>,
}

impl<P> UploadBody<P> {
    fn abort(&self, error: Error) -> io::Error {
        *self.source_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        io::Error::other("the source of the blob failed")
    }

    fn wrong_size(&self) -> Error {
        self.repository.wrong_size(&self.descriptor, self.sent)
    }
}

// Nothing in it is pinned but the source, which is boxed.
impl<P> Unpin for UploadBody<P> {}

impl<P: Fn(u64)> Stream for UploadBody<P> {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        self.stall_timer.chunk_requested();
        let chunk = match self.source.poll_next_unpin(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(chunk) => chunk,
        };
        let length = chunk.as_ref().and_then(|chunk| chunk.as_ref().ok()).map_or(0, Bytes::len);
        self.stall_timer.chunk_sent(length as u64);
        let size = self.descriptor.size;
        Poll::Ready(match chunk {
            Some(Ok(bytes)) => {
                let length = bytes.len() as u64;
                self.sent += length;
                if self.sent > size {
                    Some(Err(self.abort(self.wrong_size())))
                } else {
                    (self.progress)(length);
                    Some(Ok(bytes))
                }
            }
            Some(Err(error)) => Some(Err(self.abort(error))),
            None if self.sent < size => Some(Err(self.abort(self.wrong_size()))),
            None => None,
        })
    }
}

#[cfg(test)]
mod tests;
