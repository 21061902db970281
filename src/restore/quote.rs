//! Strings of TOML and YAML.

use std::fmt::Write as _;

/// `text` as a basic string of TOML, which is a double-quoted scalar of YAML as well: everything but printable ASCII is escaped
/// in the one form that both know.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            // Writing to a String can't fail.
            c => drop(write!(quoted, "\\U{:08X}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

/// `text` below a key that ends with `|`.
pub fn literal_block(text: &str, indentation: usize) -> String {
    let line = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("{:indentation$}{line}\n", "") };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_breaks_out_of_a_string() {
        for hostile in
            ["a\"]\n[host.\"https://evil\"]", "\\", "\u{7f}\u{0}\r\n\t", "ä\u{2028}\u{10ffff}", "- x: {y}", "#"]
        {
            let line = format!("key: {}\n", quoted(hostile));
            assert_eq!(line.lines().count(), 1, "{line}");
            let read: std::collections::BTreeMap<String, String> = serde_yaml::from_str(&line).unwrap();
            assert_eq!(read["key"], hostile);
        }
    }
}
