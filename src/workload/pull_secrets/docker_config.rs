//! The logins in a pull secret, as the kubelet reads them: user names and passwords by registry. It knows neither identity
//! tokens nor credential helpers.

use std::collections::BTreeMap;

use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use k8s_openapi::api::core::v1::Secret;
use secrecy::{ExposeSecret as _, SecretString};
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};

use crate::model::{Login, cut, one_line};

/// Type and key of a secret with a Docker configuration file.
const JSON: (&str, &str) = ("kubernetes.io/dockerconfigjson", ".dockerconfigjson");
/// Type and key of a secret in the format before that.
const LEGACY: (&str, &str) = ("kubernetes.io/dockercfg", ".dockercfg");

/// The longest content of a secret in bytes: the API server's own limit.
const MAX_BYTES: usize = 1024 * 1024;
/// The longest user name and password together, in bytes. Tokens of cloud registries have some thousands.
const MAX_LOGIN: usize = 16 * 1024;
/// How many registries of one secret are used.
const MAX_ENTRIES: usize = 1000;
/// The longest name of a registry, with its path.
const MAX_REGISTRY: usize = 1024;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The login for the registries that match a key.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// As written, such as `https://index.docker.io/v1/` or `*.example.com/team`.
    pub registry: String,
    pub login: Login,
}

/// What is in a secret.
#[derive(Debug, Default)]
pub(super) struct DockerConfig {
    /// Ordered by their registries.
    pub entries: Vec<Entry>,
    /// Why some entries can't be used, without any of their contents.
    pub problems: Vec<String>,
}

/// A secret that is no pull secret. Shows nothing of its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotPullSecret {
    #[error("it has the type {0}, not {json} or {legacy}", json = JSON.0, legacy = LEGACY.0)]
    Type(String),
    #[error("it has no {0}")]
    Missing(&'static str),
    #[error("its {0} is longer than {MAX_BYTES} bytes")]
    TooLong(&'static str),
    #[error("its {key} is malformed at line {line}, column {column}")]
    Malformed { key: &'static str, line: usize, column: usize },
}

/// The logins in a secret.
pub(super) fn docker_config(secret: &Secret) -> Result<DockerConfig, NotPullSecret> {
    let kind = secret.type_.as_deref().unwrap_or("Opaque");
    let (is_legacy, key) = match kind {
        _ if kind == JSON.0 => (false, JSON.1),
        _ if kind == LEGACY.0 => (true, LEGACY.1),
        _ => return Err(NotPullSecret::Type(shown(kind))),
    };
    let data = secret.data.as_ref().and_then(|data| data.get(key)).map(|bytes| bytes.0.as_slice());
    let data = data.filter(|data| !data.is_empty()).ok_or(NotPullSecret::Missing(key))?;
    if data.len() > MAX_BYTES {
        return Err(NotPullSecret::TooLong(key));
    }
    let auths = if is_legacy {
        serde_json::from_slice::<Option<Auths>>(data).map(Option::unwrap_or_default)
    } else {
        serde_json::from_slice::<File>(data).map(|file| file.auths.unwrap_or_default())
    };
    // The parser's own text may quote a password.
    let auths = auths.map_err(|error| NotPullSecret::Malformed { key, line: error.line(), column: error.column() })?;
    Ok(config(auths))
}

/// External text for an error.
fn shown(text: &str) -> String {
    one_line(&cut(text, 100)).into_owned()
}

fn config(Auths(auths): Auths) -> DockerConfig {
    let mut config = DockerConfig::default();
    for (registry, auth) in auths {
        let name = || shown(&registry);
        match auth.login() {
            Ok(Some(login)) if config.entries.len() < MAX_ENTRIES && registry.len() <= MAX_REGISTRY => {
                config.entries.push(Entry { registry, login });
            }
            Ok(Some(_)) => {
                config
                    .problems
                    .push(format!("the entry {} is not used: there are too many, or it is too long", name()));
            }
            // It would be tried as anonymous, which is tried at the end.
            Ok(None) => {}
            Err(problem) => config.problems.push(format!("the entry {} is not used: {problem}", name())),
        }
    }
    config.problems.truncate(3);
    config
}

#[derive(Deserialize)]
struct File {
    auths: Option<Auths>,
}

/// By registry. A repeated key replaces the earlier one, as in Go.
#[derive(Default)]
struct Auths(BTreeMap<String, Auth>);

impl<'de> Deserialize<'de> for Auths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeMap::deserialize(deserializer).map(Self)
    }
}

/// One entry. A wrong one does not spoil the others.
#[derive(Default)]
struct Auth {
    username: Option<String>,
    password: Option<SecretString>,
    auth: Option<SecretString>,
    is_malformed: bool,
}

impl<'de> Deserialize<'de> for Auth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Auth;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Auth, A::Error> {
                let mut auth = Auth::default();
                while let Some(key) = map.next_key::<String>()? {
                    // Go ignores the case of keys.
                    match key.to_ascii_lowercase().as_str() {
                        "username" => auth.username = map.next_value()?,
                        "password" => auth.password = map.next_value::<Option<String>>()?.map(Into::into),
                        "auth" => auth.auth = map.next_value::<Option<String>>()?.map(Into::into),
                        _ => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(auth)
            }

            fn visit_unit<E>(self) -> Result<Auth, E> {
                Ok(Auth::default())
            }

            fn visit_str<E>(self, _: &str) -> Result<Auth, E> {
                Ok(Auth { is_malformed: true, ..Auth::default() })
            }
        }

        deserializer.deserialize_any(Fields)
    }
}

impl Auth {
    /// None if there is nothing in it. `auth` takes precedence, as in the kubelet.
    fn login(self) -> Result<Option<Login>, &'static str> {
        if self.is_malformed {
            return Err("it is not an object");
        }
        let encoded = self.auth.filter(|auth| !auth.expose_secret().is_empty());
        let (username, password) = match encoded {
            Some(auth) => {
                let text = auth.expose_secret().trim();
                let decoded = BASE64.decode(text).map_err(|_| "its auth is not base64")?;
                let decoded = SecretString::from(String::from_utf8(decoded).map_err(|_| "its auth is not UTF-8")?);
                let (username, password) =
                    decoded.expose_secret().split_once(':').ok_or("its auth is not base64 of USER:PASSWORD")?;
                (username.to_owned(), SecretString::from(password.to_owned()))
            }
            None => (self.username.unwrap_or_default(), self.password.unwrap_or_default()),
        };
        if username.len() + password.expose_secret().len() > MAX_LOGIN {
            return Err("its user name and password are longer than 16 KiB");
        }
        let is_empty = username.is_empty() && password.expose_secret().is_empty();
        Ok((!is_empty).then_some(Login::Password { username, password }))
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    use k8s_openapi::ByteString;

    use super::*;

    fn secret(kind: &str, key: &str, content: &str) -> Secret {
        let data = BTreeMap::from([(key.to_owned(), ByteString(content.as_bytes().to_vec()))]);
        Secret { type_: Some(kind.to_owned()), data: Some(data), ..Secret::default() }
    }

    fn json(content: &str) -> Result<DockerConfig, NotPullSecret> {
        docker_config(&secret(JSON.0, JSON.1, content))
    }

    /// `REGISTRY USER PASSWORD` of each entry.
    fn logins(config: &DockerConfig) -> Vec<String> {
        let line = |Entry { registry, login }: &Entry| match login {
            Login::Password { username, password } => format!("{registry} {username} {}", password.expose_secret()),
            Login::Token(_) => panic!("{registry}"),
        };
        config.entries.iter().map(line).collect()
    }

    #[test]
    fn both_types_are_read_with_auth_or_with_user_name_and_password() {
        let encoded = STANDARD.encode("user:pa:ss");
        let entries = format!(
            r#"{{ "b.example": {{ "auth": "{encoded}", "username": "other", "password": "other", "email": "a@b" }},
                 "a.example": {{ "username": "user", "password": "pass" }} }}"#
        );
        let expected = ["a.example user pass", "b.example user pa:ss"];
        assert_eq!(logins(&json(&format!(r#"{{ "auths": {entries}, "HttpHeaders": {{}} }}"#)).unwrap()), expected);
        assert_eq!(logins(&docker_config(&secret(LEGACY.0, LEGACY.1, &entries)).unwrap()), expected);
    }

    #[test]
    fn auth_is_base64_with_or_without_padding() {
        for text in ["u:p", "us:p", "use:p", "AWS:eyJwYXlsb2FkIjoi"] {
            let expected = format!("r {}", text.replacen(':', " ", 1));
            for encoded in [STANDARD.encode(text), STANDARD_NO_PAD.encode(text)] {
                let config = json(&format!(r#"{{ "auths": {{ "r": {{ "auth": "{encoded}" }} }} }}"#)).unwrap();
                assert_eq!(logins(&config), [expected.as_str()], "{encoded}");
            }
        }
    }

    #[test]
    fn entries_without_a_login_are_ignored() {
        // An identity token alone is of no use to the kubelet.
        let content = r#"{ "auths": { "a": {}, "b": { "auth": "" }, "c": null, "d": { "identitytoken": "t" },
            "e": { "username": "", "password": null } }, "credsStore": "desktop" }"#;
        let config = json(content).unwrap();
        assert!(config.entries.is_empty() && config.problems.is_empty(), "{config:?}");
        assert!(json("{}").unwrap().entries.is_empty());
        assert!(json(r#"{ "auths": null }"#).unwrap().entries.is_empty());
    }

    #[test]
    fn a_wrong_entry_is_named_without_its_content_and_spoils_no_other() {
        let no_colon = STANDARD.encode("geheim");
        let content = format!(
            r#"{{ "auths": {{ "a": {{ "auth": "geheim!" }}, "b": {{ "auth": "{no_colon}" }}, "c": "geheim",
                 "d": {{ "username": "u", "password": "p" }} }} }}"#
        );
        let config = json(&content).unwrap();
        assert_eq!(logins(&config), ["d u p"]);
        assert_eq!(config.problems.len(), 3);
        let text = config.problems.join("\n");
        assert!(text.contains("the entry a is not used: its auth is not base64"), "{text}");
        assert!(!text.contains("geheim") && !text.contains(&no_colon), "{text}");
    }

    #[test]
    fn what_is_no_pull_secret_says_why_without_its_content() {
        let text = |error: NotPullSecret| error.to_string();
        let opaque = docker_config(&secret("Opaque", JSON.1, "{}")).unwrap_err();
        assert_eq!(
            text(opaque),
            "it has the type Opaque, not kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg"
        );
        let missing = docker_config(&secret(JSON.0, "other", "{}")).unwrap_err();
        assert_eq!(text(missing), "it has no .dockerconfigjson");
        let malformed = json("{ \"auths\": {\n \"a\": { \"auth\": \"geheim\" ").unwrap_err();
        assert!(text(malformed.clone()).contains("malformed at line 2"), "{malformed}");
        let wrong = json(r#"{ "auths": { "a": { "password": ["geheim"] } } }"#).unwrap_err();
        assert!(text(wrong.clone()).contains("malformed") && !format!("{wrong:?}").contains("geheim"), "{wrong}");
        assert!(text(json(&" ".repeat(MAX_BYTES + 1)).unwrap_err()).contains("longer than"));
    }

    #[test]
    fn the_number_of_entries_and_the_length_of_names_are_bounded() {
        let mut content = r#"{ "auths": { "#.to_owned();
        for number in 0..MAX_ENTRIES + 5 {
            write!(content, r#""r{number}": {{ "username": "u", "password": "p" }}, "#).unwrap();
        }
        write!(content, r#""{}": {{ "username": "u", "password": "p" }} }} }}"#, "x".repeat(MAX_REGISTRY + 1)).unwrap();
        let config = json(&content).unwrap();
        assert_eq!((config.entries.len(), config.problems.len()), (MAX_ENTRIES, 3));
        assert!(config.problems.iter().all(|problem| problem.len() < 300));
    }

    #[test]
    fn debug_output_shows_no_password() {
        let config = json(r#"{ "auths": { "a": { "username": "u", "password": "geheim" } } }"#).unwrap();
        assert!(!format!("{config:?}").contains("geheim"));
    }
}
