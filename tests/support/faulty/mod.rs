//! A registry of this process that gets wrong what it is told to, and is right in everything else. What it holds can be
//! looked at from within.

mod damage;
mod fault;
mod http;
mod registry;
mod store;
mod tokens;

pub use fault::{Challenge, Fault, Kind, Location, Planned, Redirect, RetryAfter, STAYS};
pub use store::keeping_tag;

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

use super::{background::Serving, registry::Access};
use damage::damaged;
use http::{Answer, Connection, End, Head, hang};
use registry::{State, Subject};

/// The registry.
pub struct Faulty {
    shared: Arc<Shared>,
    serving: Serving,
    _elsewhere: Serving,
}

struct Shared {
    state: Mutex<State>,
    /// Bytes of bodies so far, and one for each request.
    received: watch::Sender<u64>,
}

impl Faulty {
    /// Over plain HTTP, with nothing in it.
    pub fn start(access: Access) -> Self {
        let shared = Arc::new(Shared { state: Mutex::new(State::new(access)), received: watch::Sender::new(0) });
        let [serving, elsewhere] = [false, true].map(|elsewhere| {
            let shared = Arc::clone(&shared);
            Serving::run(move |listener| accept(listener, shared, elsewhere))
        });
        {
            let mut state = shared.state();
            (state.host, state.elsewhere) = (serving.host(), elsewhere.host());
        }
        Self { shared, serving, _elsewhere: elsewhere }
    }

    /// `127.0.0.1:port`
    pub fn host(&self) -> String {
        self.serving.host()
    }

    /// Puts an image there, and returns its reference.
    pub fn hold(&self, repository: &str, tag: &str, image: &Image) -> String {
        self.shared.state().repositories.entry(repository.to_owned()).or_default().hold(tag, image);
        format!("{}/{repository}:{tag}", self.host())
    }

    /// From now on a repository takes manifests whatever they name, as some registries do.
    pub fn make_lax(&self, repository: &str) {
        self.shared.state().repositories.entry(repository.to_owned()).or_default().lax = true;
    }

    /// What is to go wrong with a repository.
    pub fn plan(&self, repository: &str, planned: &[Planned]) {
        self.shared.state().plans.insert(repository.to_owned(), planned.to_vec());
    }

    /// From now on `choose` says what goes wrong with requests for which nothing else is planned.
    pub fn fail(&self, choose: impl FnMut(Kind) -> Option<Fault> + Send + 'static) {
        self.shared.state().failing = Some(Box::new(choose));
    }

    /// Nothing that was not planned goes wrong any more.
    pub fn heal(&self) {
        self.shared.state().failing = None;
    }

    /// How much went wrong so far.
    pub fn faults(&self) -> usize {
        self.shared.state().played.values().map(Vec::len).sum()
    }

    /// The digest that a tag or digest leads to.
    pub fn digest(&self, repository: &str, reference: &str) -> Option<String> {
        let state = self.shared.state();
        state.repositories.get(repository)?.manifest(reference).map(|(digest, _)| digest.clone())
    }

    /// What went wrong with a repository: the requests' kinds and numbers, and the faults.
    pub fn played(&self, repository: &str) -> Vec<(Kind, usize, Fault)> {
        self.shared.state().played.get(repository).cloned().unwrap_or_default()
    }

    /// What `image` has that a repository has not byte for byte, or not under these tags.
    pub fn lacks(&self, repository: &str, tags: &[String], image: &Image) -> Vec<String> {
        self.shared.state().repositories.entry(repository.to_owned()).or_default().lacks(tags, image)
    }

    /// When a repository had all these tags for the first time.
    pub fn since(&self, repository: &str, tags: &[String]) -> Option<Instant> {
        let state = self.shared.state();
        let since = &state.repositories.get(repository)?.since;
        tags.iter().map(|tag| since.get(tag).copied()).collect::<Option<Vec<_>>>()?.into_iter().max()
    }

    /// How often each blob of a repository was sent whole.
    pub fn sent(&self, repository: &str) -> Vec<(String, usize)> {
        let state = self.shared.state();
        let sent = state.repositories.get(repository).map(|repository| &repository.sent);
        sent.into_iter().flatten().map(|(digest, times)| (digest.clone(), *times)).collect()
    }

    /// What clients did that none should do.
    pub fn violations(&self) -> Vec<String> {
        self.shared.state().violations.clone()
    }

    /// Bytes of requests' bodies so far, and one for each request.
    pub fn received(&self) -> watch::Receiver<u64> {
        self.shared.received.subscribe()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, elsewhere: bool) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // A client that has gone already has no use for it.
        let _ = stream.set_nodelay(true);
        tokio::spawn(serve(stream, Arc::clone(&shared), elsewhere));
    }
}

async fn serve(stream: TcpStream, shared: Arc<Shared>, elsewhere: bool) {
    let mut connection = BufReader::new(stream);
    while let Some(head) = Head::read(&mut connection).await {
        shared.received.send_modify(|received| *received += 1);
        if !answer(&mut connection, &head, &shared, elsewhere).await {
            return;
        }
    }
}

/// Whether the connection can go on.
async fn answer(connection: &mut Connection, head: &Head, shared: &Shared, elsewhere: bool) -> bool {
    let bare = head.method == "HEAD";
    let Some(subject) = Subject::of(head) else {
        let Some(_) = head.body(connection, &shared.received).await else { return false };
        return shared.unnamed(head).delivery(bare).send(connection).await;
    };
    let fault = match shared.admit(head, &subject, elsewhere) {
        Ok(fault) => fault,
        Err(refusal) => {
            let Some(_) = head.body(connection, &shared.received).await else { return false };
            return refusal.delivery(bare).send(connection).await;
        }
    };
    match fault {
        Some(Fault::Hang) => {
            hang(connection).await;
            return false;
        }
        Some(Fault::CutRequest(place)) => {
            head.some_body(connection, place).await;
            return false;
        }
        Some(Fault::Sip) => {
            head.sip(connection).await;
            return false;
        }
        Some(Fault::Early(status)) => {
            let refusal = Answer::error(status, "UNKNOWN").header("Connection", "close");
            let mut delivery = refusal.delivery(bare);
            delivery.end = End::Close;
            return delivery.send(connection).await;
        }
        _ => {}
    }
    let Some(body) = head.body(connection, &shared.received).await else { return false };
    let answer = shared.state().answer(head, &subject, body, fault);
    let delivery = match fault {
        Some(fault) => damaged(answer, bare, fault),
        None => answer.delivery(bare),
    };
    delivery.send(connection).await
}

impl Shared {
    /// What is to go wrong with a request, or why it is not let in.
    fn admit(&self, head: &Head, subject: &Subject, elsewhere: bool) -> Result<Option<Fault>, Answer> {
        let mut state = self.state();
        if elsewhere {
            if head.header("authorization").is_some() {
                state.violations.push(format!("credentials were shown to another host: {} {}", head.method, head.path));
            }
            return Ok(None);
        }
        if !state.is_allowed(head, subject) {
            return Err(state.tokens.challenge(&state.host));
        }
        Ok(state.turn(subject))
    }

    /// What is about no repository.
    fn unnamed(&self, head: &Head) -> Answer {
        match head.path.as_str() {
            // Whether the registry is up: any token will do, and one is given for no repository.
            "/v2/" => {
                let state = self.state();
                if state.tokens.admit(head) { Answer::new(200).body("{}") } else { state.tokens.challenge(&state.host) }
            }
            path if head.method == "GET" && path.starts_with("/token") && head.queried("scope").next().is_none() => {
                self.state().tokens.token(head, None)
            }
            // An upload that failed is taken back.
            path if head.method == "DELETE" && path.contains("/blobs/uploads/") => Answer::new(204),
            "/loop" => Answer::new(307).header("Location", "/loop"),
            _ => {
                self.state().violations.push(format!("what no copy needs: {} {}", head.method, head.path));
                Answer::error(405, "UNSUPPORTED")
            }
        }
    }
}
