//! HTTP clients, each with its own connection pool.

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
    http::{
        addresses::{RedirectScope, allowed_addresses},
        host_names::is_loopback,
    },
    text::root_cause,
};

/// An upper bound that holds even with `requestTimeout: 0`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// TLS settings of some hosts.
#[derive(Default)]
pub(in crate::registry) struct TlsConfig {
    /// Additional trusted certificate authorities.
    pub(in crate::registry) authorities: Vec<Certificate>,
    /// The client certificate.
    pub(in crate::registry) identity: Option<Identity>,
    pub(in crate::registry) skip_verify: bool,
}

/// The HTTP clients for hosts with the same TLS settings, one for each way to restrict addresses. Each client is built
/// when it is first used, since reading the system's CA certificates takes milliseconds.
pub(in crate::registry) struct HttpClients {
    tls: TlsConfig,
    default: ClientPair,
    /// Without a proxy.
    direct: ClientPair,
    /// These connect only to addresses in a scope, and share no connection with other clients.
    public_only: ClientPair,
    up_to_private: ClientPair,
    up_to_link_local: ClientPair,
    plain_direct: OnceLock<Client>,
    missing_ca_warning: Once,
}

#[derive(Default)]
struct ClientPair {
    verifying: OnceLock<Client>,
    insecure: OnceLock<Client>,
}

impl HttpClients {
    pub(in crate::registry) fn new(tls: TlsConfig) -> Self {
        Self {
            tls,
            default: ClientPair::default(),
            direct: ClientPair::default(),
            public_only: ClientPair::default(),
            up_to_private: ClientPair::default(),
            up_to_link_local: ClientPair::default(),
            plain_direct: OnceLock::new(),
            missing_ca_warning: Once::new(),
        }
    }

    /// The client for a URL. Loopback is never proxied, whatever `NO_PROXY` contains, as in Go's net/http. `scope`
    /// restricts the addresses it connects to; None: any address, or a proxy.
    pub(in crate::registry) fn for_url(
        &self,
        url: &Url,
        is_insecure: bool,
        scope: Option<RedirectScope>,
    ) -> reqwest::Result<&Client> {
        let is_plain = url.scheme() == "http";
        let guarded = |scope| move |builder: ClientBuilder| builder.no_proxy().dns_resolver(ScopedResolver(scope));
        let (pair, configure): (_, &dyn Fn(ClientBuilder) -> ClientBuilder) = match scope {
            Some(scope @ RedirectScope::Public) => (&self.public_only, &guarded(scope)),
            Some(scope @ RedirectScope::Private) => (&self.up_to_private, &guarded(scope)),
            Some(scope @ RedirectScope::LinkLocal) => (&self.up_to_link_local, &guarded(scope)),
            Some(RedirectScope::Any) | None if is_loopback(url) && is_plain => {
                return get_or_build(&self.plain_direct, || builder().tls_certs_only([]).no_proxy().build());
            }
            Some(RedirectScope::Any) | None if is_loopback(url) => (&self.direct, &ClientBuilder::no_proxy),
            Some(RedirectScope::Any) | None => (&self.default, &std::convert::identity),
        };
        if is_insecure || self.tls.skip_verify {
            get_or_build(&pair.insecure, || configure(self.insecure_builder()).build())
        } else {
            get_or_build(&pair.verifying, || self.build_verifying(configure))
        }
    }

    /// Works without any CA certificates too (as in a minimal image): hosts that need none can still be reached.
    fn build_verifying(&self, configure: impl Fn(ClientBuilder) -> ClientBuilder) -> reqwest::Result<Client> {
        let authorities = self.tls.authorities.clone();
        configure(self.builder()).tls_certs_merge(authorities.clone()).build().or_else(|error| {
            let without_system_cas = configure(self.builder()).tls_certs_only(authorities).build()?;
            self.missing_ca_warning.call_once(|| {
                let cause = root_cause(&error);
                tracing::warn!(
                    "no CA certificates found, so no registry's certificate can be verified ({cause}): install CA \
                     certificates or set SSL_CERT_FILE"
                );
            });
            Ok(without_system_cas)
        })
    }

    fn insecure_builder(&self) -> ClientBuilder {
        self.builder().tls_danger_accept_invalid_certs(true)
    }

    fn builder(&self) -> ClientBuilder {
        match &self.tls.identity {
            Some(identity) => builder().identity(identity.clone()),
            None => builder(),
        }
    }
}

/// Resolves names to the addresses in a scope only, so that the address that was checked is the address connected to.
struct ScopedResolver(RedirectScope);

impl Resolve for ScopedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let scope = self.0;
        Box::pin(async move {
            let resolved: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed: Addrs = Box::new(allowed_addresses(scope, resolved)?.into_iter());
            Ok(allowed)
        })
    }
}

fn get_or_build(cell: &OnceLock<Client>, build: impl FnOnce() -> reqwest::Result<Client>) -> reqwest::Result<&Client> {
    match cell.get() {
        Some(client) => Ok(client),
        None => {
            let client = build()?;
            Ok(cell.get_or_init(|| client))
        }
    }
}

/// HTTP/1.1 only: over HTTP/2 all transfers would share one TCP connection. Honours the proxy variables and, through
/// rustls's platform roots, `SSL_CERT_FILE` and `SSL_CERT_DIR`.
pub(in crate::registry) fn builder() -> ClientBuilder {
    Client::builder()
        .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT)
}
