//! The part of the distribution specification that copies need, and the faults in what a registry stores.

use std::{collections::HashMap, time::Instant};

use bytes::Bytes;

use super::{
    super::registry::Access,
    damage::DIGEST,
    fault::{Challenge, Fault, Location, Redirect, RequestKind, RetryAfter, ScheduledFault},
    http::{RequestHead, Response},
    store::{Content, Repository, digest},
    tokens::Tokens,
};

/// The state of one registry.
pub struct State {
    pub tokens: Tokens,
    pub repositories: HashMap<String, Repository>,
    pub schedules: HashMap<String, Vec<ScheduledFault>>,
    /// Injected faults by repository.
    pub injected: HashMap<String, Vec<(RequestKind, usize, Fault)>>,
    pub violations: Vec<String>,
    /// Picks the fault of a request without a scheduled one.
    pub choose_fault: Option<ChooseFault>,
    counts: HashMap<(String, RequestKind), usize>,
    uploads: usize,
    /// This registry's `host:port`.
    pub host: String,
    /// The `host:port` of another server with the same content, without authentication.
    pub other_host: String,
}

/// Picks the fault of a request of this kind, if any.
pub type ChooseFault = Box<dyn FnMut(RequestKind) -> Option<Fault> + Send>;

/// What a request does, and where.
#[derive(Clone, Debug)]
pub struct Operation {
    pub kind: RequestKind,
    pub repository: String,
    /// A tag or digest, or the id of an upload.
    pub reference: String,
}

impl Operation {
    pub fn of(head: &RequestHead) -> Option<Self> {
        let operation = |kind, repository: &str, reference: &str| {
            Some(Self { kind, repository: repository.to_owned(), reference: reference.to_owned() })
        };
        if head.path == "/token" || head.path.starts_with("/token-") {
            let scope = head.query_values("scope").next()?.strip_prefix("repository:")?;
            return operation(RequestKind::Token, scope.rsplit_once(':')?.0, "");
        }
        let rest = head.path.strip_prefix("/v2/")?;
        let method = head.method.as_str();
        if let Some((repository, reference)) = rest.rsplit_once("/manifests/") {
            let kind = match method {
                "HEAD" => RequestKind::ManifestHead,
                "GET" => RequestKind::ManifestGet,
                "PUT" => RequestKind::ManifestPut,
                _ => return None,
            };
            return operation(kind, repository, reference);
        }
        if let Some((repository, digest)) = rest.rsplit_once("/referrers/").filter(|_| method == "GET") {
            return operation(RequestKind::Referrers, repository, digest);
        }
        if let Some((repository, upload)) = rest.rsplit_once("/blobs/uploads/") {
            let kind = match method {
                "POST" => RequestKind::UploadPost,
                "PUT" => RequestKind::UploadPut,
                _ => return None,
            };
            return operation(kind, repository, upload);
        }
        let (repository, digest) = rest.rsplit_once("/blobs/")?;
        let kind = match method {
            "HEAD" => RequestKind::BlobHead,
            "GET" => RequestKind::BlobGet,
            _ => return None,
        };
        operation(kind, repository, digest)
    }

    fn action(&self) -> &'static str {
        match self.kind {
            RequestKind::ManifestPut | RequestKind::UploadPost | RequestKind::UploadPut => "push",
            _ => "pull",
        }
    }
}

impl State {
    pub fn new(access: Access) -> Self {
        Self {
            tokens: Tokens::new(access),
            repositories: HashMap::new(),
            schedules: HashMap::new(),
            injected: HashMap::new(),
            violations: Vec::new(),
            choose_fault: None,
            counts: HashMap::new(),
            uploads: 0,
            host: String::new(),
            other_host: String::new(),
        }
    }

    pub fn is_allowed(&self, head: &RequestHead, operation: &Operation) -> bool {
        operation.kind == RequestKind::Token || self.tokens.allows(head, &operation.repository, operation.action())
    }

    /// Counts the requests for a repository anew.
    pub fn forget_requests(&mut self, repository: &str) {
        self.counts.retain(|(counted, _), _| counted != repository);
        self.injected.remove(repository);
    }

    /// Counts a request and returns the fault to inject into it.
    pub fn next_fault(&mut self, operation: &Operation) -> Option<Fault> {
        let count = self.counts.entry((operation.repository.clone(), operation.kind)).or_default();
        let before = *count;
        *count += 1;
        let mut schedule = self.schedules.get(&operation.repository).into_iter().flatten();
        let scheduled =
            schedule.find(|scheduled| scheduled.is_due(operation.kind, before)).map(|scheduled| scheduled.fault);
        let fault = scheduled.or_else(|| self.choose_fault.as_mut()?(operation.kind))?;
        self.injected.entry(operation.repository.clone()).or_default().push((operation.kind, before, fault));
        Some(fault)
    }

    /// Executes a request with its fault.
    pub fn respond(
        &mut self,
        head: &RequestHead,
        operation: &Operation,
        body: Bytes,
        fault: Option<Fault>,
    ) -> Response {
        match fault {
            Some(Fault::Status(status, after)) => return refused(status, after),
            Some(Fault::Unauthorized(challenge)) => return self.unauthorized(head, challenge),
            Some(Fault::Html) => {
                let page = "<!DOCTYPE html><html><body>Sign in to go on</body></html>";
                return Response::new(200).header("Content-Type", "text/html; charset=utf-8").body(page);
            }
            Some(Fault::Redirect(redirect)) => return self.redirect(head, redirect),
            Some(Fault::NotFound) => return Response::error(404, "NAME_UNKNOWN"),
            Some(Fault::UploadUnknown) => return Response::error(404, "BLOB_UPLOAD_UNKNOWN"),
            _ => {}
        }
        match operation.kind {
            RequestKind::Token => self.tokens.token(head, fault),
            RequestKind::ManifestHead | RequestKind::ManifestGet => self.manifest(operation),
            RequestKind::ManifestPut => self.put_manifest(head, operation, body, fault),
            RequestKind::Referrers => Response::error(404, "NOT_FOUND"),
            RequestKind::BlobHead | RequestKind::BlobGet => self.blob(head, operation, fault),
            RequestKind::UploadPost => self.begin(head, operation, fault),
            RequestKind::UploadPut => self.finish(head, operation, body, fault),
        }
    }

    fn unauthorized(&mut self, head: &RequestHead, challenge: Challenge) -> Response {
        match challenge {
            Challenge::None => Response::error(401, "UNAUTHORIZED"),
            Challenge::Revoked => {
                self.tokens.revoke(head);
                self.tokens.challenge(&self.host)
            }
            Challenge::UnreachableRealm => Response::error(401, "UNAUTHORIZED")
                .header("WWW-Authenticate", "Bearer realm=\"http://127.0.0.1:9/token\",service=\"dead\""),
            Challenge::ChangingService => self.tokens.other_challenge(&self.host, false),
            Challenge::ChangingRealm => self.tokens.other_challenge(&self.host, true),
        }
    }

    fn redirect(&self, head: &RequestHead, redirect: Redirect) -> Response {
        let to = match redirect {
            Redirect::OtherHost => format!("http://{}{}", self.other_host, head.path),
            Redirect::DeadHost => format!("http://127.0.0.1:9{}", head.path),
            Redirect::Loop => "/loop".to_owned(),
        };
        Response::new(307).header("Location", to)
    }

    fn manifest(&self, operation: &Operation) -> Response {
        let repository = self.repositories.get(&operation.repository);
        let Some((digest, (media_type, bytes))) = repository.and_then(|it| it.manifest(&operation.reference)) else {
            return Response::error(404, "MANIFEST_UNKNOWN");
        };
        Response::new(200).header("Content-Type", media_type).header(DIGEST, digest).body(bytes.clone())
    }

    fn put_manifest(
        &mut self,
        head: &RequestHead,
        operation: &Operation,
        body: Bytes,
        fault: Option<Fault>,
    ) -> Response {
        let (name, reference) = (&operation.repository, &operation.reference);
        let found = digest(&body);
        let by_digest = reference.starts_with("sha256:");
        if by_digest && found != *reference {
            self.violations.push(format!("{name}: a manifest {found} was sent as {reference}"));
            return Response::error(400, "DIGEST_INVALID");
        }
        let Some(content) = Content::of(&body) else {
            self.violations.push(format!("{name}: invalid manifest {reference}"));
            return Response::error(400, "MANIFEST_INVALID");
        };
        let repository = self.repositories.entry(name.clone()).or_default();
        let missing = repository.missing(&content);
        if !missing.is_empty() && !repository.gave_false_success {
            self.violations.push(format!("{name}: manifest {reference} was sent before {}", missing.join(", ")));
        }
        if let Some(Fault::LoseContent(which)) = fault {
            repository.lose_content(&content, which);
        }
        if !repository.missing(&content).is_empty() && !repository.skips_validation {
            return Response::error(400, "MANIFEST_BLOB_UNKNOWN");
        }
        if fault == Some(Fault::NotStored) {
            repository.gave_false_success = true;
        } else {
            let media_type = head.header("content-type").unwrap_or_default().to_owned();
            repository.manifests.insert(found.clone(), (media_type, body));
            if !by_digest {
                repository.tags.insert(reference.clone(), found.clone());
                repository.first_tagged.entry(reference.clone()).or_insert_with(Instant::now);
            }
        }
        success(fault, 201).header("Location", format!("/v2/{name}/manifests/{found}")).header(DIGEST, found)
    }

    fn blob(&self, head: &RequestHead, operation: &Operation, fault: Option<Fault>) -> Response {
        let repository = self.repositories.get(&operation.repository);
        let Some(bytes) = repository.and_then(|it| it.blobs.get(&operation.reference)) else {
            return Response::error(404, "BLOB_UNKNOWN");
        };
        let response = |status| {
            Response::new(status)
                .header("Content-Type", "application/octet-stream")
                .header(DIGEST, &operation.reference)
        };
        let range = head.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-'));
        let start: Option<usize> = range.map(|start| start.parse().unwrap());
        match (start, fault) {
            (None, _) | (_, Some(Fault::RangeIgnored)) => response(200).body(bytes.clone()),
            (_, Some(Fault::RangeRefused)) => Response::error(416, "UNSUPPORTED"),
            (Some(start), _) => {
                let start = if fault == Some(Fault::WrongRange) { start / 2 } else { start };
                let (last, length) = (bytes.len().saturating_sub(1), bytes.len());
                let part = bytes.slice(start.min(length)..);
                response(206).header("Content-Range", format!("bytes {start}-{last}/{length}")).body(part)
            }
        }
    }

    fn begin(&mut self, head: &RequestHead, operation: &Operation, fault: Option<Fault>) -> Response {
        let name = &operation.repository;
        if let (Some(digest), Some(from)) = (head.query_values("mount").next(), head.query_values("from").next())
            && fault != Some(Fault::MountDeclined)
            && self.tokens.allows(head, from, "pull")
            && let Some(bytes) = self.repositories.get(from).and_then(|from| from.blobs.get(digest)).cloned()
        {
            let repository = self.repositories.entry(name.clone()).or_default();
            if fault == Some(Fault::MountLost) {
                repository.gave_false_success = true;
            } else {
                repository.blobs.insert(digest.to_owned(), bytes);
            }
            return success(fault, 201).header("Location", format!("/v2/{name}/blobs/{digest}")).header(DIGEST, digest);
        }
        self.uploads += 1;
        let path = format!("/v2/{name}/blobs/uploads/{}", self.uploads);
        let response = success(fault, 202);
        match fault {
            Some(Fault::Location(Location::Absent)) => response,
            Some(Fault::Location(Location::InvalidUrl)) => response.header("Location", "http://[::zz"),
            Some(Fault::Location(Location::Relative)) => response.header("Location", path),
            Some(Fault::Location(Location::WithQuery)) => {
                response.header("Location", format!("http://{}{path}?state=a%2Bb%3D&x", self.host))
            }
            Some(Fault::Location(Location::OtherHost)) => {
                response.header("Location", format!("http://{}{path}", self.other_host))
            }
            _ => response.header("Location", format!("http://{}{path}", self.host)),
        }
    }

    fn finish(&mut self, head: &RequestHead, operation: &Operation, body: Bytes, fault: Option<Fault>) -> Response {
        let name = &operation.repository;
        let expected = head.query_values("digest").next().unwrap_or_default().to_owned();
        let found = digest(&body);
        if found != expected {
            self.violations.push(format!("{name}: a blob {found} was sent as {expected}"));
            return Response::error(400, "DIGEST_INVALID");
        }
        let repository = self.repositories.entry(name.clone()).or_default();
        if fault == Some(Fault::NotStored) {
            repository.gave_false_success = true;
        } else {
            *repository.upload_counts.entry(expected.clone()).or_default() += 1;
            repository.blobs.insert(expected.clone(), body);
        }
        success(fault, 201).header("Location", format!("/v2/{name}/blobs/{expected}")).header(DIGEST, expected)
    }
}

fn success(fault: Option<Fault>, status: u16) -> Response {
    match fault {
        Some(Fault::OtherSuccess(other)) => Response::new(other),
        _ => Response::new(status),
    }
}

fn refused(status: u16, after: RetryAfter) -> Response {
    let response = Response::error(status, if status == 429 { "TOOMANYREQUESTS" } else { "UNKNOWN" });
    match after {
        RetryAfter::Absent => response,
        RetryAfter::Seconds(seconds) => response.header("Retry-After", seconds),
        RetryAfter::Date => {
            let date = jiff::Timestamp::now() + std::time::Duration::from_secs(1);
            response.header("Retry-After", date.strftime("%a, %d %b %Y %H:%M:%S GMT"))
        }
    }
}
