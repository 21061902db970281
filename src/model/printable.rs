//! Makes external texts (of a cluster, registry, plugin or file) safe to show: some characters control a terminal, others
//! are invisible or change the order of the text.

use std::{borrow::Cow, io};

use serde::Serialize;
use serde_json::ser::Formatter;

/// `text` on one line, with control and invisible characters escaped as in Rust: `\n`, `\u{1b}`, `\u{202e}`.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_hidden(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// As [`printable`], but line breaks and tabs become spaces: for messages that may have several lines.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(printable(&text.replace(['\n', '\r', '\t'], " ")).into_owned())
}

/// JSON with every such character escaped: safe to show, without loss.
///
/// # Errors
///
/// As [`serde_json::to_string`].
pub fn printable_json(value: &impl Serialize) -> serde_json::Result<String> {
    let mut text = Vec::new();
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, Escaping))?;
    String::from_utf8(text).map_err(serde::ser::Error::custom)
}

/// Control characters, direction marks, characters without width, and tags.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(is_hidden) {
            let (shown, hidden) = rest.split_at(at);
            writer.write_all(shown.as_bytes())?;
            let mut hidden = hidden.chars();
            for unit in hidden.next().into_iter().flat_map(|c| c.encode_utf16(&mut [0; 2]).to_vec()) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = hidden.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// One of each kind, and its escaped form.
    const HIDDEN: [(&str, &str); 14] = [
        ("\0", "\\u{0}"),
        ("\n", "\\n"),
        ("\x1b[2J", "\\u{1b}[2J"),
        ("\x7f", "\\u{7f}"),
        ("\u{9b}2J", "\\u{9b}2J"),
        ("\u{61c}", "\\u{61c}"),
        ("\u{200b}", "\\u{200b}"),
        ("\u{200f}", "\\u{200f}"),
        ("\u{2028}", "\\u{2028}"),
        ("\u{202e}", "\\u{202e}"),
        ("\u{2064}", "\\u{2064}"),
        ("\u{2069}", "\\u{2069}"),
        ("\u{feff}", "\\u{feff}"),
        ("\u{e0041}", "\\u{e0041}"),
    ];

    #[test]
    fn escapes_control_and_invisible_characters() {
        for (text, shown) in HIDDEN {
            assert_eq!(printable(&format!("a{text}ä")), format!("a{shown}ä"));
        }
        for text in ["", "nginx:1.27", "Ünïcödé → µs …", "日本語", "a\\nb", "🚀"] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text), "{text}");
        }
        assert_eq!(one_line("a\r\n\tb\x1b[m"), "a   b\\u{1b}[m");
    }

    #[test]
    fn json_is_printable_without_loss() {
        let text: String = HIDDEN.iter().map(|(text, _)| format!("<{text}>\"ä\\🚀")).collect();
        let value = json!({ "a": text, &text: [1, null, "b"] });
        let written = printable_json(&value).unwrap();
        assert!(!written.contains(is_hidden), "{written}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), value);
        assert!(written.contains("ä") && written.contains("🚀") && written.contains(r"\udb40\udc41"), "{written}");
    }
}
