//! Texts from plugins, before anybody reads them.

use std::borrow::Cow;

use crate::model::one_line;

/// `text`, or as much of its start as fits in `longest` bytes, and an ellipsis; on one line, so that it can't pass for
/// more than one, and with nothing in it that acts on a terminal.
pub fn shortened(text: &str, longest: usize) -> Cow<'_, str> {
    let end = text.floor_char_boundary(longest);
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
    fn texts_are_one_line() {
        assert_eq!(shortened("fine\r\n\x1b[31merror: forged", 100), "fine  \\u{1b}[31merror: forged");
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        for (text, longest, expected) in [("abc", 3, "abc"), ("abcd", 3, "abc…"), ("aää", 4, "aä…"), ("", 0, "")]
        {
            assert_eq!(shortened(text, longest), expected);
        }
    }
}
