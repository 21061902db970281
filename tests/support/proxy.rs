//! A proxy between the program and a registry that records requests and injects faults.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{Response, header},
};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use http::{HeaderMap, request::Parts};
use serde_json::json;

use super::{
    background::BackgroundServer,
    traffic::{Fault, Request, Traffic},
};

/// A proxy for one registry.
pub struct Proxy {
    shared: Arc<Shared>,
    serving: BackgroundServer,
}

struct Shared {
    upstream: Upstream,
    traffic: Traffic,
    /// Concurrent uploads of blobs: now, and the maximum so far.
    uploads: [AtomicUsize; 2],
}

impl Proxy {
    /// Starts a proxy for `upstream`, `http://host:port`.
    pub fn start(upstream: &str) -> Self {
        let shared = Arc::new(Shared {
            upstream: Upstream::new(upstream),
            traffic: Traffic::default(),
            uploads: Default::default(),
        });
        let serving = BackgroundServer::start(Router::new().fallback(answer).with_state(Arc::clone(&shared)));
        Self { shared, serving }
    }

    /// `127.0.0.1:port`
    pub fn host(&self) -> String {
        self.serving.host()
    }

    pub fn traffic(&self) -> &Traffic {
        &self.shared.traffic
    }

    /// The maximum of concurrent blob uploads. An upload ends before the client gets the response.
    pub fn max_concurrent_uploads(&self) -> usize {
        self.shared.uploads[1].load(Ordering::SeqCst)
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: axum::extract::Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let request = Request::new(&parts);
    let is_upload = request.method == "PUT" && request.is_blob();
    let fault = shared.traffic.record(request);
    let answer = shared.upstream.forward(parts, body, fault);
    if !is_upload {
        return answer.await;
    }
    let [now, max] = &shared.uploads;
    max.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
    let answer = answer.await;
    now.fetch_sub(1, Ordering::SeqCst);
    answer
}

/// A server that requests are forwarded to.
pub struct Upstream {
    url: String,
    client: reqwest::Client,
}

impl Upstream {
    /// At `http://host:port`.
    pub fn new(url: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        Self { url: url.to_owned(), client: client.build().unwrap() }
    }

    /// Forwards a request, unless a fault answers it, and returns the response with the fault.
    pub async fn forward(&self, parts: Parts, body: Body, fault: Option<Fault>) -> Response<Body> {
        match &fault {
            Some(Fault::Answer(status, headers)) => return respond(*status, headers),
            Some(Fault::Refuse(status, code, message)) => return refuse(*status, code, message),
            Some(Fault::Delay(wait)) => tokio::time::sleep(*wait).await,
            _ => {}
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut onward = self.client.request(parts.method, format!("{}{path}", self.url));
        if has_body(&parts.headers) {
            onward = onward.body(reqwest::Body::wrap_stream(body.into_data_stream()));
        }
        // The Host header is kept, so that absolute locations of the registry refer to the proxy.
        match onward.headers(parts.headers).send().await {
            Ok(response) => relay(response, fault).await,
            Err(_) => respond(502, &[]),
        }
    }
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING)
        || headers.get(header::CONTENT_LENGTH).is_some_and(|length| length != "0")
}

/// A response without a body.
pub fn respond(status: u16, headers: &[(&'static str, &'static str)]) -> Response<Body> {
    let response = Response::builder().status(status);
    headers.iter().fold(response, |response, (name, value)| response.header(*name, *value)).body(Body::empty()).unwrap()
}

/// An error in the format of the distribution specification.
pub fn refuse(status: u16, code: &str, message: &str) -> Response<Body> {
    let body = json!({ "errors": [{ "code": code, "message": message }] }).to_string();
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    response.body(Body::from(body)).unwrap()
}

async fn relay(response: reqwest::Response, fault: Option<Fault>) -> Response<Body> {
    let mut headers = response.headers().clone();
    headers.remove(header::TRANSFER_ENCODING);
    headers.remove(header::CONNECTION);
    let mut answer = Response::new(Body::empty());
    *answer.status_mut() = response.status();
    *answer.headers_mut() = headers;
    *answer.body_mut() = match fault {
        Some(Fault::Trickle) => trickling_body(response.bytes().await.unwrap_or_default()),
        Some(fault @ (Fault::Cut | Fault::Stall | Fault::Flip)) => {
            damaged_body(response.bytes().await.unwrap_or_default(), &fault)
        }
        _ => Body::from_stream(response.bytes_stream()),
    };
    answer
}

fn trickling_body(body: Bytes) -> Body {
    Body::from_stream(stream::unfold(body, |mut left| async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let byte = (!left.is_empty()).then(|| left.split_to(1))?;
        Some((Ok::<_, io::Error>(byte), left))
    }))
}

fn damaged_body(body: Bytes, fault: &Fault) -> Body {
    let half = body.slice(..body.len() / 2);
    match fault {
        Fault::Cut => {
            let cut = stream::once(async {
                // Lets the data so far be sent first.
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
