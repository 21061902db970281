//! `Retry-After` and the remaining pulls, from registries.
#![no_main]

use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, header::RETRY_AFTER};
use k8s_copycat::registry::fuzzing::{MAX_PAUSE, quota, retry_after};
use libfuzzer_sys::fuzz_target;

// The first four bytes are the time of day, in seconds since 1970; three lines follow, one for each header.
fuzz_target!(|bytes: &[u8]| {
    let Some((seconds, text)) = bytes.split_first_chunk() else { return };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(u32::from_be_bytes(*seconds).into());
    let names =
        [RETRY_AFTER, HeaderName::from_static("ratelimit-remaining"), HeaderName::from_static("ratelimit-limit")];
    let lines = text.split(|byte| *byte == b'\n').map(HeaderValue::from_bytes);
    let headers: HeaderMap =
        names.into_iter().zip(lines).filter_map(|(name, value)| Some((name, value.ok()?))).collect();
    if let Some(wait) = retry_after(&headers, now) {
        assert!(wait <= MAX_PAUSE);
        let later = retry_after(&headers, now + Duration::from_secs(1));
        assert!(later.is_some_and(|later| later <= wait), "a later date leaves a shorter pause");
    }
    if let Some((_, refill)) = quota(&headers) {
        assert!(refill.is_none_or(|refill| refill <= MAX_PAUSE));
    }
});
