//! Files with credentials of Google Cloud, and the requests for a token with them.

use std::path::{Path, PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    jwt,
    requests::{AccessToken, get_text, post_form, post_json, read_text},
};
use crate::registry::{auth::obtained_login::LoginError, http::transport::Transport};

/// The scope of the tokens. What they allow is up to the roles of the identity.
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// Google's service for tokens of users and service accounts.
const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The most impersonations behind one another.
const MAX_DEPTH: u32 = 3;

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Credentials {
    AuthorizedUser {
        client_id: String,
        client_secret: String,
        refresh_token: String,
        token_uri: Option<String>,
    },
    ServiceAccount {
        client_email: String,
        private_key: String,
        #[serde(default)]
        private_key_id: String,
        token_uri: Option<String>,
    },
    /// Workload identity federation.
    ExternalAccount {
        audience: String,
        subject_token_type: String,
        token_url: String,
        credential_source: CredentialSource,
        service_account_impersonation_url: Option<String>,
    },
    ImpersonatedServiceAccount {
        service_account_impersonation_url: String,
        source_credentials: Box<Self>,
    },
    #[serde(other)]
    Other,
}

/// Where the token of another issuer is: that of Kubernetes, of a pipeline.
#[derive(Deserialize)]
struct CredentialSource {
    file: Option<PathBuf>,
    url: Option<String>,
    #[serde(default)]
    headers: serde_json::Map<String, Value>,
    format: Option<Format>,
}

#[derive(Deserialize)]
struct Format {
    r#type: String,
    subject_token_field_name: Option<String>,
}

/// A token with the credentials in a file, which is read anew each time.
pub(super) async fn token(file: &Path, transport: &Transport) -> Result<AccessToken, LoginError> {
    let failed = |problem| LoginError {
        operation: format!("requesting a Google token with the credentials in {}", file.display()),
        problem,
        remedy: "correct the file (GOOGLE_APPLICATION_CREDENTIALS), or set registryCredentials".to_owned(),
    };
    let text = read_text(file).map_err(failed)?;
    // Its own message quotes values, which may be secrets.
    let credentials: Credentials = serde_json::from_str(&text).map_err(|error| {
        failed(format!(
            "it is no JSON with credentials of Google: error at line {}, column {}",
            error.line(),
            error.column()
        ))
    })?;
    token_of(credentials, transport, 0).await.map_err(failed)
}

async fn token_of(credentials: Credentials, transport: &Transport, depth: u32) -> Result<AccessToken, String> {
    match credentials {
        Credentials::AuthorizedUser { client_id, client_secret, refresh_token, token_uri } => {
            let url = token_uri.as_deref().unwrap_or(TOKEN_URI);
            let form = [
                ("grant_type", "refresh_token"),
                ("client_id", &client_id),
                ("client_secret", &client_secret),
                ("refresh_token", &refresh_token),
            ];
            post_form(transport, url, &form).await.map_err(at(url))
        }
        Credentials::ServiceAccount { client_email, private_key, private_key_id, token_uri } => {
            let url = token_uri.as_deref().unwrap_or(TOKEN_URI);
            let assertion = jwt::sign(&private_key, &private_key_id, &client_email, url, SCOPE)?;
            let form = [("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", &assertion)];
            post_form(transport, url, &form).await.map_err(at(url))
        }
        Credentials::ExternalAccount {
            audience,
            subject_token_type,
            token_url,
            credential_source,
            service_account_impersonation_url,
        } => {
            let subject = credential_source.token(transport).await?;
            let form = [
                ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
                ("audience", &audience),
                ("scope", SCOPE),
                ("requested_token_type", ACCESS_TOKEN),
                ("subject_token_type", &subject_token_type),
                ("subject_token", &subject),
            ];
            let token: AccessToken = post_form(transport, &token_url, &form).await.map_err(at(&token_url))?;
            match service_account_impersonation_url {
                Some(url) => impersonate(transport, &url, &token).await.map_err(at(&url)),
                None => Ok(token),
            }
        }
        Credentials::ImpersonatedServiceAccount { service_account_impersonation_url: url, source_credentials } => {
            if depth >= MAX_DEPTH {
                return Err(format!("more than {MAX_DEPTH} impersonations behind one another"));
            }
            let token = Box::pin(token_of(*source_credentials, transport, depth + 1)).await?;
            impersonate(transport, &url, &token).await.map_err(at(&url))
        }
        Credentials::Other => Err("its type is none of external_account, service_account, authorized_user, \
                                   impersonated_service_account"
            .to_owned()),
    }
}

/// Says which service an error is from.
fn at(url: &str) -> impl Fn(String) -> String {
    let host = url.split('/').nth(2).unwrap_or(url).to_owned();
    move |problem| format!("{host}: {problem}")
}

/// A token of a service account that the identity may act as.
async fn impersonate(transport: &Transport, url: &str, token: &AccessToken) -> Result<AccessToken, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Impersonated {
        access_token: String,
        expire_time: Timestamp,
    }
    let request = json!({ "scope": [SCOPE] });
    let Impersonated { access_token, expire_time } = post_json(transport, url, &token.access_token, &request).await?;
    let left = expire_time.as_second().saturating_sub(Timestamp::now().as_second());
    Ok(AccessToken { access_token, expires_in: u64::try_from(left).unwrap_or_default() })
}

impl CredentialSource {
    async fn token(&self, transport: &Transport) -> Result<String, String> {
        let text = match (&self.file, &self.url) {
            (Some(file), _) => read_text(file)?,
            (None, Some(url)) => get_text(transport, url, self.headers()?).await.map_err(at(url))?,
            (None, None) => {
                return Err(
                    "its credential_source is neither a file nor a url; other kinds are not supported".to_owned()
                );
            }
        };
        let field = match &self.format {
            Some(Format { r#type, subject_token_field_name: Some(field) }) if r#type == "json" => field,
            _ => return Ok(text.trim().to_owned()),
        };
        let token: Option<Value> = serde_json::from_str(&text).ok();
        let token = token.as_ref().and_then(|token| token.get(field)).and_then(Value::as_str).map(str::to_owned);
        token.ok_or_else(|| format!("its credential_source has no field {field:?}"))
    }

    fn headers(&self) -> Result<HeaderMap, String> {
        let header = |(name, value): (&String, &Value)| {
            let name: HeaderName = name.parse().ok()?;
            let mut value: HeaderValue = value.as_str()?.parse().ok()?;
            value.set_sensitive(true);
            Some((name, value))
        };
        let headers: Option<HeaderMap> = self.headers.iter().map(header).collect();
        headers.ok_or_else(|| "its credential_source has a header that can't be sent".to_owned())
    }
}
