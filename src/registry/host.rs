//! A registry host and what was learned about it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use http::Method;
use url::Url;

use super::{
    auth::{
        credentials::login_for,
        docker_login::docker_logins,
        host_auth::{EcrIdentity, HostAuth, HostLogin},
        login_sources::{LoginSource, LoginSources},
    },
    ecr::{EcrApiRates, PUBLIC_HOST},
    fault::Fault,
    http::{
        host_names::{DOCKER_HUB, allows_plain_http, canonical},
        hosts::HostConfigs,
        request::{Endpoint, Scheme},
    },
    limits::{
        connections::{ConnectionLimits, RequestLimit},
        rate_limiter::RateLimiter,
    },
    settings::Settings,
};
use crate::model::{Digest, EcrRegistry, Login};

/// How long a rejected login is not sent again. One that is corrected is another login.
const REJECTION_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// How long an upload session is kept for reuse.
const SESSION_LIFETIME: Duration = Duration::from_secs(30);

/// When this many upload sessions are kept, the older ones are dropped.
const MAX_SESSIONS: usize = 256;

/// The registry of Docker Hub.
const DOCKER_HUB_SERVER: &str = "registry-1.docker.io";

/// The request rates that a host allows.
#[derive(Clone)]
enum RequestRates {
    /// From its documentation.
    Documented(Arc<EcrApiRates>),
    /// Learned from 429 and 503 responses.
    Adaptive(Arc<RateLimiter>),
}

/// A registry host, shared by all its repositories.
pub(super) struct Host {
    authority: String,
    /// Set from the start if only one is allowed.
    scheme: OnceLock<Scheme>,
    /// Held while the first request finds out the scheme.
    pub(super) scheme_probe: tokio::sync::Mutex<()>,
    pub(super) auth: HostAuth,
    /// Some registries have a quota on manifest reads.
    pub(super) manifest_reads: RateLimiter,
    pub(super) requests: Arc<RequestLimit>,
    rates: RequestRates,
    sessions: Mutex<HashMap<(String, Digest), (Endpoint, Instant)>>,
    /// When the token service rejected the login last.
    login_rejected: Mutex<Option<Instant>>,
}

impl Host {
    /// `registry` as in image references, for repositories at or below `scope`; empty for all.
    pub(super) fn new(
        registry: &str,
        scope: &str,
        settings: &Settings,
        configs: &HostConfigs,
        limits: &ConnectionLimits,
    ) -> Self {
        let authority = match canonical(registry) {
            hub if hub == DOCKER_HUB => DOCKER_HUB_SERVER.to_owned(),
            other => other,
        };
        // An invalid name is reported by the first request.
        let url = Url::parse(&format!("https://{authority}/")).ok();
        let config = configs.for_url(url.as_ref());
        let scheme = match (config.plain_only, config.tls_only) {
            (true, _) => OnceLock::from(Scheme::Http),
            (false, false) if url.is_some_and(|url| allows_plain_http(&url, &settings.insecure)) => OnceLock::new(),
            _ => OnceLock::from(Scheme::Https),
        };
        let requests = limits.for_host(&authority, config.max_connections);
        let ecr = authority.parse::<EcrRegistry>().ok();
        let rates = match &ecr {
            Some(ecr) => RequestRates::Documented(settings.aws.api_rates(ecr)),
            None => RequestRates::Adaptive(Arc::new(RateLimiter::adaptive())),
        };
        let auth = HostAuth::new(host_login(registry, scope, ecr, settings));
        Self {
            authority,
            scheme,
            scheme_probe: tokio::sync::Mutex::new(()),
            auth,
            manifest_reads: RateLimiter::adaptive(),
            requests,
            rates,
            sessions: Mutex::default(),
            login_rejected: Mutex::default(),
        }
    }

    /// The same host with a login of its own. Shares the limit of concurrent requests and what was learned of the scheme, but
    /// no tokens, and neither quota nor rate, which are an account's.
    pub(super) fn with_login(&self, registry: &str, login: &Login) -> Self {
        let sources = vec![LoginSource::Configured(Arc::new(login.clone()))];
        let login = HostLogin { sources: LoginSources::new(registry, sources), ecr: None };
        Self {
            authority: self.authority.clone(),
            scheme: self.scheme.clone(),
            scheme_probe: tokio::sync::Mutex::new(()),
            auth: HostAuth::new(login),
            manifest_reads: RateLimiter::adaptive(),
            requests: Arc::clone(&self.requests),
            rates: match &self.rates {
                RequestRates::Documented(rates) => RequestRates::Documented(Arc::clone(rates)),
                RequestRates::Adaptive(_) => RequestRates::Adaptive(Arc::new(RateLimiter::adaptive())),
            },
            sessions: Mutex::default(),
            login_rejected: Mutex::default(),
        }
    }

    /// Notes that the token service rejected the login.
    pub(super) fn set_login_rejected(&self) {
        *self.login_rejected.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether that was within the last minutes: repeated rejections get accounts locked.
    pub(super) fn is_login_rejected(&self) -> bool {
        let rejected = *self.login_rejected.lock().unwrap_or_else(PoisonError::into_inner);
        rejected.is_some_and(|since| since.elapsed() < REJECTION_LIFETIME)
    }

    /// `host[:port]`
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// The rate limiter of a request.
    pub(super) fn rate_limiter(&self, method: &Method, path: &str) -> Option<&Arc<RateLimiter>> {
        match &self.rates {
            RequestRates::Documented(rates) => rates.of(method, path),
            RequestRates::Adaptive(rate_limiter) => Some(rate_limiter),
        }
    }

    /// Whether requests keep a documented rate, so that a 429 is temporary.
    pub(super) fn has_documented_rate(&self) -> bool {
        matches!(self.rates, RequestRates::Documented(_))
    }

    /// None before the first successful request, if both are allowed.
    pub(super) fn scheme(&self) -> Option<Scheme> {
        self.scheme.get().copied()
    }

    pub(super) fn set_scheme(&self, scheme: Scheme) {
        self.scheme.get_or_init(|| scheme);
    }

    pub(super) fn url(&self, scheme: Scheme, path: &str, query: Option<&str>) -> Result<Url, Fault> {
        let scheme = match scheme {
            Scheme::Https => "https",
            Scheme::Http => "http",
        };
        let mut url = Url::parse(&format!("{scheme}://{}/", self.authority)).map_err(|error| {
            Fault::Permanent(format!("invalid registry name {:?}, expected host[:port]: {error}", self.authority))
        })?;
        url.set_path(path);
        url.set_query(query);
        Ok(url)
    }

    /// Whether a URL has the host's origin: credentials are sent there only.
    pub(super) fn is_origin_of(&self, url: &Url) -> bool {
        self.scheme()
            .and_then(|scheme| self.url(scheme, "/", None).ok())
            .is_some_and(|base| base.origin() == url.origin())
    }

    /// Keeps the upload session of a refused mount for the upload that follows. Returns the sessions dropped for it.
    pub(super) fn keep_session(&self, repository: &str, digest: &Digest, session: Endpoint) -> Vec<(String, Endpoint)> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let mut dropped = Vec::new();
        if sessions.len() >= MAX_SESSIONS {
            let is_old = |since: Instant| now.saturating_duration_since(since) >= SESSION_LIFETIME;
            let old = sessions.extract_if(|_, (_, since)| is_old(*since));
            dropped.extend(old.map(|((repository, _), (session, _))| (repository, session)));
        }
        // Opening one more session costs a request; scanning all of them at each mount costs more.
        if sessions.len() >= MAX_SESSIONS {
            dropped.extend(sessions.drain().map(|((repository, _), (session, _))| (repository, session)));
        }
        let replaced = sessions.insert((repository.to_owned(), digest.clone()), (session, now));
        dropped.extend(replaced.map(|(session, _)| (repository.to_owned(), session)));
        dropped
    }

    /// Removes and returns all kept sessions.
    pub(super) fn drain_sessions(&self) -> Vec<(String, Endpoint)> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.drain().map(|((repository, _), (session, _))| (repository, session)).collect()
    }

    /// Removes and returns the kept session for a blob.
    pub(super) fn take_session(&self, repository: &str, digest: &Digest) -> Option<Endpoint> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let (session, since) = sessions.remove(&(repository.to_owned(), digest.clone()))?;
        (since.elapsed() < SESSION_LIFETIME).then_some(session)
    }

    /// Ends all pauses that the host has requested; if the pull quota is used up, one pull is tried.
    pub(super) fn end_rate_limit_waits(&self) {
        match &self.rates {
            RequestRates::Documented(rates) => rates.resume(),
            RequestRates::Adaptive(rate_limiter) => rate_limiter.resume(),
        }
        self.manifest_reads.probe_now();
        self.auth.end_rate_limit_waits();
    }
}

/// Configured credentials, else those of `docker login`, else the identity that the registry's cloud has given.
fn host_login(registry: &str, scope: &str, ecr: Option<EcrRegistry>, settings: &Settings) -> HostLogin {
    let aws = &settings.aws;
    if let Some(login) = login_for(registry, &settings.credentials) {
        let configured = LoginSource::Configured(Arc::new(login.clone()));
        return HostLogin { sources: LoginSources::new(registry, vec![configured]), ecr: None };
    }
    let docker = docker_logins(&settings.docker_logins, registry, scope);
    let mut sources: Vec<LoginSource> = docker.into_iter().map(LoginSource::from).collect();
    sources.extend(settings.clouds.login(registry).map(LoginSource::from));
    if canonical(registry) == PUBLIC_HOST {
        sources.push(LoginSource::AwsPublic { login: aws.public_login(), aws: aws.session().clone() });
    }
    let ecr = ecr.map(|ecr| EcrIdentity { login: aws.login(&ecr), aws: aws.session().clone(), registry: ecr });
    HostLogin { sources: LoginSources::new(registry, sources), ecr }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::DockerLogins,
        registry::{Aws, Backoff, CloudEnvironment, CloudIdentities},
    };

    fn settings(insecure: &[&str]) -> Settings {
        Settings {
            request_timeout: None,
            min_transfer_rate: None,
            private_redirects: Vec::new(),
            credentials: Vec::new(),
            aws: Aws::new(None),
            docker_logins: DockerLogins::default(),
            clouds: CloudIdentities::new(CloudEnvironment::default()),
            observer: Arc::new(()),
            insecure: insecure.iter().map(|&name| name.to_owned()).collect(),
            backoff: Backoff { attempts: 1, cap: Duration::ZERO },
        }
    }

    fn host(name: &str, insecure: &[&str]) -> Host {
        Host::new(name, "", &settings(insecure), &HostConfigs::new(&[]).unwrap(), &ConnectionLimits::new(1))
    }

    #[test]
    fn resolves_docker_hub_to_its_registry() {
        for name in ["docker.io", "index.docker.io", "Registry-1.docker.io"] {
            let host = host(name, &[]);
            let url = host.url(Scheme::Https, "/v2/library/a/manifests/1", None).unwrap();
            assert_eq!(url.as_str(), "https://registry-1.docker.io/v2/library/a/manifests/1");
        }
    }

    #[test]
    fn allows_plain_http_on_loopback_and_for_listed_hosts() {
        let insecure = ["reg.example:5000", "plain.example", "TLS.example:443"];
        for (name, lenient) in [
            ("localhost:5000", true),
            ("127.1.2.3", true),
            ("[::1]:5000", true),
            ("reg.example:5000", true),
            ("plain.example", true),
            ("tls.example", true),
            ("reg.example", false),
            ("plain.example:5000", false),
            ("localhost.example", false),
            ("127.0.0.1.example", false),
            ("10.0.0.1:5000", false),
            ("[::2]", false),
        ] {
            assert_eq!(host(name, &insecure).scheme().is_none(), lenient, "{name}");
        }
    }

    #[test]
    fn compares_origins() {
        let host = host("r.example:5000", &[]);
        for (url, has) in [
            ("https://r.example:5000/v2/", true),
            ("http://r.example:5000/v2/", false),
            ("https://r.example/v2/", false),
            ("https://r.example.evil:5000/v2/", false),
        ] {
            assert_eq!(host.is_origin_of(&Url::parse(url).unwrap()), has, "{url}");
        }
    }

    #[test]
    fn quotes_an_invalid_name() {
        let host = host("no host", &[]);
        assert!(host.url(Scheme::Https, "/", None).unwrap_err().to_string().contains("no host"));
    }
}
