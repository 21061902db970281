//! Requests for tokens to the services of clouds.

use std::{fs::File, io::Read as _, path::Path};

use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE},
};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use url::{Url, form_urlencoded};

use crate::registry::{
    auth::header::sensitive,
    http::{
        request::{Endpoint, Payload},
        transport::Transport,
    },
    text::one_line,
};

/// In bytes.
pub(super) const MAX_RESPONSE: usize = 1024 * 1024;

/// The longest file with a token or with credentials, in bytes.
const MAX_FILE: u64 = 256 * 1024;

/// A token as the services of both clouds return it.
#[derive(Deserialize)]
pub(super) struct AccessToken {
    pub access_token: String,
    /// In seconds.
    #[serde(deserialize_with = "seconds")]
    pub expires_in: u64,
}

/// Posts a form. An error is what is wrong, on one line.
pub(super) async fn post_form<T: DeserializeOwned>(
    transport: &Transport,
    url: &str,
    form: &[(&str, &str)],
) -> Result<T, String> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, form_type)]);
    let body = send(transport, Method::POST, url, headers, Payload::Bytes(body.into())).await?;
    parse(&body)
}

/// Posts JSON with a bearer token.
pub(super) async fn post_json<T: DeserializeOwned>(
    transport: &Transport,
    url: &str,
    token: &str,
    json: &serde_json::Value,
) -> Result<T, String> {
    let authorization = sensitive(&format!("Bearer {token}")).map_err(|fault| fault.to_string())?;
    let json_type = HeaderValue::from_static("application/json");
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, json_type), (AUTHORIZATION, authorization)]);
    let body = send(transport, Method::POST, url, headers, Payload::Bytes(json.to_string().into())).await?;
    parse(&body)
}

/// Gets a text.
pub(super) async fn get_text(transport: &Transport, url: &str, headers: HeaderMap) -> Result<String, String> {
    let body = send(transport, Method::GET, url, headers, Payload::Empty).await?;
    String::from_utf8(body.into()).map_err(|_| "the response is no text".to_owned())
}

async fn send(
    transport: &Transport,
    method: Method,
    url: &str,
    headers: HeaderMap,
    payload: Payload,
) -> Result<bytes::Bytes, String> {
    let url = Url::parse(url).map_err(|error| format!("the URL is invalid: {error}"))?;
    if url.scheme() != "https" && !transport.allows_plain_http(&url) {
        return Err("its URL does not begin with https, and tokens are not sent without TLS".to_owned());
    }
    let response = transport.follow(method, Endpoint::trusted(url), headers, payload).await;
    let mut response = response.map_err(|fault| fault.to_string())?;
    let status = response.status();
    let body = response.read_all(MAX_RESPONSE).await.map_err(|fault| fault.to_string())?;
    if status.is_success() { Ok(body) } else { Err(refusal(status, &body)) }
}

/// What an error response says.
pub(super) fn refusal(status: StatusCode, body: &[u8]) -> String {
    match one_line(String::from_utf8_lossy(body).trim()).as_str() {
        text if text.is_empty() || text.starts_with('<') => format!("it responded with {status}"),
        text => format!("it responded with {status} ({text})"),
    }
}

/// Without the text around an error, which may be a token.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| {
        format!("the response is no JSON with a token: error at line {}, column {}", error.line(), error.column())
    })
}

/// The text of a small file, read anew each time: those of Pods change.
pub(super) fn read_text(file: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = File::open(file).and_then(|file| file.take(MAX_FILE).read_to_string(&mut text));
    read.map(|_| text).map_err(|error| format!("{} can't be read: {error}", file.display()))
}

/// Seconds, as a number or as a text.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(u64),
        Text(String),
    }
    Ok(match Seconds::deserialize(deserializer)? {
        Seconds::Number(seconds) => seconds,
        Seconds::Text(text) => text.parse().map_err(|_| serde::de::Error::custom("no number of seconds"))?,
    })
}
