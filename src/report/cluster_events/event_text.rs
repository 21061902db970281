//! The text of events.

use std::sync::Arc;

use kube::runtime::events::EventType;

use crate::model::{Destination, Digest, ImageRecord, ImageState, printable};

/// The longest note that the API server accepts, in bytes.
const MAX_NOTE: usize = 1024;

/// An event's type, reason and note.
pub(super) struct EventText {
    pub kind: EventType,
    pub reason: &'static str,
    pub note: Arc<str>,
}

impl EventText {
    /// For a failed attempt, named after what it means for the image. The cause comes last, because a long one is truncated.
    /// The time of the next attempt is left out: the same failure is then the same event, with a count.
    pub fn of_failure(image: &str, destination: &Destination, record: &ImageRecord, cause: &str) -> Self {
        let digest = |digest: Option<&Digest>| digest.map_or_else(String::new, |digest| format!(" {digest}"));
        let (at_target, at_source) = (digest(record.seen.at_target.digest()), digest(record.seen.at_source.as_ref()));
        let (kind, reason, consequence) = match record.state {
            ImageState::Unverified => (
                EventType::Normal,
                "MirrorUnverified",
                format!("Image {image} is at {destination} with digest{at_target}, but could not be checked"),
            ),
            ImageState::Stale if record.is_damaged() => (
                EventType::Warning,
                "MirrorStale",
                format!("Image {image} has lost parts at {destination}, and was not copied again"),
            ),
            ImageState::Stale => (
                EventType::Warning,
                "MirrorStale",
                format!("Image {image} is outdated at {destination}: digest{at_target} instead of{at_source}"),
            ),
            _ => (EventType::Warning, "MirrorFailed", format!("Image {image} was not mirrored to {destination}")),
        };
        Self { kind, reason, note: note(&format!("{consequence}: {cause}")) }
    }
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
