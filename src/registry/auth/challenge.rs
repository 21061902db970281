//! Reads `WWW-Authenticate`. Here because oci-client 0.18 asks `/v2/` before each request to see it, and sends no Basic
//! credentials where it is missing.

use http::{HeaderMap, header::WWW_AUTHENTICATE};

/// How a registry wants to know who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Challenge {
    /// User and password.
    Basic,
    /// A token from a token service.
    Bearer {
        /// The URL of the token service.
        realm: String,
        /// The name under which the token service knows the registry.
        service: Option<String>,
    },
}

/// All challenges of an answer in order; schemes that are not spoken here are passed over.
pub(in crate::registry) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok()).flat_map(parse).collect()
}

/// RFC 9110, section 11.6.1: challenges and their parameters are both separated by commas, so a word that no `=`
/// follows begins the next challenge.
fn parse(text: &str) -> Vec<Challenge> {
    let mut found = Vec::new();
    let mut scheme = "";
    let mut parameters: Vec<(&str, String)> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let padded = after.trim_start_matches([' ', '\t']);
        match padded.strip_prefix('=') {
            // A word, then `=`: a parameter. Never so at the first word, a scheme.
            Some(value) if !scheme.is_empty() && !word.is_empty() => {
                let (value, remaining) = parameter_value(value.trim_start_matches([' ', '\t']));
                parameters.push((word, value));
                rest = remaining;
            }
            Some(value) => rest = value,
            None => {
                found.extend(challenge(scheme, &parameters));
                parameters.clear();
                scheme = word;
                rest = after;
                if word.is_empty() {
                    return found;
                }
            }
        }
    }
}

fn challenge(scheme: &str, parameters: &[(&str, String)]) -> Option<Challenge> {
    let parameter = |wanted: &str| {
        parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.clone())
    };
    if scheme.eq_ignore_ascii_case("basic") {
        Some(Challenge::Basic)
    } else if scheme.eq_ignore_ascii_case("bearer") {
        Some(Challenge::Bearer { realm: parameter("realm")?, service: parameter("service") })
    } else {
        None
    }
}

/// The value, quoted or bare, and what follows it.
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
    fn challenges_are_read() {
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
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn several_header_lines_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(WWW_AUTHENTICATE, "Basic realm=x".parse().unwrap());
        headers.append(WWW_AUTHENTICATE, "Bearer realm=\"https://a\"".parse().unwrap());
        assert_eq!(challenges(&headers), [Challenge::Basic, bearer("https://a", None)]);
    }
}
