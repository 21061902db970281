//! Upload sessions: opened, kept for reuse, and cancelled if unused. Here because oci-client 0.18 leaves the session of a
//! refused mount at the registry.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Method, StatusCode};

use super::Repository;
use crate::{
    model::Digest,
    registry::{
        client::{
            Client,
            request::{Permit, Request, Target},
        },
        fault::Fault,
        host::Host,
        http::{
            request::{Endpoint, Payload},
            response::Response,
        },
    },
};

/// The timeout for cancelling a session.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(10);

/// An open upload session. Dropping it before the upload is complete cancels it at the registry, which would keep the
/// bytes for days.
pub(in crate::registry) struct UploadSession {
    repository: Repository,
    at: Endpoint,
    is_open: bool,
}

impl UploadSession {
    pub(in crate::registry) fn new(repository: Repository, at: Endpoint) -> Self {
        Self { repository, at, is_open: true }
    }

    /// The session that a refused mount of this blob left, or a new one.
    pub(in crate::registry) async fn reuse_or_open(repository: &Repository, digest: &Digest) -> Result<Self, Fault> {
        if let Some(kept) = repository.host.take_session(repository.name(), digest) {
            return Ok(Self::new(repository.clone(), kept));
        }
        let response = post_upload(repository, None, &[repository.push_scope()], Permit::Held).await?;
        match response.status() {
            StatusCode::ACCEPTED => {
                Ok(Self::new(repository.clone(), repository.client.transport().location(&response)?))
            }
            status if status.is_success() => {
                Err(Fault::InvalidResponse(format!("unexpected status {status} for the start of an upload")))
            }
            _ => Err(repository.fault(response).await),
        }
    }

    pub(in crate::registry) fn endpoint(&self) -> &Endpoint {
        &self.at
    }

    /// Cancels the session. Returns the status of the response.
    pub(in crate::registry) async fn cancel(mut self) -> Result<StatusCode, Fault> {
        let status = send_cancel(&self.repository, self.at.clone()).await?;
        self.close();
        Ok(status)
    }

    /// The session has ended at the registry: there is nothing to cancel.
    pub(in crate::registry) fn close(&mut self) {
        self.is_open = false;
    }
}

impl Drop for UploadSession {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let (repository, at) = (self.repository.clone(), self.at.clone());
        self.repository.client.spawn_background(async move {
            let status = tokio::time::timeout(CANCEL_TIMEOUT, send_cancel(&repository, at)).await;
            tracing::debug!(%repository, ?status, "cancelled an unfinished upload");
        });
    }
}

/// Returns the status of the response. Distribution wants the right to delete for this (its `app.go`), which not every token
/// service knows: it is requested only if the right to push is not enough.
async fn send_cancel(repository: &Repository, at: Endpoint) -> Result<StatusCode, Fault> {
    let send = async |at: Endpoint, scope: String| {
        let request = Request {
            method: Method::DELETE,
            target: Target::Endpoint(at),
            headers: HeaderMap::new(),
            scopes: &[scope],
            permit: Permit::Acquire,
            payload: Payload::Empty,
        };
        Ok::<_, Fault>(repository.client.send(&repository.host, request).await?.status())
    };
    match send(at.clone(), repository.push_scope()).await? {
        StatusCode::UNAUTHORIZED if repository.host.auth.uses_tokens() => {
            send(at, format!("{},delete", repository.push_scope())).await
        }
        status => Ok(status),
    }
}

/// Cancels all sessions of a host that are kept for reuse.
pub(in crate::registry) fn cancel_kept_sessions(client: &Arc<Client>, host: &Arc<Host>) {
    for (name, at) in host.drain_sessions() {
        let repository = Repository::at_host(Arc::clone(client), Arc::clone(host), &name);
        drop(UploadSession::new(repository, at));
    }
}

/// `POST /v2/<name>/blobs/uploads/`: opens a session, or mounts a blob.
pub(in crate::registry) async fn post_upload(
    repository: &Repository,
    query: Option<&str>,
    scopes: &[String],
    permit: Permit,
) -> Result<Response, Fault> {
    let path = format!("/v2/{}/blobs/uploads/", repository.name());
    let target = Target::Path(&path, query);
    let (headers, payload) = (HeaderMap::new(), Payload::Empty);
    let request = Request { method: Method::POST, target, headers, scopes, permit, payload };
    repository.client.send(&repository.host, request).await
}
