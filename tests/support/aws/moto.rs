//! The moto server, which simulates the APIs of ECR and STS.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tokio::sync::OnceCell;

use super::super::{
    eventually,
    server_process::ServerProcess,
    servers::{free_port, program},
};

/// A running moto server.
pub struct Moto {
    url: String,
    client: reqwest::Client,
    server: ServerProcess,
}

impl Moto {
    /// The server that all tests of this process share, each with its own accounts.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Moto> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("moto-").tempdir().unwrap().keep();
        let port = free_port();
        let arguments = ["--host", "127.0.0.1", "--port", &port.to_string()].map(Into::into);
        let server =
            ServerProcess::start(&program("moto_server"), &arguments, &directory.join("log"), Some(&directory));
        // Several runtimes use this client, so no connection is kept.
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        let moto = Self { url: format!("http://127.0.0.1:{port}"), client, server };
        eventually("moto answers", || async {
            let answer = moto.client.get(format!("{}/moto-api/", moto.url)).send().await;
            assert!(moto.server.is_running(), "moto has exited: {}", moto.server.log_tail());
            answer.ok()
        })
        .await;
        moto
    }

    /// `http://host:port`
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Calls an action of ECR as an account, in a region.
    ///
    /// # Errors
    ///
    /// Moto's error.
    pub async fn call(&self, account: &str, region: &str, action: &str, body: &Value) -> Result<Value, Value> {
        let authorization = format!("AWS4-HMAC-SHA256 Credential=TEST/20260101/{region}/ecr/aws4_request");
        let request = self
            .client
            .post(&self.url)
            .header("authorization", authorization)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("AmazonEC2ContainerRegistry_V20150921.{action}"))
            .header(ACCOUNT, account)
            .body(body.to_string());
        let response = request.send().await.unwrap();
        let is_success = response.status().is_success();
        let response = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        if is_success { Ok(response) } else { Err(response) }
    }
}

/// The header that selects the account.
pub const ACCOUNT: &str = "x-moto-account-id";

/// An account that no other test of this process uses.
pub fn new_account() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // Without leading zeros.
    format!("{}", 210_000_000_000 + NEXT.fetch_add(1, Ordering::Relaxed))
}
