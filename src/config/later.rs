//! Settings of newer versions of the original that are known, and not supported yet. Who sets one relies on it, so it
//! is refused rather than passed over; what asks for nothing is fine.

use super::{
    reader::{Reader, Section},
    scalar::boolean,
};

/// Key, variable.
const LATER: [(&str, &str); 3] = [
    ("checkNodePlatform", "CHECK_NODE_PLATFORM"),
    ("mirrorPlatforms", "MIRROR_PLATFORMS"),
    ("ignoreMissingPlatforms", "IGNORE_MISSING_PLATFORMS"),
];

const MESSAGE: &str = "is not supported yet; remove it";

pub(super) fn refuse_later(reader: &mut Reader<'_>, root: &mut Section<'_>) {
    for (key, variable) in LATER {
        refuse_key(reader, root, key);
        if let Some(found) = reader.worded_variable(variable)
            && !(key == SWITCH && boolean(&found.value) == Ok(false))
        {
            reader.refuse(&found.place, MESSAGE);
        }
    }
}

/// The one boolean among them.
const SWITCH: &str = "checkNodePlatform";

/// Refuses a key that asks for something.
fn refuse_key(reader: &mut Reader<'_>, section: &mut Section<'_>, key: &'static str) {
    if let Some((node, place)) = section.node(key)
        && !node.is_empty()
        && !(key == SWITCH && node.text().is_some_and(|text| boolean(text) == Ok(false)))
    {
        reader.refuse(&place, MESSAGE);
    }
}
