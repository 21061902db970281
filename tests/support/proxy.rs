//! What stands between the program and a registry: it writes down each request, and breaks answers as told.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body, extract::State, http::Response};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use http::{HeaderMap, header};

use super::background::Serving;

/// A request that came by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD`, …
    pub method: String,
    /// With the query.
    pub path: String,
    /// The header of that name.
    pub authorization: Option<String>,
}

impl Request {
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
    /// It comes this late.
    Delay(Duration),
    /// The connection breaks after half of the body.
    Cut,
    /// Half of the body comes, and then nothing, on an open connection.
    Stall,
    /// One byte of the body is another.
    Flip,
}

type Matches = Box<dyn Fn(&Request) -> bool + Send>;

struct Rule {
    matches: Matches,
    left: usize,
    fault: Fault,
}

struct Shared {
    upstream: String,
    client: reqwest::Client,
    requests: Mutex<Vec<Request>>,
    rules: Mutex<Vec<Rule>>,
}

/// A proxy before one registry.
pub struct Proxy {
    shared: Arc<Shared>,
    serving: Serving,
}

impl Proxy {
    /// Stands before `upstream`, `http://host:port`.
    pub fn start(upstream: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            client: client.build().unwrap(),
            requests: Mutex::default(),
            rules: Mutex::default(),
        });
        let serving = Serving::start(Router::new().fallback(forward).with_state(Arc::clone(&shared)));
        Self { shared, serving }
    }

    /// `127.0.0.1:port`
    pub fn host(&self) -> String {
        self.serving.host()
    }

    /// What has come by since the last call.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.shared.requests.lock().unwrap())
    }

    /// Lets the next `times` requests that `matches` accepts go wrong. Of several rules the oldest is used.
    pub fn inject(&self, times: usize, matches: impl Fn(&Request) -> bool + Send + 'static, fault: Fault) {
        self.shared.rules.lock().unwrap().push(Rule { matches: Box::new(matches), left: times, fault });
    }

    /// Lets all go well again.
    pub fn heal(&self) {
        self.shared.rules.lock().unwrap().clear();
    }
}

impl Shared {
    fn fault(&self, request: &Request) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules.iter_mut().find(|rule| rule.left > 0 && (rule.matches)(request))?;
        rule.left -= 1;
        Some(rule.fault.clone())
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: axum::extract::Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let seen = Request {
        method: parts.method.to_string(),
        path: path.to_owned(),
        authorization: parts.headers.get(header::AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned()),
    };
    let fault = shared.fault(&seen);
    shared.requests.lock().unwrap().push(seen);
    match fault {
        Some(Fault::Answer(status, headers)) => return answer(status, &headers),
        Some(Fault::Delay(wait)) => tokio::time::sleep(wait).await,
        _ => {}
    }
    let mut onward = shared.client.request(parts.method, format!("{}{path}", shared.upstream));
    if has_body(&parts.headers) {
        onward = onward.body(reqwest::Body::wrap_stream(body.into_data_stream()));
    }
    // Its Host goes along, so that the registry's absolute locations lead here again.
    match onward.headers(parts.headers).send().await {
        Ok(response) => back(response, fault).await,
        Err(_) => answer(502, &[]),
    }
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}

fn answer(status: u16, headers: &[(&'static str, &'static str)]) -> Response<Body> {
    let response = Response::builder().status(status);
    headers.iter().fold(response, |response, (name, value)| response.header(*name, *value)).body(Body::empty()).unwrap()
}

async fn back(response: reqwest::Response, fault: Option<Fault>) -> Response<Body> {
    let mut headers = response.headers().clone();
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::CONNECTION);
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = headers;
    *answer.body_mut() = match fault {
        Some(fault @ (Fault::Cut | Fault::Stall | Fault::Flip)) => {
            damaged(response.bytes().await.unwrap_or_default(), &fault)
        }
        _ => Body::from_stream(response.bytes_stream()),
    };
    answer
}

fn damaged(body: Bytes, fault: &Fault) -> Body {
    let half = body.slice(..body.len() / 2);
    match fault {
        Fault::Cut => {
            let cut = stream::once(async {
                // What is already there is sent while this waits.
                tokio::task::yield_now().await;
                Err(io::Error::other("cut"))
            });
            Body::from_stream(stream::iter([Ok(half)]).chain(cut))
        }
        Fault::Stall => Body::from_stream(stream::iter([Ok::<_, io::Error>(half)]).chain(stream::pending())),
        _ => {
            let mut flipped = BytesMut::from(body.as_ref());
            if let Some(byte) = flipped.get_mut(body.len() / 2) {
                *byte ^= 1;
            }
            Body::from(flipped.freeze())
        }
    }
}
