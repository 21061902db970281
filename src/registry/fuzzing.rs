//! The parsers of response headers, for the fuzz targets only.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use url::Url;

use super::{
    auth::challenge::{self, Challenge},
    http::headers::{location, quota, retry_after},
};

/// Longer pauses are cut to this.
pub const MAX_PAUSE: Duration = retry_after::MAX_PAUSE;

/// The realm and the service of each challenge; None for Basic.
pub fn challenges(headers: &HeaderMap) -> Vec<Option<(String, Option<String>)>> {
    let parts = |challenge| match challenge {
        Challenge::Basic => None,
        Challenge::Bearer { realm, service } => Some((realm, service)),
    };
    challenge::challenges(headers).into_iter().map(parts).collect()
}

/// The `Location` of a response from `from`, if it is allowed.
pub fn location(from: &Url, headers: &HeaderMap) -> Option<Url> {
    location::location(from, headers).ok()
}

/// `Retry-After`.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    retry_after::retry_after(headers, now)
}

/// The remaining pulls, and the time after which there is one more.
pub fn quota(headers: &HeaderMap) -> Option<(u64, Option<Duration>)> {
    quota::Quota::from_headers(headers).map(|quota| (quota.remaining, quota.refill))
}
