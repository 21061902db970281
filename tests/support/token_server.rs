//! A token service for registries, following Docker's token authentication specification.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Response, Uri, header},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{CertificateParams, DnType, KeyPair};
use serde_json::{Value, json};

use super::{
    background::BackgroundServer,
    registry::{PASSWORD, USER},
};

/// The issuer that the registry trusts.
pub const ISSUER: &str = "k8s-copycat tests";
/// The audience of the tokens.
pub const SERVICE: &str = "registry";

/// A token service that grants [`USER`] all requested scopes, and other users pulls from one repository each.
pub struct TokenServer {
    shared: Arc<Shared>,
    serving: BackgroundServer,
}

struct Shared {
    key: EncodingKey,
    certificate: rcgen::Certificate,
    queries: Mutex<Vec<String>>,
    /// User name, password, and the repositories' common beginning.
    users: Mutex<Vec<[String; 3]>>,
    /// The user of each request, and its query.
    logins: Mutex<Vec<(String, String)>>,
    /// Whether only pulls are granted.
    read_only: AtomicBool,
}

impl TokenServer {
    /// Starts it with a new key.
    pub fn start() -> Self {
        let pair = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, ISSUER);
        let shared = Arc::new(Shared {
            key: EncodingKey::from_ec_pem(pair.serialize_pem().as_bytes()).unwrap(),
            certificate: params.self_signed(&pair).unwrap(),
            queries: Mutex::default(),
            users: Mutex::default(),
            logins: Mutex::default(),
            read_only: AtomicBool::new(false),
        });
        let serving = BackgroundServer::start(Router::new().fallback(answer).with_state(Arc::clone(&shared)));
        Self { shared, serving }
    }

    /// The realm, by name because some clients refuse addresses of private networks.
    pub fn realm(&self) -> String {
        format!("http://localhost:{}/token", self.serving.port())
    }

    /// The certificate that the registry must trust.
    pub fn certificate(&self) -> String {
        self.shared.certificate.pem()
    }

    /// The queries since the last call.
    pub fn take_queries(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.queries.lock().unwrap())
    }

    /// Adds a user who may pull from the repositories that begin like this.
    pub fn add_user(&self, user: &str, password: &str, repositories: &str) {
        self.shared.users.lock().unwrap().push([user, password, repositories].map(str::to_owned));
    }

    /// The users of the requests since the last call, with their decoded queries; an empty name is nobody's.
    pub fn take_logins(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.shared.logins.lock().unwrap())
    }

    /// From now on grants pulls only.
    pub fn grant_pulls_only(&self) {
        self.shared.read_only.store(true, Ordering::SeqCst);
    }

    /// Issues a token for scopes such as `repository:team/app:pull,push`.
    pub fn issue(&self, scopes: &[&str]) -> String {
        self.shared.issue(scopes.iter().copied())
    }
}

impl Shared {
    fn issue<'a>(&self, scopes: impl Iterator<Item = &'a str>) -> String {
        let read_only = self.read_only.load(Ordering::SeqCst);
        let access: Vec<Value> = scopes.filter_map(|scope| grant(scope, read_only)).collect();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({
            "iss": ISSUER,
            "sub": USER,
            "aud": SERVICE,
            "iat": now,
            "nbf": now - 10,
            "exp": now + 300,
            "jti": now.to_string(),
            "access": access,
        });
        let x5c = Some(vec![STANDARD.encode(self.certificate.der())]);
        let header = Header { x5c, ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }
}

fn grant(scope: &str, read_only: bool) -> Option<Value> {
    // A repository name may contain a colon, as in `host:5000/app`.
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    let actions: Vec<&str> = actions.split(',').filter(|action| !read_only || *action == "pull").collect();
    Some(json!({ "type": kind, "name": name, "actions": actions }))
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let query = uri.query().unwrap_or_default();
    shared.queries.lock().unwrap().push(query.to_owned());
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let login = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Basic "));
    let login = login.map(|login| String::from_utf8(STANDARD.decode(login).unwrap()).unwrap()).unwrap_or_default();
    let (user, password) = login.split_once(':').unwrap_or_default();
    let scopes: Vec<&str> =
        pairs.iter().filter(|(name, _)| name == "scope").flat_map(|(_, value)| value.split(' ')).collect();
    shared.logins.lock().unwrap().push((user.to_owned(), scopes.join(" ")));
    let known = shared.users.lock().unwrap().iter().find(|known| known[0] == user && known[1] == password).cloned();
    let scopes = match known {
        _ if (user, password) == (USER, PASSWORD) => scopes,
        Some([_, _, repositories]) => {
            let begins = format!("repository:{repositories}");
            scopes.into_iter().filter(|scope| scope.starts_with(&begins) && scope.ends_with(":pull")).collect()
        }
        None => return Response::builder().status(401).body(Body::from("who are you?")).unwrap(),
    };
    let body = json!({ "token": shared.issue(scopes.into_iter()), "expires_in": 300 });
    Response::builder().header(header::CONTENT_TYPE, "application/json").body(Body::from(body.to_string())).unwrap()
}
