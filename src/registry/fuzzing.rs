//! What reads a registry's headers, for the fuzz targets, which see it only when they are built.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use url::Url;

use super::{
    auth::challenge::{self, Challenge},
    http::headers::location,
    http::headers::quota,
    http::retry,
};

/// No pause that a registry asks for is taken for longer.
pub const LONGEST_BELIEVED: Duration = retry::LONGEST_BELIEVED;

/// The realm and the service of each challenge; none where it asks for user and password.
pub fn challenges(headers: &HeaderMap) -> Vec<Option<(String, Option<String>)>> {
    let of = |challenge| match challenge {
        Challenge::Basic => None,
        Challenge::Bearer { realm, service } => Some((realm, service)),
    };
    challenge::challenges(headers).into_iter().map(of).collect()
}

/// Where an answer from `from` sends us, if one may go there.
pub fn location(from: &Url, headers: &HeaderMap) -> Option<Url> {
    location::location(from, headers).ok()
}

/// How long a registry wants us to wait.
pub fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    retry::retry_after(headers, now)
}

/// The pulls that are left, and after how long there is one more.
pub fn quota(headers: &HeaderMap) -> Option<(u64, Option<Duration>)> {
    quota::Quota::of(headers).map(|quota| (quota.remaining, quota.refill))
}
