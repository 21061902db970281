//! HTTP clients, and with them the connections.

use std::{
    net::SocketAddr,
    sync::{Once, OnceLock},
    time::Duration,
};

use reqwest::{
    Certificate, Client, ClientBuilder, Identity,
    dns::{Addrs, Name, Resolve, Resolving},
};
use url::Url;

use crate::registry::{
    error::root_cause,
    host::is_loopback,
    http::addresses::{Limit, within},
};

/// Whatever the user says: longer than this a TCP connection never takes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// What is special about TLS with some hosts.
#[derive(Default)]
pub(in crate::registry) struct Tls {
    /// Who may vouch for them besides those whom the system trusts.
    pub(in crate::registry) authorities: Vec<Certificate>,
    /// What they are shown when they ask who is there.
    pub(in crate::registry) identity: Option<Identity>,
    /// Their certificates are not checked.
    pub(in crate::registry) skip_verify: bool,
}

/// Connections to some hosts, kept apart by what is asked of them. Each client is made when it is first needed: to read
/// the system's CA certificates takes milliseconds.
pub(in crate::registry) struct Clients {
    tls: Tls,
    usual: Pair,
    direct: Pair,
    /// Those that connect with some addresses only. No connection of another client is theirs.
    to_public: Pair,
    to_private: Pair,
    to_link: Pair,
    plain_direct: OnceLock<Client>,
    rootless: Once,
}

#[derive(Default)]
struct Pair {
    checked: OnceLock<Client>,
    unchecked: OnceLock<Client>,
}

impl Clients {
    /// Nothing is contacted.
    pub(in crate::registry) fn new(tls: Tls) -> Self {
        Self {
            tls,
            usual: Pair::default(),
            direct: Pair::default(),
            to_public: Pair::default(),
            to_private: Pair::default(),
            to_link: Pair::default(),
            plain_direct: OnceLock::new(),
            rootless: Once::new(),
        }
    }

    /// Loopback is never behind a proxy, whatever `NO_PROXY` says: so it is in Go, where the original comes from.
    /// `limit` says which addresses are connected with; none: whichever the host has, or its proxy.
    pub(in crate::registry) fn to(
        &self,
        url: &Url,
        is_insecure: bool,
        limit: Option<Limit>,
    ) -> reqwest::Result<&Client> {
        let is_plain = url.scheme() == "http";
        let guarded = |limit| move |builder: ClientBuilder| builder.no_proxy().dns_resolver(Guard(limit));
        let (pair, with): (_, &dyn Fn(ClientBuilder) -> ClientBuilder) = match limit {
            Some(limit @ Limit::Public) => (&self.to_public, &guarded(limit)),
            Some(limit @ Limit::Private) => (&self.to_private, &guarded(limit)),
            Some(limit @ Limit::LinkLocal) => (&self.to_link, &guarded(limit)),
            Some(Limit::Anywhere) | None if is_loopback(url) && is_plain => {
                return made(&self.plain_direct, || builder().tls_certs_only([]).no_proxy().build());
            }
            Some(Limit::Anywhere) | None if is_loopback(url) => (&self.direct, &ClientBuilder::no_proxy),
            Some(Limit::Anywhere) | None => (&self.usual, &std::convert::identity),
        };
        if is_insecure || self.tls.skip_verify {
            made(&pair.unchecked, || with(self.unchecked()).build())
        } else {
            made(&pair.checked, || self.checked(with))
        }
    }

    /// Without CA certificates, as in an image that has none, whatever needs none of them can be reached all the same.
    fn checked(&self, with: impl Fn(ClientBuilder) -> ClientBuilder) -> reqwest::Result<Client> {
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

/// Finds the addresses of a name, and hands out those alone that may be connected with: what was checked and what is
/// connected with are the same.
struct Guard(Limit);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let limit = self.0;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Addrs = Box::new(within(limit, found)?.into_iter());
            Ok(allowed)
        })
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
pub(in crate::registry) fn builder() -> ClientBuilder {
    Client::builder()
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
}
