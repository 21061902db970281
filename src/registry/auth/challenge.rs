//! `WWW-Authenticate`. Here because oci-client 0.18 requests `/v2/` before each request to read it, and sends no Basic
//! credentials if it is missing.

use http::{HeaderMap, header::WWW_AUTHENTICATE};

/// An authentication scheme that a registry accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Challenge {
    /// User name and password.
    Basic,
    /// A token from a token service.
    Bearer {
        /// The URL of the token service.
        realm: String,
        /// The registry's name at the token service.
        service: Option<String>,
    },
}

/// All challenges of a response in order, without unsupported schemes.
pub(in crate::registry) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    values(headers).flat_map(parse).filter_map(Parsed::into_challenge).collect()
}

/// Whether a challenge says that the token lacks a scope (RFC 6750, section 3.1), so that another token for the same
/// scopes would be rejected too.
pub(in crate::registry) fn is_insufficient_scope(headers: &HeaderMap) -> bool {
    values(headers).flat_map(parse).any(|parsed| parsed.parameter("error").as_deref() == Some("insufficient_scope"))
}

fn values(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok())
}

/// A challenge of any scheme.
struct Parsed<'a> {
    scheme: &'a str,
    parameters: Vec<(&'a str, String)>,
}

impl Parsed<'_> {
    fn parameter(&self, name: &str) -> Option<String> {
        self.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
    }

    fn into_challenge(self) -> Option<Challenge> {
        if self.scheme.eq_ignore_ascii_case("basic") {
            Some(Challenge::Basic)
        } else if self.scheme.eq_ignore_ascii_case("bearer") {
            Some(Challenge::Bearer { realm: self.parameter("realm")?, service: self.parameter("service") })
        } else {
            None
        }
    }
}

/// RFC 9110, section 11.6.1: commas separate both challenges and their parameters, so a word without `=` begins the next
/// challenge. Kept by hand: a strict parser would reject the whole header for one malformed challenge.
fn parse(text: &str) -> Vec<Parsed<'_>> {
    let mut found = Vec::new();
    let mut current = Parsed { scheme: "", parameters: Vec::new() };
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let padded = after.trim_start_matches([' ', '\t']);
        match padded.strip_prefix('=') {
            // `word=`: a parameter. The first word is always a scheme.
            Some(value) if !current.scheme.is_empty() && !word.is_empty() => {
                let (value, remaining) = parameter_value(value.trim_start_matches([' ', '\t']));
                current.parameters.push((word, value));
                rest = remaining;
            }
            Some(value) => rest = value,
            None => {
                found.push(std::mem::replace(&mut current, Parsed { scheme: word, parameters: Vec::new() }));
                rest = after;
                if word.is_empty() {
                    return found;
                }
            }
        }
    }
}

/// The value, quoted or bare, and the text after it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => break,
            '\\' => value.extend(characters.next()),
            other => value.push(other),
        }
    }
    (value, characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) }
    }

    #[test]
    fn parses_challenges() {
        for (text, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a:pull,push""#,
                vec![bearer("https://auth.docker.io/token", Some("registry.docker.io"))],
            ),
            ("Basic", vec![Challenge::Basic]),
            (r#"basic realm="a, b""#, vec![Challenge::Basic]),
            (
                r#"Basic realm="x", Bearer service=s , realm = "https://a/""#,
                vec![Challenge::Basic, bearer("https://a/", Some("s"))],
            ),
            (r#"Bearer realm="a\"b\\c""#, vec![bearer(r#"a"b\c"#, None)]),
            (r#"Negotiate abc==, BEARER REALM="https://a""#, vec![bearer("https://a", None)]),
            (r#"Bearer error="invalid_token""#, vec![]),
            (r#"Bearer realm="never ends"#, vec![bearer("never ends", None)]),
            ("", vec![]),
            (",,=,=", vec![]),
            ("Bearer realm=", vec![bearer("", None)]),
        ] {
            let found: Vec<_> = parse(text).into_iter().filter_map(Parsed::into_challenge).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn several_header_lines_form_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, "Basic realm=x".parse().unwrap());
        headers.append(WWW_AUTHENTICATE, "Bearer realm=\"https://a\"".parse().unwrap());
        assert_eq!(challenges(&headers), [Challenge::Basic, bearer("https://a", None)]);
    }

    #[test]
    fn recognises_a_missing_scope() {
        for (text, expected) in [
            (r#"Bearer realm="https://a",error="insufficient_scope""#, true),
            (r#"Basic, Bearer error=insufficient_scope"#, true),
            (r#"Bearer realm="https://a",error="invalid_token""#, false),
            ("Basic realm=insufficient_scope", false),
        ] {
            let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, text.parse().unwrap())]);
            assert_eq!(is_insufficient_scope(&headers), expected, "{text}");
        }
    }
}
