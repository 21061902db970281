//! The metadata servers of clouds, which are at the same address in all of them and give tokens to whoever asks.

use std::{sync::OnceLock, time::Duration};

use http::{HeaderMap, StatusCode};
use reqwest::Client;

use super::requests::MAX_RESPONSE;
use crate::registry::{http::clients, text::root_cause};

/// The usual address.
pub(super) const ADDRESS: &str = "169.254.169.254";

/// Where there is none, packets to it are often dropped.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// That of GKE refuses connections while a Pod is new.
const ATTEMPTS: u32 = 3;

const PAUSE: Duration = Duration::from_millis(500);

/// For the whole request.
const TIMEOUT: Duration = Duration::from_secs(5);

/// A client for metadata servers.
#[derive(Default)]
pub(super) struct MetadataClient(OnceLock<Client>);

/// A response.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl MetadataClient {
    /// Asks a metadata server; Ok(None): there is none.
    pub(super) async fn get(&self, url: &str, headers: HeaderMap) -> Result<Option<Answer>, String> {
        let cause = |error: reqwest::Error| root_cause(&error.without_url());
        let client = match self.0.get() {
            Some(client) => client,
            None => {
                // Never through a proxy, which has an identity of its own. The server has no certificate.
                let builder = clients::builder().no_proxy().tls_certs_only([]);
                let client = builder.connect_timeout(CONNECT_TIMEOUT).timeout(TIMEOUT).build().map_err(cause)?;
                self.0.get_or_init(|| client)
            }
        };
        let mut attempt = 0;
        let mut response = loop {
            attempt += 1;
            match client.get(url).headers(headers.clone()).send().await {
                Ok(response) => break response,
                Err(error) if error.is_connect() && !error.is_timeout() && attempt < ATTEMPTS => {
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) if error.is_connect() => return Ok(None),
                Err(error) if error.is_timeout() => return Err(format!("no answer within {} s", TIMEOUT.as_secs())),
                Err(error) => return Err(cause(error)),
            }
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(cause)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_RESPONSE {
                return Err(format!("the response is longer than {MAX_RESPONSE} bytes"));
            }
        }
        Ok(Some(Answer { status, headers, body }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn where_nothing_listens_there_is_no_metadata_server() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        assert!(MetadataClient::default().get(&url, HeaderMap::new()).await.unwrap().is_none());
    }
}
