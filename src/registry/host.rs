//! One registry host, and what was learned about it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use http::Method;
use url::{Host as UrlHost, Url};

use super::{
    auth::credentials::login_for,
    auth::{Auth, Identity},
    client::Onward,
    ecr::{Budgets, PUBLIC_HOST},
    error::Fault,
    http::hosts::Ways,
    http::naming::{DOCKER_HUB, canonical},
    limits::connections::Places,
    limits::pace::Pace,
    settings::Settings,
};
use crate::model::{Digest, EcrRegistry};

/// So long an upload session is believed to be there still.
const LONGEST_SESSION: Duration = Duration::from_secs(30);

/// So many upload sessions are kept before those are looked for that have been there too long.
const MOST_SESSIONS: usize = 256;

/// Where Docker Hub's registry really is.
const DOCKER_HUB_SERVER: &str = "registry-1.docker.io";

/// How a host is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// With TLS.
    Https,
    /// Without; only on loopback and where the user says so.
    Http,
}

/// How fast a host may be asked.
enum Paces {
    /// As its documentation says.
    Known(Arc<Budgets>),
    /// As it says itself when we come too often.
    Learned(Arc<Pace>),
}

/// A registry host, shared by all its repositories.
pub(super) struct Host {
    authority: String,
    /// Set from the start where only one is in question.
    scheme: OnceLock<Scheme>,
    /// Held while the first request finds out the scheme.
    pub(super) probing: tokio::sync::Mutex<()>,
    pub(super) auth: Auth,
    /// How fast manifests may be read, which some registries count.
    pub(super) manifest_reads: Pace,
    /// For how many requests at once.
    pub(super) places: Arc<Places>,
    paces: Paces,
    sessions: Mutex<HashMap<(String, Digest), (Onward, Instant)>>,
}

impl Host {
    /// `registry` as references write it.
    pub(super) fn new(registry: &str, settings: &Settings, ways: &Ways) -> Self {
        let authority = match canonical(registry) {
            hub if hub == DOCKER_HUB => DOCKER_HUB_SERVER.to_owned(),
            other => other,
        };
        // What is no host is told at the first request.
        let url = Url::parse(&format!("https://{authority}/")).ok();
        let way = ways.to(url.as_ref());
        let scheme = match (way.is_plain, way.is_tls) {
            (true, _) => OnceLock::from(Scheme::Http),
            (false, false) if url.is_some_and(|url| is_lenient(&url, &settings.insecure)) => OnceLock::new(),
            _ => OnceLock::from(Scheme::Https),
        };
        let places = ways.connections.to(&authority, way.connections);
        let ecr = authority.parse::<EcrRegistry>().ok();
        let paces = match &ecr {
            Some(ecr) => Paces::Known(settings.aws.budgets(ecr)),
            None => Paces::Learned(Arc::new(Pace::free())),
        };
        let auth = Auth::new(identity(registry, ecr, settings));
        Self {
            authority,
            scheme,
            probing: tokio::sync::Mutex::new(()),
            auth,
            manifest_reads: Pace::free(),
            places,
            paces,
            sessions: Mutex::default(),
        }
    }

    /// Its name, with the port where one is written.
    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    /// How fast a request may be sent.
    pub(super) fn pace(&self, method: &Method, path: &str) -> Option<&Arc<Pace>> {
        match &self.paces {
            Paces::Known(budgets) => budgets.of(method, path),
            Paces::Learned(pace) => Some(pace),
        }
    }

    /// Whether it is known how fast it may be asked, so that a refusal will pass.
    pub(super) fn has_known_pace(&self) -> bool {
        matches!(self.paces, Paces::Known(_))
    }

    /// How it is spoken to, once that is known.
    pub(super) fn scheme(&self) -> Option<Scheme> {
        self.scheme.get().copied()
    }

    /// Remembers what worked.
    pub(super) fn settle(&self, scheme: Scheme) {
        self.scheme.get_or_init(|| scheme);
    }

    /// The URL of a path on it.
    pub(super) fn url(&self, scheme: Scheme, path: &str, query: Option<&str>) -> Result<Url, Fault> {
        let scheme = match scheme {
            Scheme::Https => "https",
            Scheme::Http => "http",
        };
        let mut url = Url::parse(&format!("{scheme}://{}/", self.authority)).map_err(|error| {
            Fault::Refused(format!(
                "{:?} is not the name of a registry, a host with or without a port: {error}",
                self.authority
            ))
        })?;
        url.set_path(path);
        url.set_query(query);
        Ok(url)
    }

    /// Whether a URL is on this very host, spoken to in the same way: only there do its credentials belong.
    pub(super) fn has(&self, url: &Url) -> bool {
        self.scheme()
            .and_then(|scheme| self.url(scheme, "/", None).ok())
            .is_some_and(|base| base.origin() == url.origin())
    }

    /// Keeps an upload session that a refused mount has left behind, for the upload that follows. Answers with those
    /// that are not kept any more.
    pub(super) fn keep_session(&self, repository: &str, digest: &Digest, session: Onward) -> Vec<(String, Onward)> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let mut dropped = Vec::new();
        if sessions.len() >= MOST_SESSIONS {
            let is_old = |since: Instant| now.saturating_duration_since(since) >= LONGEST_SESSION;
            let old = sessions.extract_if(|_, (_, since)| is_old(*since));
            dropped.extend(old.map(|((repository, _), (session, _))| (repository, session)));
        }
        // One more to be opened costs a request; to look through all of them for each mount costs more.
        if sessions.len() >= MOST_SESSIONS {
            dropped.extend(sessions.drain().map(|((repository, _), (session, _))| (repository, session)));
        }
        let before = sessions.insert((repository.to_owned(), digest.clone()), (session, now));
        dropped.extend(before.map(|(session, _)| (repository.to_owned(), session)));
        dropped
    }

    /// All of them, which are not kept any more.
    pub(super) fn drop_sessions(&self) -> Vec<(String, Onward)> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.drain().map(|((repository, _), (session, _))| (repository, session)).collect()
    }

    /// Such a session, if there is one; the next caller won't get it.
    pub(super) fn take_session(&self, repository: &str, digest: &Digest) -> Option<Onward> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let (session, since) = sessions.remove(&(repository.to_owned(), digest.clone()))?;
        (since.elapsed() < LONGEST_SESSION).then_some(session)
    }

    /// Ends all pauses that it has asked for; where pulls are used up, one may be tried.
    pub(super) fn reset_pauses(&self) {
        match &self.paces {
            Paces::Known(budgets) => budgets.resume(),
            Paces::Learned(pace) => pace.resume(),
        }
        self.manifest_reads.probe_now();
        self.auth.reset_pauses();
    }
}

/// What is configured comes first; then those whom AWS knows by themselves.
fn identity(registry: &str, ecr: Option<EcrRegistry>, settings: &Settings) -> Identity {
    let aws = settings.aws.clone();
    match (login_for(registry, &settings.credentials), ecr) {
        (Some(login), _) => Identity::Login(login.clone()),
        (None, Some(registry)) => Identity::Ecr { login: aws.login(&registry), aws, registry },
        (None, None) if canonical(registry) == PUBLIC_HOST => Identity::EcrPublic { login: aws.public_login(), aws },
        (None, None) => Identity::Nobody,
    }
}

/// Whether plain HTTP may be spoken there: on loopback, and where the user lists `host[:port]`.
pub(super) fn is_lenient(url: &Url, insecure: &[String]) -> bool {
    is_loopback(url) || is_listed(url, insecure)
}

/// 127.0.0.0/8, `[::1]` and `localhost`.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(UrlHost::Domain(name)) => name == "localhost",
        Some(UrlHost::Ipv4(address)) => address.is_loopback(),
        Some(UrlHost::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
}

/// Whether the user lists it as insecure. A name without a port is that name at the default ports.
pub(super) fn is_listed(url: &Url, insecure: &[String]) -> bool {
    let Some(host) = url.host_str() else { return false };
    insecure.iter().any(|listed| {
        let listed = canonical(listed.trim());
        let with_port = |port: Option<u16>| port.is_some_and(|port| listed == format!("{host}:{port}"));
        with_port(url.port_or_known_default()) || (url.port().is_none() && listed == host)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Aws, Backoff};

    fn settings(insecure: &[&str]) -> Settings {
        Settings {
            request_timeout: None,
            least_rate: None,
            private_redirects: Vec::new(),
            credentials: Vec::new(),
            aws: Aws::new(None),
            observer: Arc::new(()),
            insecure: insecure.iter().map(|&name| name.to_owned()).collect(),
            backoff: Backoff { attempts: 1, cap: Duration::ZERO },
        }
    }

    fn usual() -> Ways {
        Ways::new(&[], 1).unwrap()
    }

    #[test]
    fn docker_hub_is_reached_where_it_is() {
        for name in ["docker.io", "index.docker.io", "Registry-1.docker.io"] {
            let host = Host::new(name, &settings(&[]), &usual());
            let url = host.url(Scheme::Https, "/v2/library/a/manifests/1", None).unwrap();
            assert_eq!(url.as_str(), "https://registry-1.docker.io/v2/library/a/manifests/1");
        }
    }

    #[test]
    fn plain_http_is_for_loopback_and_for_what_is_listed() {
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
            assert_eq!(Host::new(name, &settings(&insecure), &usual()).scheme().is_none(), lenient, "{name}");
        }
    }

    #[test]
    fn credentials_belong_to_one_origin() {
        let host = Host::new("r.example:5000", &settings(&[]), &usual());
        for (url, has) in [
            ("https://r.example:5000/v2/", true),
            ("http://r.example:5000/v2/", false),
            ("https://r.example/v2/", false),
            ("https://r.example.evil:5000/v2/", false),
        ] {
            assert_eq!(host.has(&Url::parse(url).unwrap()), has, "{url}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused_with_its_name() {
        let host = Host::new("no host", &settings(&[]), &usual());
        assert!(host.url(Scheme::Https, "/", None).unwrap_err().to_string().contains("no host"));
    }
}
