//! Recorded requests to a server, and faults to inject.

use std::{sync::Mutex, time::Duration};

use http::{header, request::Parts};

/// A recorded request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The `Host` header.
    pub host: String,
    /// `GET`, `HEAD`, …
    pub method: String,
    /// With the query.
    pub path: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
}

impl Request {
    pub fn new(parts: &Parts) -> Self {
        let header = |name| parts.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
        Self {
            host: header(header::HOST).unwrap_or_default(),
            method: parts.method.to_string(),
            path: parts.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            authorization: header(header::AUTHORIZATION),
        }
    }

    pub fn is_manifest(&self) -> bool {
        self.path.contains("/manifests/")
    }

    /// Including uploads.
    pub fn is_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }
}

/// A fault of a response.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Responds with this status and these headers instead of the registry.
    Answer(u16, Vec<(&'static str, &'static str)>),
    /// Responds with this status, error code and message instead of the registry.
    Refuse(u16, &'static str, String),
    /// Delays the response.
    Delay(Duration),
    /// Cuts the connection after half of the body.
    Cut,
    /// Sends half of the body, then nothing, on an open connection.
    Stall,
    /// Changes one byte of the body.
    Flip,
    /// Sends one byte of the body every 100 ms.
    Trickle,
}

type Matches = Box<dyn Fn(&Request) -> bool + Send>;

struct Rule {
    matches: Matches,
    left: usize,
    fault: Fault,
}

/// The requests to one server, and the faults of its responses.
#[derive(Default)]
pub struct Traffic {
    requests: Mutex<Vec<Request>>,
    rules: Mutex<Vec<Rule>>,
}

impl Traffic {
    /// Records a request and returns the fault to inject.
    pub fn record(&self, request: Request) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|rule| rule.left > 0 && (rule.matches)(&request));
        let fault = rule.map(|rule| {
            rule.left -= 1;
            rule.fault.clone()
        });
        self.requests.lock().unwrap().push(request);
        fault
    }

    /// The requests since the last call.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    /// Injects a fault into the next `times` requests for which `matches` holds. Rules that were added first come first.
    pub fn inject(&self, times: usize, matches: impl Fn(&Request) -> bool + Send + 'static, fault: Fault) {
        self.rules.lock().unwrap().push(Rule { matches: Box::new(matches), left: times, fault });
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.rules.lock().unwrap().clear();
    }
}
