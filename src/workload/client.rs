//! The connection to the API server.

use std::{env, error::Error as _, path::Path, time::Duration};

use http::Uri;
use hyper_util::client::proxy::matcher::Matcher;
use kube::{
    Client, Config,
    config::{InferConfigError, KubeConfigOptions, Kubeconfig, KubeconfigError},
};

/// Longer than a watch may be silent: the server ends each after 290 s.
const READ_TIMEOUT: Duration = Duration::from_secs(300);

/// The cluster's address or credentials can't be found out. Trying again does not help.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The given kubeconfig is missing or malformed.
    #[error("cannot use the kubeconfig {file}: {source}")]
    Kubeconfig {
        /// Its path.
        file: String,
        /// What is wrong with it.
        source: Box<KubeconfigError>,
    },
    /// Neither `KUBECONFIG`, `~/.kube/config` nor a Pod's ServiceAccount leads to a cluster.
    #[error("no cluster is known; name a kubeconfig with --kubeconfig or KUBECONFIG, or run inside a cluster: {0}")]
    Unknown(#[source] Box<InferConfigError>),
    /// The TLS material or the credentials are unusable.
    #[error("cannot use the cluster's credentials: {0}")]
    Credentials(#[source] Box<kube::Error>),
}

/// A client for the cluster that `kubeconfig` names, or else the environment: `KUBECONFIG`, `~/.kube/config`, the
/// ServiceAccount of the Pod. Contacts nobody. Token files are read again every minute, so that tokens may expire.
///
/// Its `default_namespace` is the Pod's own inside a cluster.
pub async fn client(kubeconfig: Option<&Path>) -> Result<Client, ClientError> {
    let mut config = match kubeconfig {
        Some(path) => {
            let unusable =
                |source| ClientError::Kubeconfig { file: path.display().to_string(), source: Box::new(source) };
            let file = Kubeconfig::read_from(path).map_err(unusable)?;
            Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(unusable)?
        }
        None => Config::infer().await.map_err(|source| ClientError::Unknown(Box::new(source)))?,
    };
    config.proxy_url = proxy(&config);
    // Without it a list that the server never answers waits for ever.
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    Client::try_from(config).map_err(|source| ClientError::Credentials(Box::new(source)))
}

/// The proxy on the way to the cluster: the kubeconfig's, or that of the environment, which kube takes even for a cluster
/// that `NO_PROXY` names.
fn proxy(config: &Config) -> Option<Uri> {
    let proxy = config.proxy_url.as_ref()?;
    let is = |variable| env::var(variable).is_ok_and(|value| value.parse().is_ok_and(|value: Uri| value == *proxy));
    let of_environment = is("HTTPS_PROXY") || is("https_proxy");
    let excluded = of_environment && Matcher::from_env().intercept(&config.cluster_url).is_none();
    (!excluded).then(|| proxy.clone())
}

/// What went wrong, in one line: the server's own words, or the chain of causes. The client's own text leaves out why
/// a connection failed, and repeats a refusal as a data structure.
pub(super) fn describe(error: &kube::Error) -> String {
    if let kube::Error::Api(status) = error
        && !status.message.is_empty()
    {
        return status.message.clone();
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}
