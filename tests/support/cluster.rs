//! A Kubernetes API server with its etcd.
//!
//! There are no controllers and no kubelet: a Deployment creates no Pods, and deleting it deletes nothing else. The drills add them.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use k8s_openapi::{
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec},
        core::v1::{Namespace, ServiceAccount},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{DynamicObject, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
    discovery::{self, Scope},
};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::{
    certificates::Authority,
    eventually,
    server_process::ServerProcess,
    servers::{free_port, program},
};

/// The token of a user in `system:masters`.
const ADMIN: &str = "admin-token";

/// Logs all requests of ServiceAccounts.
const AUDIT_POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  - { level: Metadata, userGroups: [system:serviceaccounts] }
";

/// The field manager of [`Cluster::apply`].
const FIELD_MANAGER: &str = "k8s-copycat-tests";

/// Addresses of this machine that Pods reach.
#[derive(Clone, Copy)]
pub struct PodNetwork {
    /// The node's.
    pub node: &'static str,
    /// The first one of the services (10.0.0.0/24), which Kubernetes gives to the API server.
    pub service: &'static str,
}

/// A running API server.
pub struct Cluster {
    network: Option<PodNetwork>,
    directory: PathBuf,
    url: String,
    authority: Authority,
    port: u16,
    etcd_port: u16,
    apiserver: Option<ServerProcess>,
    // Dropped last: it removes the directory.
    etcd: ServerProcess,
}

impl Cluster {
    /// The cluster that all tests of this process share, each in its own namespace.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    /// A separate cluster, which a test can stop and start.
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    /// A separate cluster whose API server Pods of this machine can use.
    pub async fn start_for_pods(network: PodNetwork) -> Self {
        Self::start_with(Some(network)).await
    }

    async fn start_with(network: Option<PodNetwork>) -> Self {
        let directory = tempfile::Builder::new().prefix("cluster-").tempdir().unwrap().keep();
        // The port of the service: without kube-proxy nobody translates it.
        let (port, etcd_port) = (network.map_or_else(free_port, |_| 443), free_port());
        let authority = Authority::new();
        let addresses = network.map(|network| [network.node, network.service]).unwrap_or_default();
        let addresses = addresses.into_iter().filter(|address| !address.is_empty()).collect::<Vec<_>>();
        authority.write_server_at(&addresses, &directory.join("server.pem"), &directory.join("server.key"));
        fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
        let accounts = rcgen::KeyPair::generate().unwrap();
        fs::write(directory.join("accounts.key"), accounts.serialize_pem()).unwrap();
        fs::write(directory.join("accounts.pub"), accounts.public_key_pem()).unwrap();
        fs::write(directory.join("tokens.csv"), format!("{ADMIN},admin,admin,\"system:masters\"\n")).unwrap();
        fs::write(directory.join("audit.yaml"), AUDIT_POLICY).unwrap();
        let etcd = start_etcd(&directory, etcd_port);
        let url = format!("https://127.0.0.1:{port}");
        let mut cluster = Self { network, directory, url, authority, port, etcd_port, apiserver: None, etcd };
        cluster.start_apiserver().await;
        cluster
    }

    /// Starts the API server on the same port with the same data, and waits until it is ready.
    pub async fn start_apiserver(&mut self) {
        let file = |name: &str| self.directory.join(name).display().to_string();
        let (bind, advertise, disabled) = match &self.network {
            // The controllers that create ServiceAccounts and remove taints do not run here.
            None => ("127.0.0.1", "127.0.0.1", "ServiceAccount"),
            Some(network) => ("0.0.0.0", network.node, "TaintNodesByCondition"),
        };
        let arguments = [
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            // It refuses to publish a loopback address as an endpoint.
            format!("--bind-address={bind}"),
            format!("--advertise-address={advertise}"),
            "--endpoint-reconciler-type=none".to_owned(),
            format!("--secure-port={}", self.port),
            format!("--cert-dir={}", file("certificates")),
            format!("--tls-cert-file={}", file("server.pem")),
            format!("--tls-private-key-file={}", file("server.key")),
            format!("--token-auth-file={}", file("tokens.csv")),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            format!("--service-account-key-file={}", file("accounts.pub")),
            format!("--service-account-signing-key-file={}", file("accounts.key")),
            "--authorization-mode=RBAC".to_owned(),
            format!("--disable-admission-plugins={disabled}"),
            "--kubelet-preferred-address-types=InternalIP".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            "--allow-privileged=true".to_owned(),
            // Otherwise the API server drops what a kubelet reports of image volumes.
            "--feature-gates=ImageVolumeWithDigest=true".to_owned(),
            format!("--audit-policy-file={}", file("audit.yaml")),
            format!("--audit-log-path={}", file("audit.log")),
        ];
        let log = self.directory.join("kube-apiserver.log");
        let apiserver = ServerProcess::start(&program("kube-apiserver"), &arguments.map(Into::into), &log, None);
        let client = self.admin();
        eventually("kube-apiserver is ready", || async {
            let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
            if let Err(error) = client.request_text(request).await {
                assert!(apiserver.is_running(), "kube-apiserver has exited: {error}\n{}", self.log_tail(&apiserver));
                return None;
            }
            Some(())
        })
        .await;
        self.apiserver = Some(apiserver);
    }

    /// Kills the API server; its data stays.
    pub fn stop_apiserver(&mut self) {
        self.apiserver = None;
    }

    fn log_tail(&self, apiserver: &ServerProcess) -> String {
        format!("{}\n{}", apiserver.log_tail(), self.etcd.log_tail())
    }

    /// A client with all rights.
    pub fn admin(&self) -> Client {
        self.client(ADMIN)
    }

    /// A token with all rights.
    pub fn admin_token(&self) -> &'static str {
        ADMIN
    }

    /// A client with this bearer token.
    pub fn client(&self, token: &str) -> Client {
        let mut config = Config::new(self.url.parse().unwrap());
        config.root_cert = Some(vec![self.authority.der().to_vec()]);
        config.auth_info.token = Some(token.to_owned().into());
        Client::try_from(config).unwrap()
    }

    /// The certificate of the authority that signed the API server's.
    pub fn authority_file(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Writes a kubeconfig with this bearer token into `directory`.
    pub fn kubeconfig(&self, directory: &Path, token: &str) -> PathBuf {
        self.kubeconfig_for_port(self.port, directory, token)
    }

    /// The same with another port, for a connection through a [`super::Link`].
    pub fn kubeconfig_for_port(&self, port: u16, directory: &Path, token: &str) -> PathBuf {
        let file = directory.join("kubeconfig");
        let content = serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{ "name": "test", "cluster": {
                "server": format!("https://127.0.0.1:{port}"),
                "certificate-authority": self.directory.join("ca.pem"),
            } }],
            "users": [{ "name": "test", "user": { "token": token } }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test" } }],
            "current-context": "test",
        });
        // JSON is YAML.
        fs::write(&file, content.to_string()).unwrap();
        file
    }

    /// Creates a namespace for one test.
    pub async fn namespace(&self) -> String {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("test-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        Api::all(self.admin()).create(&PostParams::default(), &namespace).await.unwrap();
        name
    }

    /// A token of an existing ServiceAccount, as the kubelet requests one.
    pub async fn service_account_token(&self, namespace: &str, name: &str) -> String {
        let request = TokenRequest {
            spec: Some(TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() }),
            ..TokenRequest::default()
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.admin(), namespace);
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await.unwrap();
        answer.status.unwrap().token.unwrap()
    }

    /// The requests of this ServiceAccount with their responses, as `audit.k8s.io` events.
    pub fn audit(&self, namespace: &str, account: &str) -> Vec<Value> {
        let user = format!("system:serviceaccount:{namespace}:{account}");
        let log = fs::read_to_string(self.directory.join("audit.log")).unwrap();
        let events = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| event["user"]["username"] == user.as_str()).collect()
    }

    /// Applies all documents of `yaml` in order, like `kubectl apply --server-side`.
    pub async fn apply(&self, yaml: &str) {
        for object in serde_yaml::from_multiple::<DynamicObject>(yaml).unwrap() {
            self.patch(&object, &PatchParams::apply(FIELD_MANAGER).force()).await.unwrap();
        }
    }

    /// Asks what an `apply` of this object would do, like `kubectl apply --dry-run=server --validate=strict`; its namespace
    /// must exist.
    pub async fn validate(&self, object: &Value) -> kube::Result<()> {
        let object = serde_json::from_value(object.clone()).unwrap();
        self.patch(&object, &PatchParams::apply(FIELD_MANAGER).force().dry_run().validation_strict()).await
    }

    async fn patch(&self, object: &DynamicObject, parameters: &PatchParams) -> kube::Result<()> {
        let client = self.admin();
        let types = object.types.clone().unwrap();
        let kind = GroupVersionKind::try_from(types).unwrap();
        let (resource, capabilities) = discovery::pinned_kind(&client, &kind).await?;
        let api: Api<DynamicObject> = match (&capabilities.scope, object.namespace()) {
            (Scope::Namespaced, Some(namespace)) => Api::namespaced_with(client, &namespace, &resource),
            (Scope::Namespaced, None) => Api::default_namespaced_with(client, &resource),
            (Scope::Cluster, _) => Api::all_with(client, &resource),
        };
        api.patch(&object.name_any(), parameters, &Patch::Apply(object)).await.map(drop)
    }
}

fn start_etcd(directory: &Path, port: u16) -> ServerProcess {
    let client = format!("http://127.0.0.1:{port}");
    let peer = format!("http://127.0.0.1:{}", free_port());
    let arguments = [
        format!("--data-dir={}", directory.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        // Test data need not survive a crash of the machine.
        "--unsafe-no-fsync".to_owned(),
    ];
    ServerProcess::start(&program("etcd"), &arguments.map(Into::into), &directory.join("etcd.log"), Some(directory))
}
