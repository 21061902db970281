//! Google Cloud and Azure as far as registries need them, with their real host names: token services, metadata servers, and
//! registries that want their tokens. They refuse what is documented to be refused.

pub mod azure;
pub mod google;

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::Response,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderValue, Method, header, request::Parts};
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use tempfile::TempDir;
use url::form_urlencoded;

use super::{
    background::BackgroundServer,
    certificates::Authority,
    program::Program,
    proxy::{Upstream, refuse, respond},
    registry::{Access, Registry},
    traffic::Request,
    tunnel,
};

/// A registry of Google Cloud.
pub const GOOGLE: &str = "europe-docker.pkg.dev";
/// A registry of Azure.
pub const AZURE: &str = "acme.azurecr.io";
/// A registry of neither.
pub const OTHER: &str = "registry.example.com";

/// Google Cloud, Azure, and a registry of neither, for one test.
pub struct Clouds {
    state: Arc<CloudState>,
    metadata: BackgroundServer,
    tunnel: BackgroundServer,
    backend: Registry,
    directory: TempDir,
}

struct CloudState {
    upstream: Upstream,
    requests: Mutex<Vec<Request>>,
    /// Of what has been issued; each secret begins with its kind.
    secrets: Mutex<Vec<String>>,
    count: AtomicUsize,
    /// Of the service account.
    key: KeyPair,
    /// How many seconds an access token lives, as its issuer says.
    lifetime: AtomicUsize,
    /// Whether the next identity token of Azure's registry is not accepted.
    revokes_next: AtomicBool,
    /// What the metadata server responds instead of a token.
    metadata_refusal: Mutex<Option<(u16, Value)>>,
}

impl Clouds {
    pub async fn start() -> Self {
        let backend = Registry::distribution(Access::Anonymous).await;
        let state = Arc::new(CloudState {
            upstream: Upstream::new(backend.url()),
            requests: Mutex::default(),
            secrets: Mutex::default(),
            count: AtomicUsize::default(),
            key: KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap(),
            lifetime: AtomicUsize::new(3599),
            revokes_next: AtomicBool::default(),
            metadata_refusal: Mutex::default(),
        });
        let authority = Authority::new();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.pem"), authority.pem()).unwrap();
        let metadata = BackgroundServer::start(Router::new().fallback(metadata).with_state(Arc::clone(&state)));
        let router = Router::new().fallback(host).with_state(Arc::clone(&state));
        let tunnel = tunnel::start(authority, exists, router);
        Self { state, metadata, tunnel, backend, directory }
    }

    /// The registry behind all of these registries, for pushing to and looking into.
    pub fn backend(&self) -> &Registry {
        &self.backend
    }

    /// All requests since the last call, those to token services and metadata servers included.
    pub fn take_requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.requests.lock().unwrap())
    }

    /// The address of the metadata server of both clouds.
    pub fn metadata(&self) -> String {
        self.metadata.host()
    }

    /// The metadata server responds with this instead of a token.
    pub fn refuse_metadata(&self, status: u16, body: Value) {
        *self.state.metadata_refusal.lock().unwrap() = Some((status, body));
    }

    /// The next identity token of Azure's registry is not accepted.
    pub fn revoke_next_identity_token(&self) {
        self.state.revokes_next.store(true, Ordering::SeqCst);
    }

    /// New tokens live so many seconds.
    pub fn set_token_lifetime(&self, seconds: usize) {
        self.state.lifetime.store(seconds, Ordering::SeqCst);
    }

    /// The registries accept none of the tokens that have been issued, as after they have expired.
    pub fn expire_tokens(&self) {
        self.state.secrets.lock().unwrap().clear();
    }

    /// The key of the service account, in PEM.
    pub fn service_account_key(&self) -> String {
        self.state.key.serialize_pem()
    }

    /// Something issued that `text` contains, if any.
    pub fn find_secret(&self, text: &str) -> Option<String> {
        let secrets = self.state.secrets.lock().unwrap();
        let encoded = |secret: &str| STANDARD.encode(format!("oauth2accesstoken:{secret}"));
        secrets.iter().find(|secret| text.contains(secret.as_str()) || text.contains(&encoded(secret))).cloned()
    }
}

impl Program {
    /// In a network with these clouds, on a machine of neither.
    pub fn clouds(self, clouds: &Clouds) -> Self {
        // Nothing listens on port 1.
        self.env("HTTPS_PROXY", format!("http://{}", clouds.tunnel.host()))
            .env("NO_PROXY", "127.0.0.1,localhost")
            .env("SSL_CERT_FILE", clouds.directory.path().join("ca.pem"))
            .env("GCE_METADATA_HOST", "127.0.0.1:1")
            .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", "http://127.0.0.1:1")
    }

    /// On a machine whose metadata server is theirs.
    pub fn on_cloud_machine(self, clouds: &Clouds) -> Self {
        self.env("GCE_METADATA_HOST", clouds.metadata())
            .env("AZURE_POD_IDENTITY_AUTHORITY_HOST", format!("http://{}", clouds.metadata()))
    }
}

impl CloudState {
    /// A new secret of a kind.
    fn issue(&self, kind: &str) -> String {
        let secret = format!("{kind}-{}-{}", self.count.fetch_add(1, Ordering::SeqCst), "geheim".repeat(4));
        self.secrets.lock().unwrap().push(secret.clone());
        secret
    }

    /// Whether a secret of this kind has been issued.
    fn is_valid(&self, kind: &str, secret: &str) -> bool {
        secret.starts_with(&format!("{kind}-")) && self.secrets.lock().unwrap().iter().any(|valid| valid == secret)
    }

    fn lifetime(&self) -> usize {
        self.lifetime.load(Ordering::SeqCst)
    }
}

fn exists(host: &str) -> bool {
    [OTHER, "gcr.io", GOOGLE, AZURE].contains(&host) || google::HOSTS.contains(&host) || host == azure::AUTHORITY
}

async fn host(State(state): State<Arc<CloudState>>, request: axum::extract::Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let recorded = Request::new(&parts);
    let host = recorded.host.clone();
    state.requests.lock().unwrap().push(recorded);
    match host.as_str() {
        OTHER => forward(&state, parts, body).await,
        GOOGLE | "gcr.io" => google::registry(&state, &host, parts, body).await,
        AZURE => azure::registry(&state, parts, body).await,
        azure::AUTHORITY => azure::authority(&state, &parts, &form(body).await),
        _ => google::service(&state, &host, &parts, &to_bytes(body, 1 << 20).await.unwrap()),
    }
}

async fn metadata(State(state): State<Arc<CloudState>>, request: axum::extract::Request) -> Response<Body> {
    let (parts, _) = request.into_parts();
    state.requests.lock().unwrap().push(Request::new(&parts));
    // It is asked directly, and never by a name that leads here from elsewhere.
    assert!(!parts.headers.contains_key("x-forwarded-for"));
    if let Some((status, body)) = state.metadata_refusal.lock().unwrap().clone() {
        let mut answer = answer(status, &body);
        answer.headers_mut().insert("metadata-flavor", HeaderValue::from_static("Google"));
        return answer;
    }
    match parts.uri.path() {
        path if path.starts_with("/computeMetadata/") => google::metadata(&state, &parts),
        "/metadata/identity/oauth2/token" => azure::metadata(&state, &parts),
        _ => respond(404, &[]),
    }
}

/// To the registry behind, without authentication.
async fn forward(state: &CloudState, mut parts: Parts, body: Body) -> Response<Body> {
    parts.headers.remove(header::AUTHORIZATION);
    parts.headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    state.upstream.forward(parts, body, None).await
}

fn answer(status: u16, body: &Value) -> Response<Body> {
    let response = Response::builder().status(status).header(header::CONTENT_TYPE, "application/json");
    response.body(Body::from(body.to_string())).unwrap()
}

fn challenge(realm: &str, service: &str) -> Response<Body> {
    let mut answer = refuse(401, "UNAUTHORIZED", "authentication required");
    let challenge = format!("Bearer realm=\"{realm}\",service=\"{service}\"");
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge.parse().unwrap());
    answer
}

fn bearer(parts: &Parts) -> Option<&str> {
    parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")
}

/// User and password.
fn basic(parts: &Parts) -> Option<(String, String)> {
    let pair = parts.headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let pair = String::from_utf8(STANDARD.decode(pair).ok()?).ok()?;
    pair.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

/// The fields of a form, or of a query.
struct Form(Vec<(String, String)>);

impl Form {
    fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Whether it has these fields, and no others.
    fn is(&self, fields: &[(&str, &str)]) -> bool {
        let mut found: Vec<_> = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut fields = fields.to_vec();
        found.sort_unstable();
        fields.sort_unstable();
        found == fields
    }
}

async fn form(body: Body) -> Form {
    Form::parse(&to_bytes(body, 1 << 20).await.unwrap())
}

fn query(parts: &Parts) -> Form {
    Form::parse(parts.uri.query().unwrap_or_default().as_bytes())
}

fn is_post(parts: &Parts) -> bool {
    parts.method == Method::POST
        && parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/x-www-form-urlencoded")
}

/// An error as OAuth 2.0 has them.
fn oauth_error(status: u16, error: &str, description: &str) -> Response<Body> {
    answer(status, &json!({ "error": error, "error_description": description }))
}

/// The paths of files that belong to a test.
impl Clouds {
    /// A file beside the certificate.
    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }
}
