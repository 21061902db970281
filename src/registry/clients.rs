//! HTTP clients, and with them the connections.

use std::time::Duration;

use url::Url;

use super::{
    error::root_cause,
    host::{is_listed, is_loopback},
};

/// Whatever the user says: longer than this a TCP connection never takes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Connections, kept apart by what is asked of them. A clone shares them.
#[derive(Clone)]
pub(super) struct Clients {
    checked: reqwest::Client,
    unchecked: reqwest::Client,
    checked_direct: reqwest::Client,
    unchecked_direct: reqwest::Client,
}

impl Clients {
    /// Nothing is contacted.
    pub(super) fn new() -> reqwest::Result<Self> {
        // Without CA certificates, as in an image that has none, loopback and insecure registries can be reached all
        // the same.
        let (checked, rooted): (_, fn() -> reqwest::ClientBuilder) = match builder().build() {
            Ok(client) => (client, builder),
            Err(error) => {
                let cause = root_cause(&error);
                tracing::warn!(
                    "no registry's certificate can be verified, since there are no CA certificates: {cause}"
                );
                let rootless = || builder().tls_certs_only([]);
                (rootless().build()?, rootless)
            }
        };
        let unchecked = || builder().tls_danger_accept_invalid_certs(true);
        Ok(Self {
            checked,
            checked_direct: rooted().no_proxy().build()?,
            unchecked: unchecked().build()?,
            unchecked_direct: unchecked().no_proxy().build()?,
        })
    }

    /// Loopback is never behind a proxy, whatever `NO_PROXY` says: so it is in Go, where the original comes from.
    pub(super) fn of(&self, url: &Url, insecure: &[String]) -> &reqwest::Client {
        match (is_listed(url, insecure), is_loopback(url)) {
            (false, false) => &self.checked,
            (false, true) => &self.checked_direct,
            (true, false) => &self.unchecked,
            (true, true) => &self.unchecked_direct,
        }
    }
}

/// HTTP/1.1 alone: over HTTP/2 all transfers would share one TCP connection. Proxy variables and, through rustls'
/// platform roots, `SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured.
fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
}
