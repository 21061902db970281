//! Mounts blobs from other repositories of the same registry. Here because oci-client 0.18 requests no permission for the
//! source repository.

use std::sync::Arc;

use http::StatusCode;

use super::{
    Repository, check_announced, query,
    upload_session::{UploadSession, post_upload},
};
use crate::{
    model::Digest,
    registry::{client::request::Permit, error::Error, fault::Fault},
};

impl Repository {
    /// Mounts a blob from the repository `from`. False if the registry does not, because it can't or because the
    /// credentials do not allow it; it may then have opened an upload session, which is kept for the upload.
    ///
    /// # Errors
    /// When the registry can't be reached.
    pub async fn mount(&self, digest: &Digest, from: &str) -> Result<bool, Error> {
        let scopes = [self.push_scope(), format!("repository:{from}:pull")];
        let query = query(&[("mount", &digest.to_string()), ("from", from)]);
        let mounted = self.client.retry(&self.host, || self.try_mount(digest, from, &query, &scopes)).await;
        mounted.map_err(|fault| self.blob_error("mounting", digest, fault))
    }

    async fn try_mount(&self, digest: &Digest, from: &str, query: &str, scopes: &[String]) -> Result<bool, Fault> {
        let response = post_upload(self, Some(query), scopes, Permit::Acquire).await?;
        match response.status() {
            StatusCode::CREATED => check_announced(&response, digest).map(|()| true),
            StatusCode::ACCEPTED => {
                if let Ok(session) = self.client.transport().location(&response) {
                    for (name, unused) in self.host.keep_session(self.name(), digest, session) {
                        let repository = Self::at_host(Arc::clone(&self.client), Arc::clone(&self.host), &name);
                        drop(UploadSession::new(repository, unused));
                    }
                }
                Ok(false)
            }
            status if status.is_success() => {
                Err(Fault::InvalidResponse(format!("unexpected status {status} for a mount")))
            }
            // A mount only saves work: if something is wrong, the upload that follows reports it.
            status if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS => {
                tracing::debug!(repository = %self, %digest, from, status = status.as_u16(), "mount refused");
                Ok(false)
            }
            _ => Err(self.fault(response).await),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{
        Registries,
        testing::{RecordedRequest, Reply, Server, descriptor, settings, single_chunk},
    };

    /// Starts uploads at that location, and accepts what is put there.
    fn accepting_uploads(location: &'static str) -> impl Fn(&RecordedRequest) -> Reply + Send + Sync {
        move |request| match request.method.as_str() {
            "POST" => Reply::new(202).header("Location", location),
            _ => Reply::new(201),
        }
    }

    #[tokio::test]
    async fn mounts_with_one_request() {
        let server = Server::start(|_| Reply::new(201)).await;
        let digest = Digest::sha256(b"abc");
        assert!(server.repository().mount(&digest, "base/os").await.unwrap());
        let digest = digest.to_string().replace(':', "%3A");
        assert_eq!(server.request_lines(), [format!("POST /v2/team/app/blobs/uploads/?mount={digest}&from=base%2Fos")]);
    }

    #[tokio::test]
    async fn reuses_the_session_of_a_refused_mount_once() {
        let server = Server::start(accepting_uploads("/up")).await;
        let repository = server.repository();
        assert!(!repository.mount(&descriptor(b"abc").digest, "base").await.unwrap());
        for _ in 0..2 {
            repository.upload(&descriptor(b"abc"), single_chunk(b"abc"), |_| ()).await.unwrap();
        }
        let methods: Vec<_> = server.requests().into_iter().map(|request| request.method).collect();
        assert_eq!(methods, ["POST", "PUT", "POST", "PUT"]);
    }

    #[tokio::test]
    async fn cancels_unused_sessions_of_refused_mounts() {
        let server = Server::start(|request| match request.method.as_str() {
            "POST" => Reply::new(202).header("Location", format!("/up/{}", request.target.len())),
            _ => Reply::new(204),
        })
        .await;
        let registries = Registries::new(settings(), &[], 64).unwrap();
        let repository = registries.repository(&server.address.to_string(), "team/app");
        for from in ["a", "base"] {
            assert!(!repository.mount(&descriptor(b"abc").digest, from).await.unwrap());
        }
        registries.cancel_unused_uploads();
        registries.background_finished().await;
        let mut cancelled: Vec<_> =
            server.request_lines().into_iter().filter(|line| line.starts_with("DELETE")).collect();
        cancelled.sort();
        cancelled.dedup();
        assert_eq!(cancelled.len(), 2, "{:?}", server.request_lines());
    }

    #[tokio::test]
    async fn a_forbidden_mount_is_no_error_but_a_failing_registry_is() {
        let server = Server::start(|_| Reply::new(403)).await;
        assert!(!server.repository().mount(&Digest::sha256(b"abc"), "base").await.unwrap());
        let other = Digest::sha256(b"other");
        for reply in [Reply::new(503), Reply::new(429), Reply::new(201).header("Docker-Content-Digest", other)] {
            let server = Server::start(move |_| reply.clone()).await;
            assert!(server.repository().mount(&Digest::sha256(b"abc"), "base").await.is_err());
        }
    }
}
