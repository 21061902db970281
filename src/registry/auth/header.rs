//! `Authorization`.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::HeaderValue;
use secrecy::ExposeSecret;

use crate::{model::Login, registry::fault::Fault};

/// A header value that `Debug` does not show.
pub(in crate::registry) fn sensitive(text: &str) -> Result<HeaderValue, Fault> {
    let mut header = HeaderValue::from_str(text)
        .map_err(|_| Fault::Permanent("the token has characters that a header can't contain".to_owned()))?;
    header.set_sensitive(true);
    Ok(header)
}

pub(in crate::registry) fn login_header(login: &Login) -> Result<HeaderValue, Fault> {
    match login {
        Login::Password { username, password } => {
            let pair = format!("{username}:{}", password.expose_secret());
            sensitive(&format!("Basic {}", BASE64_STANDARD.encode(pair)))
        }
        Login::Token(token) => sensitive(&format!("Bearer {}", token.expose_secret().trim())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::password;

    #[test]
    fn debug_shows_no_credentials() {
        for login in [password(), Login::Token("dXNlcjpwYXNz".to_owned().into())] {
            let header = login_header(&login).unwrap();
            assert!(!format!("{login:?} {header:?}").contains("dXNlcjpwYXNz"));
        }
    }
}
