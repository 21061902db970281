//! Makes texts from plugins safe to print.

use std::borrow::Cow;

use crate::model::one_line;

/// `text` on one line, without control characters, and cut at `max` bytes with an ellipsis: it can't imitate further
/// log lines.
pub fn shortened(text: &str, max: usize) -> Cow<'_, str> {
    let end = text.floor_char_boundary(max);
    let start = text.get(..end).unwrap_or_default();
    let line = one_line(start);
    if start.len() == text.len() {
        return line;
    }
    Cow::Owned(line.into_owned() + "…")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_one_line() {
        assert_eq!(shortened("fine\r\n\x1b[31merror: forged", 100), "fine  \\u{1b}[31merror: forged");
    }

    #[test]
    fn cuts_between_characters() {
        for (text, max, expected) in [("abc", 3, "abc"), ("abcd", 3, "abc…"), ("aää", 4, "aä…"), ("", 0, "")] {
            assert_eq!(shortened(text, max), expected);
        }
    }
}
