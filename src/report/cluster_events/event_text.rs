//! The text of events.

use std::{sync::Arc, time::SystemTime};

use crate::{
    model::{Destination, printable},
    report::utc::utc,
};

/// The longest note that the API server accepts, in bytes.
const MAX_NOTE: usize = 1024;

/// The note for an image that is not at its destination. The cause comes last, because a long one is truncated.
pub(super) fn not_mirrored(
    image: &str,
    destination: &Destination,
    cause: &str,
    next_try: Option<SystemTime>,
) -> Arc<str> {
    let next_try = next_try.map(|time| format!(" (next try at {})", utc(time))).unwrap_or_default();
    note(&format!("Image {image} was not mirrored to {destination}{next_try}: {cause}"))
}

/// `text` with control characters escaped, and truncated to [`MAX_NOTE`] bytes.
pub(super) fn note(text: &str) -> Arc<str> {
    const ELLIPSIS: char = '…';
    // Escaping makes a text longer.
    let is_long = text.len() > MAX_NOTE;
    let start = text.get(..text.floor_char_boundary(MAX_NOTE)).unwrap_or_default();
    let escaped = printable(start);
    if !is_long && escaped.len() <= MAX_NOTE {
        return escaped.into();
    }
    let mut note: String = escaped.chars().take(MAX_NOTE).collect();
    note.truncate(note.floor_char_boundary(MAX_NOTE - ELLIPSIS.len_utf8()));
    note.push(ELLIPSIS);
    note.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_are_truncated_to_the_api_servers_limit() {
        assert_eq!(&*note("down"), "down");
        for long in ["é".repeat(600), "x".repeat(1025)] {
            let note = note(&long);
            assert!(note.len() <= MAX_NOTE && note.len() > MAX_NOTE - 6 && note.ends_with('…'), "{note}");
        }
    }
}
