//! The connection to the API server.

use std::{env, error::Error as _, path::Path, time::Duration};

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::{
    Client, Config,
    config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};

use crate::model::error_chain;

/// Longer than the longest silence of a watch: the API server ends each after 290 s.
const READ_TIMEOUT: Duration = Duration::from_secs(300);

/// There is no usable cluster configuration. A retry does not help.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The given kubeconfig is missing or malformed.
    #[error("cannot use kubeconfig {file}")]
    Kubeconfig {
        /// Its path.
        file: String,
        /// The cause.
        source: Box<KubeconfigError>,
    },
    /// There is no `KUBECONFIG`, no `~/.kube/config` and no ServiceAccount of a Pod.
    #[error("no cluster configuration found; set --kubeconfig or KUBECONFIG, or run inside a cluster")]
    Unknown(#[source] NoKubeconfig),
    /// The TLS certificates or the credentials are unusable.
    #[error("cannot use the cluster's credentials")]
    Credentials(#[source] Box<kube::Error>),
}

/// Why no kubeconfig was found. That there is no ServiceAccount of a Pod either is clear outside of a cluster.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NoKubeconfig(String);

impl From<InferConfigError> for NoKubeconfig {
    fn from(error: InferConfigError) -> Self {
        // Its own text has the same cause twice.
        Self(error.source().map_or_else(|| error.to_string(), ToString::to_string))
    }
}

/// A client for the cluster in `kubeconfig`, or else in `KUBECONFIG`, `~/.kube/config` or the Pod's ServiceAccount. Does
/// not connect yet. Token files are read again every minute, so expiring tokens work.
///
/// Inside a cluster its `default_namespace` is the Pod's namespace.
pub async fn client(kubeconfig: Option<&Path>) -> Result<Client, ClientError> {
    connect(cluster_config(kubeconfig).await?)
}

/// The same for a single question to a person's cluster: a failed request is not repeated.
pub(super) async fn client_without_retries(kubeconfig: Option<&Path>) -> Result<Client, ClientError> {
    let mut config = cluster_config(kubeconfig).await?;
    config.default_retry = false;
    connect(config)
}

fn connect(config: Config) -> Result<Client, ClientError> {
    Client::try_from(config).map_err(|source| ClientError::Credentials(Box::new(source)))
}

async fn cluster_config(kubeconfig: Option<&Path>) -> Result<Config, ClientError> {
    let mut config = match kubeconfig {
        Some(path) => {
            let unusable =
                |source| ClientError::Kubeconfig { file: path.display().to_string(), source: Box::new(source) };
            let file = Kubeconfig::read_from(path).map_err(unusable)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(unusable)?
        }
        None => Config::infer().await.map_err(|source| ClientError::Unknown(source.into()))?,
    };
    config.proxy_url = proxy(&config);
    // Without it a list without an answer would wait forever.
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    Ok(config)
}

/// The proxy to the cluster: from the kubeconfig, or from the environment. By itself, kube ignores `NO_PROXY`.
fn proxy(config: &Config) -> Option<Uri> {
    let proxy = config.proxy_url.as_ref()?;
    let is_from =
        |variable| env::var(variable).is_ok_and(|value| value.parse().is_ok_and(|value: Uri| value == *proxy));
    let of_environment = is_from("HTTPS_PROXY") || is_from("https_proxy");
    let excluded = of_environment && Matcher::from_env().intercept(&config.cluster_url).is_none();
    (!excluded).then(|| proxy.clone())
}

/// An error in one line: the API server's message, or the chain of causes. kube's own text omits why a connection failed,
/// and shows an API server's refusal as a data structure.
pub(super) fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        // Something else than an API server answered.
        kube::Error::Api(status) => format!("the answer has status {} and no message", status.code),
        // kube's own words say no more than that it was a request.
        kube::Error::Service(cause) => error_chain(&**cause),
        _ => error_chain(error),
    }
}
