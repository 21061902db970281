//! Where an answer sends us, and whether one goes there.

use http::{HeaderMap, header::LOCATION};
use url::Url;

use crate::registry::error::Fault;

/// The `Location` of an answer from `from`. Without its user and password: nobody but the user of this program gives it
/// credentials. Never from TLS to something without.
pub(in crate::registry) fn location(from: &Url, headers: &HeaderMap) -> Result<Url, Fault> {
    let text = headers
        .get(LOCATION)
        .and_then(|location| location.to_str().ok())
        .ok_or_else(|| Fault::Malformed("its answer names no Location to go on at".to_owned()))?;
    let mut to = from
        .join(text)
        .map_err(|error| Fault::Malformed(format!("its answer names a Location that is no URL: {error}")))?;
    if to.set_username("").is_err() || to.set_password(None).is_err() {
        return Err(Fault::Refused("its answer names a Location without a host".to_owned()));
    }
    // A registry behind a proxy that ends TLS knows no better than to name itself without.
    if from.scheme() == "https" && to.scheme() == "http" && from.host() == to.host() && to.port().is_none() {
        let upgraded = to.set_scheme("https").and_then(|()| to.set_port(from.port()));
        upgraded.map_err(|()| Fault::Malformed("its answer names a Location that is no web address".to_owned()))?;
    }
    match to.scheme() {
        "https" => Ok(to),
        "http" if from.scheme() == "http" => Ok(to),
        _ => Err(Fault::Refused(format!(
            "it sends us on to {}, which is not followed: only HTTPS is, or plain HTTP from plain HTTP",
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
    fn a_location_is_read_as_registries_write_it() {
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
    fn nobody_leads_us_astray() {
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
