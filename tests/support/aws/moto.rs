//! Moto's server, which plays AWS's ECR and STS.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use tokio::sync::OnceCell;

use super::super::{
    eventually,
    guarded::Guarded,
    servers::{free_port, program},
};

/// A running server of moto.
pub struct Moto {
    url: String,
    client: reqwest::Client,
    server: Guarded,
}

impl Moto {
    /// The one that all tests of this process share, each with accounts of its own.
    pub async fn shared() -> &'static Self {
        static SHARED: OnceCell<Moto> = OnceCell::const_new();
        SHARED.get_or_init(Self::start).await
    }

    async fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("moto-").tempdir().unwrap().keep();
        let port = free_port();
        let arguments = ["--host", "127.0.0.1", "--port", &port.to_string()].map(Into::into);
        let server = Guarded::start(&program("moto_server"), &arguments, &directory.join("log"), Some(&directory));
        // It is asked by several runtimes, none of which may keep a connection.
        let client = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).build().unwrap();
        let moto = Self { url: format!("http://127.0.0.1:{port}"), client, server };
        eventually("moto answers", || async {
            let answer = moto.client.get(format!("{}/moto-api/", moto.url)).send().await;
            assert!(moto.server.is_running(), "moto has ended: {}", moto.server.last_words());
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
    /// What moto says, if it refuses.
    pub async fn ask(&self, account: &str, region: &str, action: &str, body: &Value) -> Result<Value, Value> {
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
        let good = response.status().is_success();
        let said = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        if good { Ok(said) } else { Err(said) }
    }
}

/// The header that tells moto which account is meant.
pub const ACCOUNT: &str = "x-moto-account-id";

/// The number of an account that nobody else in this process uses.
pub fn new_account() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // The first digit is one that a number keeps.
    format!("{}", 210_000_000_000 + NEXT.fetch_add(1, Ordering::Relaxed))
}
