//! Texts from plugins, before anybody reads them.

use std::borrow::Cow;

/// `text`, or as much of its start as fits in `longest` bytes, and an ellipsis.
pub fn shortened(text: &str, longest: usize) -> Cow<'_, str> {
    if text.len() <= longest {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(longest);
    Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_cut_between_characters() {
        for (text, longest, expected) in [("abc", 3, "abc"), ("abcd", 3, "abc…"), ("aää", 4, "aä…"), ("", 0, "")]
        {
            assert_eq!(shortened(text, longest), expected);
        }
    }
}
