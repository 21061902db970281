//! What came by a server, and what is to go wrong there.

use std::{sync::Mutex, time::Duration};

use http::{header, request::Parts};

/// A request that came by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The header of that name: whom it is for.
    pub host: String,
    /// `GET`, `HEAD`, …
    pub method: String,
    /// With the query.
    pub path: String,
    /// The header of that name.
    pub authorization: Option<String>,
}

impl Request {
    /// What the head of a request says.
    pub fn new(parts: &Parts) -> Self {
        let header = |name| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        Self {
            host: header(header::HOST).unwrap_or_default(),
            method: parts.method.to_string(),
            path: parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            authorization: header(header::AUTHORIZATION),
        }
    }

    /// Whether it is about a manifest.
    pub fn is_manifest(&self) -> bool {
        self.path.contains("/manifests/")
    }

    /// Whether it is about a blob, an upload included.
    pub fn is_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }
}

/// What goes wrong with an answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The registry is not asked; this status and these headers are the answer.
    Answer(u16, Vec<(&'static str, &'static str)>),
    /// The registry is not asked; this status, and a body with this code and message, are the answer.
    Refuse(u16, &'static str, String),
    /// It comes this late.
    Delay(Duration),
    /// The connection breaks after half of the body.
    Cut,
    /// Half of the body comes, and then nothing, on an open connection.
    Stall,
    /// One byte of the body is another.
    Flip,
    /// The body comes byte by byte, one in a tenth of a second.
    Drip,
}

type Matches = Box<dyn Fn(&Request) -> bool + Send>;

struct Rule {
    matches: Matches,
    left: usize,
    fault: Fault,
}

/// The requests to one server, and the faults of its answers.
#[derive(Default)]
pub struct Traffic {
    requests: Mutex<Vec<Request>>,
    rules: Mutex<Vec<Rule>>,
}

impl Traffic {
    /// Writes a request down, and says what is to go wrong with it.
    pub fn note(&self, request: Request) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|rule| rule.left > 0 && (rule.matches)(&request));
        let fault = rule.map(|rule| {
            rule.left -= 1;
            rule.fault.clone()
        });
        self.requests.lock().unwrap().push(request);
        fault
    }

    /// What has come by since the last call.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    /// Lets the next `times` requests that `matches` accepts go wrong. Of several rules the oldest is used.
    pub fn inject(&self, times: usize, matches: impl Fn(&Request) -> bool + Send + 'static, fault: Fault) {
        self.rules.lock().unwrap().push(Rule { matches: Box::new(matches), left: times, fault });
    }

    /// Lets all go well again.
    pub fn heal(&self) {
        self.rules.lock().unwrap().clear();
    }
}
