//! Folds text to a width. By hand: image references must stay readable, so lines end after `/`, `:` or `@`, and nothing is
//! dropped or inserted where a reference is folded.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// A line may end after these.
const BREAKS: [char; 6] = [' ', '/', ':', '@', ',', ';'];

/// The columns that a text takes.
pub fn text_width(text: &str) -> usize {
    text.width()
}

/// Lines of at most `width` columns.
pub fn fold(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut columns) = (String::new(), 0);
    for character in text.chars() {
        let needed = character.width().unwrap_or(0);
        // A space that ends a line takes no column.
        while columns + needed > width && !line.is_empty() && character != ' ' {
            let end = line.rfind(BREAKS).map_or(line.len(), |last| last + 1);
            let rest = line.split_off(end);
            lines.push(line.trim_end().to_owned());
            columns = rest.width();
            line = rest;
        }
        if line.is_empty() && character == ' ' && !lines.is_empty() {
            continue;
        }
        line.push(character);
        columns += needed;
    }
    lines.push(line.trim_end().to_owned());
    lines
}

/// The end of a text, with `…` for what is left out before it.
pub fn shorten(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut columns = 1;
    let kept: Vec<char> = text
        .chars()
        .rev()
        .take_while(|character| {
            columns += character.width().unwrap_or(0);
            columns <= width
        })
        .collect();
    std::iter::once('…').chain(kept.into_iter().rev()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_after_separators_and_nothing_is_lost() {
        let reference = "registry.example.com/mirror/library/nginx:1.27";
        assert_eq!(fold(reference, 28), ["registry.example.com/mirror/", "library/nginx:1.27"]);
        assert_eq!(fold(reference, 46), [reference]);
        assert_eq!(fold("one two three", 7), ["one two", "three"]);
        assert_eq!(fold("one two  three", 7), ["one two", "three"]);
        assert_eq!(fold("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(fold("", 3), [""]);
        assert_eq!(fold("日本語", 4), ["日本", "語"]);
        for width in 1..60 {
            assert_eq!(fold(reference, width).concat(), reference, "{width}");
        }
    }

    #[test]
    fn a_text_that_is_too_wide_keeps_its_end() {
        assert_eq!(shorten("ghcr.io/team/app:1", 18), "ghcr.io/team/app:1");
        assert_eq!(shorten("ghcr.io/team/app:1", 8), "…m/app:1");
        assert_eq!(shorten("語語語", 4), "…語");
    }
}
