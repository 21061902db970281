//! A registry in this process that injects scheduled faults and is correct otherwise. Tests can inspect its content
//! directly.

mod damage;
mod fault;
mod http;
mod registry;
mod storage;
mod store;
mod tokens;

pub use fault::{Challenge, FOREVER, Fault, Location, Redirect, RequestKind, RetryAfter, ScheduledFault};
pub use storage::{Damage, Reading};
pub use store::keep_alive_tag;

use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use demo::Image;
use tokio::{
    io::BufReader,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{background::BackgroundServer, registry::Access};
use damage::apply_fault;
use http::{Connection, ConnectionEnd, RequestHead, Response, hang};
use registry::{Operation, State};

pub struct FaultyRegistry {
    shared: Arc<Shared>,
    serving: BackgroundServer,
    _other_host: BackgroundServer,
}

struct Shared {
    state: Mutex<State>,
    /// Bytes of request bodies, plus one for each request.
    received: watch::Sender<u64>,
}

impl FaultyRegistry {
    /// Starts it empty, over plain HTTP.
    pub fn start(access: Access) -> Self {
        let shared = Arc::new(Shared { state: Mutex::new(State::new(access)), received: watch::Sender::new(0) });
        let [serving, other_host] = [false, true].map(|other_host| {
            let shared = Arc::clone(&shared);
            BackgroundServer::run(move |listener| accept(listener, shared, other_host))
        });
        {
            let mut state = shared.state();
            (state.host, state.other_host) = (serving.host(), other_host.host());
        }
        Self { shared, serving, _other_host: other_host }
    }

    /// `127.0.0.1:port`
    pub fn host(&self) -> String {
        self.serving.host()
    }

    /// Adds an image and returns its reference.
    pub fn add_image(&self, repository: &str, tag: &str, image: &Image) -> String {
        self.shared.state().repositories.entry(repository.to_owned()).or_default().add_image(tag, image);
        format!("{}/{repository}:{tag}", self.host())
    }

    /// Adds what refers to an image of the repository.
    pub fn add_referrer(&self, repository: &str, subject: &Image, referrer: &Image) {
        let mut state = self.shared.state();
        state.repositories.entry(repository.to_owned()).or_default().add_referrer(subject, referrer);
    }

    /// What a repository lacks of what refers to an image, compared byte for byte.
    pub fn missing_referrer(&self, repository: &str, subject: &Image, referrer: &Image) -> Vec<String> {
        self.shared.state().repositories.entry(repository.to_owned()).or_default().missing_referrer(subject, referrer)
    }

    /// The repository accepts manifests with missing content from now on, as some registries do.
    pub fn skip_validation(&self, repository: &str) {
        self.shared.state().repositories.entry(repository.to_owned()).or_default().skips_validation = true;
    }

    /// Sets the faults of a repository.
    pub fn schedule(&self, repository: &str, scheduled: &[ScheduledFault]) {
        self.shared.state().schedules.insert(repository.to_owned(), scheduled.to_vec());
    }

    /// Replaces the faults of a repository; its requests are counted anew.
    pub fn reschedule(&self, repository: &str, scheduled: &[ScheduledFault]) {
        let mut state = self.shared.state();
        state.forget_requests(repository);
        state.schedules.insert(repository.to_owned(), scheduled.to_vec());
    }

    /// Damages what a repository stores.
    pub fn damage(&self, repository: &str, damage: Damage) {
        let mut state = self.shared.state();
        let flipped = state.repositories.entry(repository.to_owned()).or_default().damage(damage);
        if let Some((digest, bytes)) = flipped {
            let blobs = state.repositories.values_mut().filter_map(|repository| repository.blobs.get_mut(&digest));
            blobs.for_each(|blob| *blob = bytes.clone());
        }
    }

    /// What a repository stores of the image of a tag or digest.
    pub fn read(&self, repository: &str, reference: &str) -> Reading {
        self.shared.state().repositories.entry(repository.to_owned()).or_default().read(reference)
    }

    /// Whether a repository has all these tags, whatever they name.
    pub fn has_tags(&self, repository: &str, tags: &[String]) -> bool {
        let state = self.shared.state();
        let repository = state.repositories.get(repository);
        repository.is_some_and(|repository| tags.iter().all(|tag| repository.tags.contains_key(tag)))
    }

    /// Lets `choose` pick the faults of requests without a scheduled one.
    pub fn fail_with(&self, choose: impl FnMut(RequestKind) -> Option<Fault> + Send + 'static) {
        self.shared.state().choose_fault = Some(Box::new(choose));
    }

    /// Stops faults that are not scheduled.
    pub fn clear_faults(&self) {
        self.shared.state().choose_fault = None;
    }

    /// How many faults were injected so far.
    pub fn faults(&self) -> usize {
        self.shared.state().injected.values().map(Vec::len).sum()
    }

    /// The digest of a tag or digest, if it exists.
    pub fn digest(&self, repository: &str, reference: &str) -> Option<String> {
        let state = self.shared.state();
        state.repositories.get(repository)?.manifest(reference).map(|(digest, _)| digest.clone())
    }

    /// The faults that were injected into requests for a repository, with the requests' kinds and numbers.
    pub fn injected(&self, repository: &str) -> Vec<(RequestKind, usize, Fault)> {
        self.shared.state().injected.get(repository).cloned().unwrap_or_default()
    }

    /// What a repository lacks of `image` with these tags, compared byte for byte.
    pub fn missing_content(&self, repository: &str, tags: &[String], image: &Image) -> Vec<String> {
        self.shared.state().repositories.entry(repository.to_owned()).or_default().missing_content(tags, image)
    }

    /// When a repository first had all these tags.
    pub fn tagged_at(&self, repository: &str, tags: &[String]) -> Option<Instant> {
        let state = self.shared.state();
        let first_tagged = &state.repositories.get(repository)?.first_tagged;
        tags.iter().map(|tag| first_tagged.get(tag).copied()).collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// How often each blob of a repository was uploaded.
    pub fn upload_counts(&self, repository: &str) -> Vec<(String, usize)> {
        let state = self.shared.state();
        let counts = state.repositories.get(repository).map(|repository| &repository.upload_counts);
        counts.into_iter().flatten().map(|(digest, times)| (digest.clone(), *times)).collect()
    }

    /// What clients did that they must not do.
    pub fn violations(&self) -> Vec<String> {
        self.shared.state().violations.clone()
    }

    /// Bytes of request bodies so far, plus one for each request.
    pub fn received(&self) -> watch::Receiver<u64> {
        self.shared.received.subscribe()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, other_host: bool) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // This fails if the client has disconnected already.
        let _ = stream.set_nodelay(true);
        tokio::spawn(serve(stream, Arc::clone(&shared), other_host));
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>, other_host: bool) {
    let mut connection = BufReader::new(stream);
    while let Some(head) = RequestHead::read(&mut connection).await {
        shared.received.send_modify(|received| *received += 1);
        if !respond(&mut connection, &head, &shared, other_host).await {
            return;
        }
    }
}

/// Returns whether the connection can be reused.
async fn respond(connection: &mut Connection, head: &RequestHead, shared: &Shared, other_host: bool) -> bool {
    let without_body = head.method == "HEAD";
    let Some(operation) = Operation::of(head) else {
        let Some(_) = head.body(connection, &shared.received).await else { return false };
        return shared.respond_without_repository(head).into_raw(without_body).send(connection).await;
    };
    let fault = match shared.admit(head, &operation, other_host) {
        Ok(fault) => fault,
        Err(refusal) => {
            let Some(_) = head.body(connection, &shared.received).await else { return false };
            return refusal.into_raw(without_body).send(connection).await;
        }
    };
    match fault {
        Some(Fault::Hang) => {
            hang(connection).await;
            return false;
        }
        Some(Fault::CutRequest(position)) => {
            head.read_partial_body(connection, position).await;
            return false;
        }
        Some(Fault::TrickleRead) => {
            head.read_slowly(connection).await;
            return false;
        }
        Some(Fault::EarlyResponse(status)) => {
            let refusal = Response::error(status, "UNKNOWN").header("Connection", "close");
            let mut raw = refusal.into_raw(without_body);
            raw.end = ConnectionEnd::Close;
            return raw.send(connection).await;
        }
        _ => {}
    }
    let Some(body) = head.body(connection, &shared.received).await else { return false };
    let response = shared.state().respond(head, &operation, body, fault);
    let raw = match fault {
        Some(fault) => apply_fault(response, without_body, fault),
        None => response.into_raw(without_body),
    };
    raw.send(connection).await
}

impl Shared {
    /// The fault to inject into a request, or a 401.
    fn admit(&self, head: &RequestHead, operation: &Operation, other_host: bool) -> Result<Option<Fault>, Response> {
        let mut state = self.state();
        if other_host {
            if head.header("authorization").is_some() {
                state.violations.push(format!("credentials were sent to another host: {} {}", head.method, head.path));
            }
            return Ok(None);
        }
        if !state.is_allowed(head, operation) {
            return Err(state.tokens.challenge(&state.host));
        }
        Ok(state.next_fault(operation))
    }

    /// Responds to requests that are about no repository.
    fn respond_without_repository(&self, head: &RequestHead) -> Response {
        match head.path.as_str() {
            // The ping: any token is accepted, and tokens without scope are issued for it.
            "/v2/" => {
                let state = self.state();
                if state.tokens.has_valid_login(head) {
                    Response::new(200).body("{}")
                } else {
                    state.tokens.challenge(&state.host)
                }
            }
            path if head.method == "GET"
                && path.starts_with("/token")
                && head.query_values("scope").next().is_none() =>
            {
                self.state().tokens.token(head, None)
            }
            // Cancels an upload.
            path if head.method == "DELETE" && path.contains("/blobs/uploads/") => Response::new(204),
            "/loop" => Response::new(307).header("Location", "/loop"),
            _ => {
                self.state().violations.push(format!("unexpected request: {} {}", head.method, head.path));
                Response::error(405, "UNSUPPORTED")
            }
        }
    }
}
