//! Settings for signatures and other referrers of images.

use std::time::Duration;

use super::{
    ReferrersConfig,
    reader::{Reader, Section, Spanned},
    value::{boolean, glob, keyword, minutes},
};
use crate::model::ReferrerScope;

/// A day. Each look costs requests at the source: docs/referrers.md has the number.
pub(super) const DEFAULT_RECHECK_MINUTES: u64 = 1440;

pub(super) fn referrers(reader: &mut Reader<'_>, root: &mut Section<'_>) -> ReferrersConfig {
    let scope = scope(reader, root, Some("REFERRERS"));
    let recheck = reader.setting(root, "referrersRecheckMinutes", Some("REFERRERS_RECHECK_MINUTES"), minutes);
    let required = reader.setting(root, "referrersRequired", Some("REFERRERS_REQUIRED"), boolean);
    ReferrersConfig {
        scope: scope.unwrap_or_default(),
        types: reader.list_of(root, "referrerTypes", Some("REFERRER_TYPES"), |text| glob(text.trim())),
        recheck: recheck.map_or(Some(Duration::from_secs(DEFAULT_RECHECK_MINUTES * 60)), |found| found.value),
        required: required.is_some_and(|found| found.value),
    }
}

/// Of all targets, or of one.
pub(super) fn scope(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    variable: Option<&str>,
) -> Option<ReferrerScope> {
    let found: Option<Spanned<ReferrerScope>> =
        reader.setting(section, "referrers", variable, |text| keyword(text, &ReferrerScope::WORDS));
    found.map(|found| found.value)
}
