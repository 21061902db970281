//! Reads `/status` of a running program: through the API server, or from its address.

use std::{path::Path, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, Config};
use tokio::time::timeout;

use super::client::{ClientError, client_without_retries, describe};

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(20);
/// The port of metrics and endpoints in a Pod, unless the Pod names another one.
const PORT: u16 = 8080;
/// The name of that port in a Pod.
const PORT_NAME: &str = "metrics";

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
    /// A Pod in the cluster, and its port.
    Pod { namespace: String, name: String, port: u16 },
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
        let mut config = Config::new(parsed);
        config.default_retry = false;
        let client = Client::try_from(config).map_err(|error| invalid(error.to_string()))?;
        Ok(Self { client, access: Access::Url(with_scheme) })
    }

    /// Behind this Service of the cluster, through the API server.
    ///
    /// # Errors
    /// If there is no usable cluster configuration.
    pub async fn at_service(kubeconfig: Option<&Path>, namespace: &str, name: &str) -> Result<Self, ClientError> {
        let access = Access::Service { namespace: namespace.to_owned(), name: name.to_owned() };
        Ok(Self { client: client_without_retries(kubeconfig).await?, access })
    }

    /// The Pod that leads, if this program is behind a Service. `leader` is the identity in the Lease. The Pod is read to find
    /// its port, if the caller may.
    pub async fn leader(&self, leader: &str) -> Option<Self> {
        let Access::Service { namespace, .. } = &self.access else { return None };
        let (name, _) = leader.rsplit_once('_')?;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let pod = timeout(DEADLINE, pods.get(name)).await;
        let port = pod.ok().and_then(Result::ok).as_ref().and_then(metrics_port).unwrap_or(PORT);
        let access = Access::Pod { namespace: namespace.clone(), name: name.to_owned(), port };
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
            Self::Pod { namespace, name, port } => write!(f, "Pod {namespace}/{name} at port {port}"),
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
            Self::Pod { namespace, name, port } => format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy"),
        }
    }

    fn remedy(&self, error: &kube::Error) -> String {
        let code = match (self, error) {
            (_, kube::Error::Api(status)) => status.code,
            (Self::Service { .. } | Self::Pod { .. }, kube::Error::Service(_)) => {
                return "; the API server can't be reached: check the address in the kubeconfig, and the network"
                    .to_owned();
            }
            _ => 0,
        };
        match (self, code) {
            (Self::Url(_), 404) => {
                "; name the program's metrics address, without a path, such as http://localhost:8080".to_owned()
            }
            (Self::Url(url), 0) if url.starts_with("https:") => "; the program itself serves plain HTTP".to_owned(),
            (Self::Url(_), _) => String::new(),
            (Self::Service { namespace, .. }, 403) => {
                format!(
                    "; grant get on services/proxy in namespace {namespace}, or use --url with kubectl port-forward"
                )
            }
            (Self::Pod { namespace, .. }, 403) => {
                format!("; grant get on pods/proxy in namespace {namespace}, or use --url with kubectl port-forward")
            }
            // The API server does not tell the two apart.
            (Self::Service { .. }, 404 | 503) => {
                "; there is no such Service (name it with --install-namespace and --service), or no Pod of it is ready"
                    .to_owned()
            }
            (Self::Pod { .. }, 503) => {
                "; grant get on pods if its container port metrics is another one, or use --url with kubectl port-forward to this Pod".to_owned()
            }
            _ => String::new(),
        }
    }
}

/// The port that a Pod's containers call `metrics`.
fn metrics_port(pod: &Pod) -> Option<u16> {
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let mut ports = containers.flat_map(|container| container.ports.iter().flatten());
    let port = ports.find(|port| port.name.as_deref() == Some(PORT_NAME))?;
    u16::try_from(port.container_port).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_port_is_the_one_that_the_pod_calls_metrics() {
        for (ports, expected) in [
            (
                json!([{ "name": "health", "containerPort": 8081 }, { "name": "metrics", "containerPort": 9090 }]),
                Some(9090),
            ),
            (json!([{ "containerPort": 9090 }]), None),
            (json!([]), None),
        ] {
            let containers = json!([{ "name": "sidecar" }, { "name": "k8s-copycat", "ports": ports }]);
            let pod = serde_json::from_value(json!({ "spec": { "containers": containers } })).unwrap();
            assert_eq!(metrics_port(&pod), expected, "{ports}");
        }
    }
}
