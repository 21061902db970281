//! Bounds the length of external texts that are stored and shown.

use std::borrow::Cow;

/// The bytes shown of a text that is cut.
const SHOWN: usize = 100;

/// `text`, or its beginning and length if it is longer than `longest` bytes: `aaaa… (1048576 bytes)`.
pub fn cut(text: &str, longest: usize) -> Cow<'_, str> {
    if text.len() <= longest {
        return Cow::Borrowed(text);
    }
    let start = text.get(..text.floor_char_boundary(SHOWN.min(longest))).unwrap_or_default();
    Cow::Owned(format!("{start}… ({} bytes)", text.len()))
}

/// Whether `text` was cut.
pub(super) fn is_cut(text: &str) -> bool {
    text.ends_with(" bytes)") && text.contains("… (")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_shows_its_beginning_and_its_length() {
        assert_eq!(cut("short", 5), "short");
        assert_eq!(cut("longer", 5), "longe… (6 bytes)");
        let long = "é".repeat(500_000);
        let short = cut(&long, 255);
        assert_eq!(short, format!("{}… (1000000 bytes)", "é".repeat(50)));
        assert!(is_cut(&short) && !is_cut("short"));
        assert_eq!(cut("ééé", 3), "é… (6 bytes)", "no character is broken");
    }
}
