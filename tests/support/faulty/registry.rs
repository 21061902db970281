//! The distribution specification, as far as a copy goes; and the faults that lie in what a registry does.

use std::{collections::HashMap, time::Instant};

use bytes::Bytes;

use super::{
    super::registry::Access,
    damage::DIGEST,
    fault::{Challenge, Fault, Kind, Location, Planned, Redirect, RetryAfter},
    http::{Answer, Head},
    store::{Parts, Repository, digest},
    tokens::Tokens,
};

/// Everything that one registry knows.
pub struct State {
    pub tokens: Tokens,
    pub repositories: HashMap<String, Repository>,
    pub plans: HashMap<String, Vec<Planned>>,
    /// Faults that had their turn, by repository.
    pub played: HashMap<String, Vec<(Kind, usize, Fault)>>,
    pub violations: Vec<String>,
    /// What goes wrong where nothing is planned.
    pub failing: Option<Failing>,
    counts: HashMap<(String, Kind), usize>,
    uploads: usize,
    /// Its own `host:port`.
    pub host: String,
    /// Another server's, which has the same content, and asks for no credentials.
    pub elsewhere: String,
}

/// Says what goes wrong with a request of this kind, if anything.
pub type Failing = Box<dyn FnMut(Kind) -> Option<Fault> + Send>;

/// What a request is about.
#[derive(Clone, Debug)]
pub struct Subject {
    pub kind: Kind,
    pub repository: String,
    /// A tag or digest, or the name of an upload.
    pub reference: String,
}

impl Subject {
    pub fn of(head: &Head) -> Option<Self> {
        let subject = |kind, repository: &str, reference: &str| {
            Some(Self { kind, repository: repository.to_owned(), reference: reference.to_owned() })
        };
        if head.path == "/token" || head.path.starts_with("/token-") {
            let scope = head.queried("scope").next()?.strip_prefix("repository:")?;
            return subject(Kind::Token, scope.rsplit_once(':')?.0, "");
        }
        let rest = head.path.strip_prefix("/v2/")?;
        let method = head.method.as_str();
        if let Some((repository, reference)) = rest.rsplit_once("/manifests/") {
            let kind = match method {
                "HEAD" => Kind::ManifestHead,
                "GET" => Kind::ManifestGet,
                "PUT" => Kind::ManifestPut,
                _ => return None,
            };
            return subject(kind, repository, reference);
        }
        if let Some((repository, upload)) = rest.rsplit_once("/blobs/uploads/") {
            let kind = match method {
                "POST" => Kind::UploadPost,
                "PUT" => Kind::UploadPut,
                _ => return None,
            };
            return subject(kind, repository, upload);
        }
        let (repository, digest) = rest.rsplit_once("/blobs/")?;
        let kind = match method {
            "HEAD" => Kind::BlobHead,
            "GET" => Kind::BlobGet,
            _ => return None,
        };
        subject(kind, repository, digest)
    }

    fn action(&self) -> &'static str {
        match self.kind {
            Kind::ManifestPut | Kind::UploadPost | Kind::UploadPut => "push",
            _ => "pull",
        }
    }
}

impl State {
    pub fn new(access: Access) -> Self {
        Self {
            tokens: Tokens::new(access),
            repositories: HashMap::new(),
            plans: HashMap::new(),
            played: HashMap::new(),
            violations: Vec::new(),
            failing: None,
            counts: HashMap::new(),
            uploads: 0,
            host: String::new(),
            elsewhere: String::new(),
        }
    }

    pub fn is_allowed(&self, head: &Head, subject: &Subject) -> bool {
        subject.kind == Kind::Token || self.tokens.allow(head, &subject.repository, subject.action())
    }

    /// Counts a request, and says what is to go wrong with it.
    pub fn turn(&mut self, subject: &Subject) -> Option<Fault> {
        let count = self.counts.entry((subject.repository.clone(), subject.kind)).or_default();
        let before = *count;
        *count += 1;
        let mut plan = self.plans.get(&subject.repository).into_iter().flatten();
        let planned = plan.find(|planned| planned.is_due(subject.kind, before)).map(|planned| planned.fault);
        let fault = planned.or_else(|| self.failing.as_mut()?(subject.kind))?;
        self.played.entry(subject.repository.clone()).or_default().push((subject.kind, before, fault));
        Some(fault)
    }

    /// Does what was asked for, or does not, as the fault has it, and says what it has to say.
    pub fn answer(&mut self, head: &Head, subject: &Subject, body: Bytes, fault: Option<Fault>) -> Answer {
        match fault {
            Some(Fault::Status(status, after)) => return refused(status, after),
            Some(Fault::Unauthorized(challenge)) => return self.unauthorized(head, challenge),
            Some(Fault::Html) => {
                let page = "<!DOCTYPE html><html><body>Sign in to go on</body></html>";
                return Answer::new(200).header("Content-Type", "text/html; charset=utf-8").body(page);
            }
            Some(Fault::Redirect(redirect)) => return self.redirect(head, redirect),
            Some(Fault::Gone) => return Answer::error(404, "NAME_UNKNOWN"),
            Some(Fault::SessionGone) => return Answer::error(404, "BLOB_UPLOAD_UNKNOWN"),
            _ => {}
        }
        match subject.kind {
            Kind::Token => self.tokens.token(head, fault),
            Kind::ManifestHead | Kind::ManifestGet => self.manifest(subject),
            Kind::ManifestPut => self.put_manifest(head, subject, body, fault),
            Kind::BlobHead | Kind::BlobGet => self.blob(head, subject, fault),
            Kind::UploadPost => self.begin(head, subject, fault),
            Kind::UploadPut => self.finish(head, subject, body, fault),
        }
    }

    fn unauthorized(&mut self, head: &Head, challenge: Challenge) -> Answer {
        match challenge {
            Challenge::None => Answer::error(401, "UNAUTHORIZED"),
            Challenge::Renew => {
                self.tokens.revoke(head);
                self.tokens.challenge(&self.host)
            }
            Challenge::DeadRealm => Answer::error(401, "UNAUTHORIZED")
                .header("WWW-Authenticate", "Bearer realm=\"http://127.0.0.1:9/token\",service=\"dead\""),
            Challenge::OtherService => self.tokens.other_challenge(&self.host, false),
            Challenge::OtherRealm => self.tokens.other_challenge(&self.host, true),
        }
    }

    fn redirect(&self, head: &Head, redirect: Redirect) -> Answer {
        let to = match redirect {
            Redirect::Elsewhere => format!("http://{}{}", self.elsewhere, head.path),
            Redirect::Nowhere => format!("http://127.0.0.1:9{}", head.path),
            Redirect::Loop => "/loop".to_owned(),
        };
        Answer::new(307).header("Location", to)
    }

    fn manifest(&self, subject: &Subject) -> Answer {
        let repository = self.repositories.get(&subject.repository);
        let Some((digest, (media_type, bytes))) = repository.and_then(|it| it.manifest(&subject.reference)) else {
            return Answer::error(404, "MANIFEST_UNKNOWN");
        };
        Answer::new(200).header("Content-Type", media_type).header(DIGEST, digest).body(bytes.clone())
    }

    fn put_manifest(&mut self, head: &Head, subject: &Subject, body: Bytes, fault: Option<Fault>) -> Answer {
        let (name, reference) = (&subject.repository, &subject.reference);
        let found = digest(&body);
        let by_digest = reference.starts_with("sha256:");
        if by_digest && found != *reference {
            self.violations.push(format!("{name}: a manifest {found} was sent as {reference}"));
            return Answer::error(400, "DIGEST_INVALID");
        }
        let Some(parts) = Parts::of(&body) else {
            self.violations.push(format!("{name}: what was sent as manifest {reference} is none"));
            return Answer::error(400, "MANIFEST_INVALID");
        };
        let repository = self.repositories.entry(name.clone()).or_default();
        let missing = repository.missing(&parts);
        if !missing.is_empty() && !repository.has_lied {
            self.violations.push(format!("{name}: manifest {reference} was sent before {}", missing.join(", ")));
        }
        if let Some(Fault::LostPart(which)) = fault {
            repository.lose(&parts, which);
        }
        if !repository.missing(&parts).is_empty() && !repository.lax {
            return Answer::error(400, "MANIFEST_BLOB_UNKNOWN");
        }
        if fault == Some(Fault::Lost) {
            repository.has_lied = true;
        } else {
            let media_type = head.header("content-type").unwrap_or_default().to_owned();
            repository.manifests.insert(found.clone(), (media_type, body));
            if !by_digest {
                repository.tags.insert(reference.clone(), found.clone());
                repository.since.entry(reference.clone()).or_insert_with(Instant::now);
            }
        }
        success(fault, 201).header("Location", format!("/v2/{name}/manifests/{found}")).header(DIGEST, found)
    }

    fn blob(&self, head: &Head, subject: &Subject, fault: Option<Fault>) -> Answer {
        let repository = self.repositories.get(&subject.repository);
        let Some(bytes) = repository.and_then(|it| it.blobs.get(&subject.reference)) else {
            return Answer::error(404, "BLOB_UNKNOWN");
        };
        let answer = |status| {
            Answer::new(status).header("Content-Type", "application/octet-stream").header(DIGEST, &subject.reference)
        };
        let range = head.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        let start: Option<usize> = range.map(|start| start.parse().unwrap());
        match (start, fault) {
            (None, _) | (_, Some(Fault::WholeForRange)) => answer(200).body(bytes.clone()),
            (_, Some(Fault::NoRange)) => Answer::error(416, "UNSUPPORTED"),
            (Some(start), _) => {
                let start = if fault == Some(Fault::OtherRange) { start / 2 } else { start };
                let (last, length) = (bytes.len().saturating_sub(1), bytes.len());
                let part = bytes.slice(start.min(length)..);
                answer(206).header("Content-Range", format!("bytes {start}-{last}/{length}")).body(part)
            }
        }
    }

    fn begin(&mut self, head: &Head, subject: &Subject, fault: Option<Fault>) -> Answer {
        let name = &subject.repository;
        if let (Some(digest), Some(from)) = (head.queried("mount").next(), head.queried("from").next())
            && fault != Some(Fault::NoMount)
            && self.tokens.allow(head, from, "pull")
            && let Some(bytes) = self.repositories.get(from).and_then(|from| from.blobs.get(digest)).cloned()
        {
            let repository = self.repositories.entry(name.clone()).or_default();
            if fault == Some(Fault::LostMount) {
                repository.has_lied = true;
            } else {
                repository.blobs.insert(digest.to_owned(), bytes);
            }
            return success(fault, 201).header("Location", format!("/v2/{name}/blobs/{digest}")).header(DIGEST, digest);
        }
        self.uploads += 1;
        let path = format!("/v2/{name}/blobs/uploads/{}", self.uploads);
        let answer = success(fault, 202);
        match fault {
            Some(Fault::Location(Location::Absent)) => answer,
            Some(Fault::Location(Location::Nonsense)) => answer.header("Location", "http://[::zz"),
            Some(Fault::Location(Location::Relative)) => answer.header("Location", path),
            Some(Fault::Location(Location::Query)) => {
                answer.header("Location", format!("http://{}{path}?state=a%2Bb%3D&x", self.host))
            }
            Some(Fault::Location(Location::Elsewhere)) => {
                answer.header("Location", format!("http://{}{path}", self.elsewhere))
            }
            _ => answer.header("Location", format!("http://{}{path}", self.host)),
        }
    }

    fn finish(&mut self, head: &Head, subject: &Subject, body: Bytes, fault: Option<Fault>) -> Answer {
        let name = &subject.repository;
        let expected = head.queried("digest").next().unwrap_or_default().to_owned();
        let found = digest(&body);
        if found != expected {
            self.violations.push(format!("{name}: a blob {found} was sent as {expected}"));
            return Answer::error(400, "DIGEST_INVALID");
        }
        let repository = self.repositories.entry(name.clone()).or_default();
        if fault == Some(Fault::Lost) {
            repository.has_lied = true;
        } else {
            *repository.sent.entry(expected.clone()).or_default() += 1;
            repository.blobs.insert(expected.clone(), body);
        }
        success(fault, 201).header("Location", format!("/v2/{name}/blobs/{expected}")).header(DIGEST, expected)
    }
}

fn success(fault: Option<Fault>, status: u16) -> Answer {
    match fault {
        Some(Fault::Success(other)) => Answer::new(other),
        _ => Answer::new(status),
    }
}

fn refused(status: u16, after: RetryAfter) -> Answer {
    let answer = Answer::error(status, if status == 429 { "TOOMANYREQUESTS" } else { "UNKNOWN" });
    match after {
        RetryAfter::Unsaid => answer,
        RetryAfter::Seconds(seconds) => answer.header("Retry-After", seconds),
        RetryAfter::Date => {
            let date = jiff::Timestamp::now() + std::time::Duration::from_secs(1);
            answer.header("Retry-After", date.strftime("%a, %d %b %Y %H:%M:%S GMT"))
        }
    }
}
