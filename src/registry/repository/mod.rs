//! A repository of a registry: the operations of the distribution specification that a copy needs.

pub(super) mod manifests;
pub(super) mod mount;
pub(super) mod probe;
pub(super) mod pull;
pub(super) mod push;
pub(super) mod referrers;
pub(super) mod upload_session;

use std::{fmt, sync::Arc};

use http::{HeaderMap, Method};
use url::form_urlencoded;

use crate::{
    model::Digest,
    registry::{
        auth::account::Account,
        client::{
            Client,
            request::{Permit, Request, Target},
        },
        error::Error,
        fault::Fault,
        host::Host,
        http::{request::Payload, response::Response},
        manifest::{Descriptor, TagOrDigest},
    },
};

/// A repository of a registry; a clone is cheap.
#[derive(Clone)]
pub struct Repository {
    pub(in crate::registry) client: Arc<Client>,
    pub(in crate::registry) host: Arc<Host>,
    /// The path only.
    name: Arc<str>,
    /// Registry and path.
    display: Arc<str>,
}

/// Registry and path.
impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.display)
    }
}

impl Repository {
    pub(in crate::registry) fn new(client: Arc<Client>, registry: &str, name: &str) -> Self {
        let host = client.host(registry, name);
        Self::with_host(client, host, registry, name)
    }

    pub(in crate::registry) fn with_host(client: Arc<Client>, host: Arc<Host>, registry: &str, name: &str) -> Self {
        Self { client, host, name: name.into(), display: format!("{registry}/{name}").into() }
    }

    /// As whom its registry is accessed.
    pub fn account(&self) -> Account {
        self.host.auth.account()
    }

    /// The questions that it can be asked.
    pub fn probe(&self) -> probe::Probe {
        probe::Probe::new(self.clone())
    }

    pub(in crate::registry) fn at_host(client: Arc<Client>, host: Arc<Host>, name: &str) -> Self {
        let display = format!("{}/{name}", host.authority()).into();
        Self { client, host, name: name.into(), display }
    }

    /// Notes that the token service rejected the login, for all repositories that are read with it.
    pub fn set_login_rejected(&self) {
        self.host.set_login_rejected();
    }

    /// Whether the token service rejected the login within the last ten minutes.
    pub fn is_login_rejected(&self) -> bool {
        self.host.is_login_rejected()
    }

    /// Whether its registry responds, with whatever status below 500: one request.
    pub async fn is_up(&self) -> bool {
        let target = Target::Path("/v2/", None);
        let (headers, payload) = (HeaderMap::new(), Payload::Empty);
        let request = Request { method: Method::GET, target, headers, scopes: &[], permit: Permit::Acquire, payload };
        let response = self.client.send(&self.host, request).await;
        response.is_ok_and(|response| !response.status().is_server_error())
    }

    /// The path only.
    pub(in crate::registry) fn name(&self) -> &str {
        &self.name
    }

    /// The fault that an error response means.
    async fn fault(&self, response: Response) -> Fault {
        let with_login = self.host.auth.has_login() && self.host.is_origin_of(response.url());
        self.host.auth.explain(response.into_fault(with_login).await)
    }

    fn pull_scope(&self) -> String {
        format!("repository:{}:pull", self.name)
    }

    fn push_scope(&self) -> String {
        format!("repository:{}:pull,push", self.name)
    }

    fn blob_path(&self, digest: &Digest) -> String {
        format!("/v2/{}/blobs/{digest}", self.name)
    }

    fn manifest_path(&self, selector: TagOrDigest<'_>) -> String {
        format!("/v2/{}/manifests/{selector}", self.name)
    }

    fn manifest_error(&self, operation: &str, selector: TagOrDigest<'_>, fault: Fault) -> Error {
        let separator = match selector {
            TagOrDigest::Tag(_) => ':',
            TagOrDigest::Digest(_) => '@',
        };
        Error::new(format!("{operation} {self}{separator}{selector}"), fault)
    }

    pub(in crate::registry) fn blob_error(&self, operation: &str, digest: &Digest, fault: Fault) -> Error {
        Error::new(format!("{operation} the blob {digest} of {self}"), fault)
    }

    /// The source of an upload has another size than its descriptor.
    fn wrong_size(&self, descriptor: &Descriptor, found: u64) -> Error {
        let fault =
            Fault::InvalidResponse(format!("received {found} bytes, but its descriptor says {}", descriptor.size));
        self.blob_error("reading for", &descriptor.digest, fault)
    }
}

/// The digest that a registry announces must be the expected one; one of another algorithm can't be compared.
fn check_announced(response: &Response, expected: &Digest) -> Result<(), Fault> {
    match response.digest() {
        Some(found) if found.algorithm() == expected.algorithm() && found != *expected => {
            Err(Fault::DigestMismatch { expected: expected.clone(), found })
        }
        _ => Ok(()),
    }
}

/// `key=value&…`, percent-encoded.
fn query(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}
