//! `Location`.

use http::{HeaderMap, header::LOCATION};
use url::Url;

use crate::registry::fault::Fault;

/// The `Location` of a response from `from`. User and password in it are dropped: credentials come from the
/// configuration only. A downgrade from TLS to plain HTTP is rejected.
pub(in crate::registry) fn location(from: &Url, headers: &HeaderMap) -> Result<Url, Fault> {
    let text = headers
        .get(LOCATION)
        .and_then(|location| location.to_str().ok())
        .ok_or_else(|| Fault::InvalidResponse("the response has no Location header".to_owned()))?;
    let mut to = from
        .join(text)
        .map_err(|error| Fault::InvalidResponse(format!("the Location of the response is no valid URL: {error}")))?;
    if to.set_username("").is_err() || to.set_password(None).is_err() {
        return Err(Fault::Permanent("the Location of the response has no host".to_owned()));
    }
    // A registry behind a proxy that terminates TLS does not know that its own URL is https.
    if from.scheme() == "https" && to.scheme() == "http" && from.host() == to.host() && to.port().is_none() {
        let upgraded = to.set_scheme("https").and_then(|()| to.set_port(from.port()));
        upgraded.map_err(|()| Fault::InvalidResponse("the Location of the response is no web address".to_owned()))?;
    }
    match to.scheme() {
        "https" => Ok(to),
        "http" if from.scheme() == "http" => Ok(to),
        _ => Err(Fault::Permanent(format!(
            "redirect to {} not followed: only HTTPS is allowed, or plain HTTP from plain HTTP",
            to.origin().ascii_serialization()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(from: &str, to: &str) -> Result<String, Fault> {
        let headers = HeaderMap::from_iter([(LOCATION, to.parse().unwrap())]);
        location(&Url::parse(from).unwrap(), &headers).map(String::from)
    }

    #[test]
    fn reads_locations_as_registries_write_them() {
        for (from, to, expected) in [
            ("https://r.io/v2/a", "/up?x=1", "https://r.io/up?x=1"),
            ("https://r.io/v2/a", "b", "https://r.io/v2/b"),
            ("https://r.io/v2/a", "//cdn.io/b", "https://cdn.io/b"),
            ("https://r.io/v2/a", "https://user:pass@cdn.io/b", "https://cdn.io/b"),
            ("https://r.io/v2/a", "http://r.io/b", "https://r.io/b"),
            ("https://r.io:444/v2/a", "http://r.io/b", "https://r.io:444/b"),
            ("http://127.0.0.1/v2/a", "http://cdn.io/b", "http://cdn.io/b"),
        ] {
            assert_eq!(read(from, to).unwrap(), expected, "{from} {to}");
        }
    }

    #[test]
    fn rejects_downgrades_and_invalid_locations() {
        for to in [
            "http://cdn.io/b",
            "http://127.0.0.1/b",
            "http://localhost/b",
            "http://r.io:8080/b",
            "http://r.io:80000/b",
            "file:///etc/passwd",
            "ftp://r.io/",
            "mailto:a@b",
            "https://",
        ] {
            assert!(read("https://r.io/v2/a", to).is_err(), "{to}");
        }
        assert!(location(&Url::parse("https://r.io/").unwrap(), &HeaderMap::new()).is_err());
    }
}
