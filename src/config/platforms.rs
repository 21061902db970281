//! Settings that select the platforms of an image.

use regex::Regex;

use super::{
    PlatformConfig,
    reader::{Reader, Section, Spanned},
    value::{boolean, quoted, regular_expression},
};
use crate::model::Platform;

const LIST: &str = "mirrorPlatforms";
const SWITCH: &str = "checkNodePlatform";

/// An entry of `mirrorPlatforms`.
enum Entry {
    All,
    One(Platform),
}

/// None: all platforms are copied, as nothing restricts them, or `digestPull` is off.
pub(super) fn platforms(reader: &mut Reader<'_>, root: &mut Section<'_>, digest_pull: bool) -> Option<PlatformConfig> {
    let of_nodes = reader.setting(root, SWITCH, Some("CHECK_NODE_PLATFORM"), boolean).filter(|found| found.value);
    let list = reader.list(root, LIST, Some("MIRROR_PLATFORMS"));
    let entries: Vec<Entry> =
        list.iter().filter_map(|found| reader.parse(found, entry)).map(|found| found.value).collect();
    let expected_missing: Vec<Regex> =
        reader.list_of(root, "ignoreMissingPlatforms", Some("IGNORE_MISSING_PLATFORMS"), regular_expression);
    let locations = of_nodes.iter().map(|found: &Spanned<bool>| (SWITCH, &found.location));
    let locations: Vec<_> = locations.chain(list.first().map(|found| (LIST, &found.location))).collect();
    if locations.is_empty() {
        return None;
    }
    if !digest_pull {
        for (key, location) in locations {
            reader.warn(location, format!("{key} has no effect without digestPull: all platforms are copied"));
        }
        return None;
    }
    Some(PlatformConfig {
        all: entries.iter().any(|entry| matches!(entry, Entry::All)),
        listed: entries
            .into_iter()
            .filter_map(|entry| match entry {
                Entry::One(platform) => Some(platform),
                Entry::All => None,
            })
            .collect(),
        of_nodes: of_nodes.is_some(),
        expected_missing,
    })
}

fn entry(text: &str) -> Result<Entry, String> {
    if text.eq_ignore_ascii_case("all") {
        return Ok(Entry::All);
    }
    text.parse()
        .map(Entry::One)
        .map_err(|_| format!("{} is not a platform; write amd64, linux/amd64 or linux/arm/v7, or all", quoted(text)))
}
