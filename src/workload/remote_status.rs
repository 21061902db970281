//! Reads `/status` of a running program: through the API server, or from its address.

use std::time::Duration;

use kube::{Client, Config};
use tokio::time::timeout;

use super::client::describe;

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// The port of metrics and endpoints in a Pod.
const PORT: u16 = 8080;

/// Where a program's endpoints are.
#[derive(Clone)]
pub struct RemoteProgram {
    client: Client,
    access: Access,
}

#[derive(Clone, Debug)]
enum Access {
    /// Its address.
    Url(String),
    /// A Service in the cluster.
    Service { namespace: String, name: String },
    /// A Pod in the cluster.
    Pod { namespace: String, name: String },
}

/// The status of a program could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RemoteStatusError {
    /// The address is not usable.
    #[error("invalid URL {url:?}: {reason}; an example is http://localhost:8080")]
    Url {
        /// As given.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// The program, or the API server before it, refused the request or did not answer.
    #[error("cannot read the status of {place}: {reason}{remedy}")]
    Request {
        /// Which program.
        place: String,
        /// What happened.
        reason: String,
        /// What to do.
        remedy: String,
    },
}

impl RemoteProgram {
    /// At this address: `http://localhost:8080`.
    ///
    /// # Errors
    /// If it is not an http or https URL.
    pub fn at_url(url: &str) -> Result<Self, RemoteStatusError> {
        let invalid = |reason: String| RemoteStatusError::Url { url: url.to_owned(), reason };
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let parsed: http::Uri =
            with_scheme.parse().map_err(|error: http::uri::InvalidUri| invalid(error.to_string()))?;
        if !matches!(parsed.scheme_str(), Some("http" | "https")) || parsed.host().is_none() {
            return Err(invalid("it needs http or https and a host".to_owned()));
        }
        let client = Client::try_from(Config::new(parsed)).map_err(|error| invalid(error.to_string()))?;
        Ok(Self { client, access: Access::Url(with_scheme) })
    }

    /// Behind this Service of the cluster, through the API server.
    pub fn at_service(client: Client, namespace: &str, name: &str) -> Self {
        Self { client, access: Access::Service { namespace: namespace.to_owned(), name: name.to_owned() } }
    }

    /// The Pod that leads, if this program is behind a Service. `leader` is the identity in the Lease.
    pub fn leader(&self, leader: &str) -> Option<Self> {
        let Access::Service { namespace, .. } = &self.access else { return None };
        let (pod, _) = leader.rsplit_once('_')?;
        let access = Access::Pod { namespace: namespace.clone(), name: pod.to_owned() };
        Some(Self { client: self.client.clone(), access })
    }

    /// The answer of `/status` to this query, as text.
    ///
    /// # Errors
    /// If it can't be read within 20 s.
    pub async fn status(&self, query: &str) -> Result<String, RemoteStatusError> {
        let path = format!("{}/status?{query}", self.access.path());
        let failed = |reason: String, remedy: String| RemoteStatusError::Request {
            place: self.access.to_string(),
            reason,
            remedy,
        };
        let request = http::Request::get(&path).body(Vec::new());
        let request = request.map_err(|error| failed(error.to_string(), String::new()))?;
        match timeout(DEADLINE, self.client.request_text(request)).await {
            Ok(Ok(text)) => Ok(text),
            Ok(Err(error)) => Err(failed(describe(&error), self.access.remedy(&error))),
            Err(_) => Err(failed(format!("no answer within {} s", DEADLINE.as_secs()), String::new())),
        }
    }
}

impl std::fmt::Display for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url(url) => f.write_str(url),
            Self::Service { namespace, name } => write!(f, "Service {namespace}/{name}"),
            Self::Pod { namespace, name } => write!(f, "Pod {namespace}/{name}"),
        }
    }
}

impl Access {
    /// Before the path of the endpoint.
    fn path(&self) -> String {
        match self {
            // It is the client's.
            Self::Url(_) => String::new(),
            Self::Service { namespace, name } => {
                format!("/api/v1/namespaces/{namespace}/services/{name}:metrics/proxy")
            }
            Self::Pod { namespace, name } => format!("/api/v1/namespaces/{namespace}/pods/{name}:{PORT}/proxy"),
        }
    }

    fn remedy(&self, error: &kube::Error) -> String {
        let code = match error {
            kube::Error::Api(status) => status.code,
            _ => 0,
        };
        match (self, code) {
            (Self::Url(_), _) => String::new(),
            (Self::Service { namespace, .. }, 403) => {
                format!(
                    "; grant get on services/proxy in namespace {namespace}, or use --url with kubectl port-forward"
                )
            }
            (Self::Pod { namespace, .. }, 403) => {
                format!("; grant get on pods/proxy in namespace {namespace}, or use --url with kubectl port-forward")
            }
            (Self::Service { .. }, 404) => "; name it with --install-namespace and --service".to_owned(),
            (Self::Service { .. } | Self::Pod { .. }, 503) => {
                "; no Pod of the program is ready, or the API server can't reach it".to_owned()
            }
            _ => String::new(),
        }
    }
}
