//! HTTP clients, and with them the connections.

use std::{
    sync::{Once, OnceLock},
    time::Duration,
};

use reqwest::{Certificate, Client, ClientBuilder, Identity};
use url::Url;

use super::{error::root_cause, host::is_loopback};

/// Whatever the user says: longer than this a TCP connection never takes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// What is special about TLS with some hosts.
#[derive(Default)]
pub(super) struct Tls {
    /// Who may vouch for them besides those whom the system trusts.
    pub(super) authorities: Vec<Certificate>,
    /// What they are shown when they ask who is there.
    pub(super) identity: Option<Identity>,
    /// Their certificates are not checked.
    pub(super) skip_verify: bool,
}

/// Connections to some hosts, kept apart by what is asked of them. Each client is made when it is first needed: to read
/// the system's CA certificates takes milliseconds.
pub(super) struct Clients {
    tls: Tls,
    checked: OnceLock<Client>,
    checked_direct: OnceLock<Client>,
    unchecked: OnceLock<Client>,
    unchecked_direct: OnceLock<Client>,
    plain_direct: OnceLock<Client>,
    rootless: Once,
}

impl Clients {
    /// Nothing is contacted.
    pub(super) fn new(tls: Tls) -> Self {
        Self {
            tls,
            checked: OnceLock::new(),
            checked_direct: OnceLock::new(),
            unchecked: OnceLock::new(),
            unchecked_direct: OnceLock::new(),
            plain_direct: OnceLock::new(),
            rootless: Once::new(),
        }
    }

    /// Loopback is never behind a proxy, whatever `NO_PROXY` says: so it is in Go, where the original comes from.
    pub(super) fn to(&self, url: &Url, is_insecure: bool) -> reqwest::Result<&Client> {
        let is_checked = !is_insecure && !self.tls.skip_verify;
        match (is_loopback(url), url.scheme() == "http", is_checked) {
            (true, true, _) => made(&self.plain_direct, || builder().tls_certs_only([]).no_proxy().build()),
            (true, false, true) => made(&self.checked_direct, || self.checked(ClientBuilder::no_proxy)),
            (true, false, false) => made(&self.unchecked_direct, || self.unchecked().no_proxy().build()),
            (false, _, true) => made(&self.checked, || self.checked(|builder| builder)),
            (false, _, false) => made(&self.unchecked, || self.unchecked().build()),
        }
    }

    /// Without CA certificates, as in an image that has none, whatever needs none of them can be reached all the same.
    fn checked(&self, with: fn(ClientBuilder) -> ClientBuilder) -> reqwest::Result<Client> {
        let authorities = self.tls.authorities.clone();
        with(self.known()).tls_certs_merge(authorities.clone()).build().or_else(|error| {
            let rootless = with(self.known()).tls_certs_only(authorities).build()?;
            self.rootless.call_once(|| {
                let cause = root_cause(&error);
                tracing::warn!(
                    "no registry's certificate can be verified, since there are no CA certificates: {cause}"
                );
            });
            Ok(rootless)
        })
    }

    fn unchecked(&self) -> ClientBuilder {
        self.known().tls_danger_accept_invalid_certs(true)
    }

    fn known(&self) -> ClientBuilder {
        match &self.tls.identity {
            Some(identity) => builder().identity(identity.clone()),
            None => builder(),
        }
    }
}

fn made(place: &OnceLock<Client>, make: impl FnOnce() -> reqwest::Result<Client>) -> reqwest::Result<&Client> {
    match place.get() {
        Some(client) => Ok(client),
        None => {
            let client = make()?;
            Ok(place.get_or_init(|| client))
        }
    }
}

/// HTTP/1.1 alone: over HTTP/2 all transfers would share one TCP connection. Proxy variables and, through rustls'
/// platform roots, `SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured.
pub(super) fn builder() -> ClientBuilder {
    Client::builder()
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
}
