//! The remaining pulls of a registry's quota, as documented in "Docker Hub pull usage and limits".

use std::time::Duration;

use http::HeaderMap;

use crate::registry::http::headers::retry_after::MAX_PAUSE;

/// The remaining pulls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) struct Quota {
    /// Manifests that may still be read.
    pub remaining: u64,
    /// Of so many in all; None if the registry does not say.
    pub limit: Option<u64>,
    /// The time after which one more may be read, on average over the window; None if the registry does not say.
    pub refill: Option<Duration>,
}

impl Quota {
    /// From `ratelimit-remaining: 76;w=21600` and `ratelimit-limit: 100;w=21600`.
    pub(in crate::registry) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let (remaining, window) = header(headers, "ratelimit-remaining")?;
        let (limit, limit_window) = header(headers, "ratelimit-limit").unwrap_or((0, None));
        let refill = window.or(limit_window).filter(|_| limit > 0);
        let refill = refill.and_then(|window| Some(Duration::from_secs(window.checked_div(limit)?).min(MAX_PAUSE)));
        Some(Self { remaining, limit: Some(limit).filter(|limit| *limit > 0), refill })
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<(u64, Option<u64>)> {
    let mut parts = headers.get(name)?.to_str().ok()?.split(';').map(str::trim);
    let number = parts.next()?.parse().ok()?;
    Some((number, parts.find_map(|part| part.strip_prefix("w=")?.parse().ok())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_headers_of_docker_hub() {
        let quota = |pairs: &[(&'static str, &'static str)]| {
            Quota::from_headers(
                &pairs.iter().map(|&(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect(),
            )
        };
        let refill = |seconds| Some(Duration::from_secs(seconds));
        for (headers, expected) in [
            (
                &[("ratelimit-remaining", "76;w=21600"), ("ratelimit-limit", "100;w=21600")][..],
                Some((76, Some(100), refill(216))),
            ),
            (&[("ratelimit-remaining", "0 ; w=21600"), ("ratelimit-limit", "200")], Some((0, Some(200), refill(108)))),
            (&[("ratelimit-remaining", "5")], Some((5, None, None))),
            (
                &[("ratelimit-remaining", "0;w=18446744073709551615"), ("ratelimit-limit", "1")],
                Some((0, Some(1), refill(86_400))),
            ),
            (&[("ratelimit-remaining", "0;w=1"), ("ratelimit-limit", "0;w=1")], Some((0, None, None))),
            (&[("ratelimit-limit", "100;w=21600")], None),
            (&[("ratelimit-remaining", "-1")], None),
            (&[("ratelimit-remaining", "many;w=x")], None),
        ] {
            let expected = expected.map(|(remaining, limit, refill)| Quota { remaining, limit, refill });
            assert_eq!(quota(headers), expected, "{headers:?}");
        }
    }
}
