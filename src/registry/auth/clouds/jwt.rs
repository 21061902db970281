//! JSON web tokens (RFC 7519): signing for Google, and reading what Azure's contain.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use serde::Deserialize;
use serde_json::json;

/// Google's longest.
const LIFETIME: Duration = Duration::from_secs(3600);

/// Signs a request of a service account for a token with `scope`, by RS256. An error is what is wrong with the key.
pub(super) fn sign(key: &str, key_id: &str, account: &str, audience: &str, scope: &str) -> Result<String, String> {
    let no_key = || "private_key is no RSA key in PEM (PKCS #8)".to_owned();
    let der = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).map_err(|_| no_key())?;
    let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| no_key())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": key_id });
    let claims =
        json!({ "iss": account, "scope": scope, "aud": audience, "iat": now, "exp": now + LIFETIME.as_secs() });
    let [header, claims] = [header, claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part.to_string()));
    let signed = format!("{header}.{claims}");
    let mut signature = vec![0; key.public_key().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).map_err(|_| no_key())?;
    Ok(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
}

/// What a token says of itself. It was received over TLS from who issued it, so its signature is not checked.
#[derive(Default, Deserialize)]
pub(super) struct Claims {
    /// Seconds since 1970.
    exp: Option<u64>,
    /// The tenant, in Azure's tokens.
    pub tid: Option<String>,
}

impl Claims {
    /// Empty, if it is no such token.
    pub(super) fn of(token: &str) -> Self {
        let claims =
            token.split('.').nth(1).and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok());
        claims.and_then(|claims| serde_json::from_slice(&claims).ok()).unwrap_or_default()
    }

    /// The time until it expires.
    pub(super) fn lifetime(&self) -> Option<Duration> {
        let expiry = UNIX_EPOCH.checked_add(Duration::from_secs(self.exp?))?;
        Some(expiry.duration_since(SystemTime::now()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(claims: &str) -> String {
        format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn claims_of_other_texts_are_empty() {
        for text in ["", "a", "a.b", "a.!.c", &token("[]"), &token("{\"exp\": \"soon\"}"), &token("{}")] {
            let claims = Claims::of(text);
            assert_eq!((claims.lifetime(), claims.tid.as_deref()), (None, None), "{text}");
        }
        let claims = Claims::of(&token(r#"{"exp": 18446744073709551615, "tid": "t"}"#));
        assert_eq!(claims.tid.as_deref(), Some("t"));
        assert_eq!(Claims::of(&token(r#"{"exp": 1}"#)).lifetime(), Some(Duration::ZERO));
        let later = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600;
        let left = Claims::of(&token(&format!("{{\"exp\": {later}}}"))).lifetime().unwrap();
        assert!(left > Duration::from_secs(500) && left <= Duration::from_secs(600), "{left:?}");
    }
}
