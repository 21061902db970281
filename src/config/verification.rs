//! Settings for the verification of what is mirrored, in the background.

use std::time::Duration;

use super::{
    VerificationConfig,
    reader::{Reader, Section},
    value::{count, hours},
};

/// A week: a blob that is lost is noticed in days, and a thousand images cost a handful of requests a minute.
pub(super) const DEFAULT_HOURS: u64 = 168;

/// Far below what any registry minds.
pub(super) const DEFAULT_REQUESTS_PER_MINUTE: usize = 300;

pub(super) fn verification(reader: &mut Reader<'_>, root: &mut Section<'_>) -> VerificationConfig {
    let period = reader.setting(root, "verifyHours", Some("VERIFY_HOURS"), hours);
    let requests = reader.setting(root, "verifyRequestsPerMinute", Some("VERIFY_REQUESTS_PER_MINUTE"), count);
    VerificationConfig {
        period: period.map_or(Some(Duration::from_secs(DEFAULT_HOURS * 60 * 60)), |found| found.value),
        requests_per_minute: requests.map_or(DEFAULT_REQUESTS_PER_MINUTE, |found| found.value),
    }
}
