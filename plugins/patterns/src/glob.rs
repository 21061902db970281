//! Shell globs with the syntax of Go's `path.Match`, which the original program used for namespaces: `*` and `?` do not
//! match slashes, `^` negates a class, a backslash escapes the next character. Kept by hand: the crates that match
//! globs have other rules, and would make the plugins larger.

use std::{fmt, str::Chars};

/// An exact name, or a glob if the text contains any of `*?[`.
#[derive(Debug)]
pub enum NamePattern {
    /// Matches this text only.
    Name(String),
    /// Matches what the glob matches.
    Glob(Glob),
}

impl NamePattern {
    /// Parses a name or a glob.
    ///
    /// # Errors
    /// A malformed glob.
    pub fn new(text: &str) -> Result<Self, GlobError> {
        if text.contains(['*', '?', '[']) { Glob::new(text).map(Self::Glob) } else { Ok(Self::Name(text.to_owned())) }
    }

    /// Whether all of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Name(name) => name == text,
            Self::Glob(glob) => glob.matches(text),
        }
    }
}

/// A glob that was found to be well formed.
#[derive(Debug)]
pub struct Glob(Vec<Token>);

/// Why a glob is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GlobError {
    /// The last character is a backslash.
    TrailingBackslash,
    /// `]` is missing.
    UnclosedClass,
    /// `-` or `]` stands in a class where a character is required.
    UnescapedInClass(char),
}

impl fmt::Display for GlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrailingBackslash => f.write_str("it ends with a backslash"),
            Self::UnclosedClass => f.write_str("[ is not closed"),
            Self::UnescapedInClass(character) => write!(f, "{character} must be written \\{character} inside [ ]"),
        }
    }
}

impl std::error::Error for GlobError {}

#[derive(Debug)]
enum Token {
    Literal(char),
    AnyChar,
    AnyChars,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// Parses a glob.
    ///
    /// # Errors
    /// Why it is malformed.
    pub fn new(pattern: &str) -> Result<Self, GlobError> {
        let mut tokens = Vec::new();
        let mut rest = pattern.chars();
        while let Some(c) = rest.next() {
            tokens.push(match c {
                '*' => Token::AnyChars,
                '?' => Token::AnyChar,
                '[' => class(&mut rest)?,
                '\\' => Token::Literal(rest.next().ok_or(GlobError::TrailingBackslash)?),
                c => Token::Literal(c),
            });
        }
        Ok(Self(tokens))
    }

    /// Whether all of `text` matches.
    pub fn matches(&self, text: &str) -> bool {
        let text: Vec<char> = text.chars().collect();
        matches(&self.0, &text)
    }
}

fn class(rest: &mut Chars<'_>) -> Result<Token, GlobError> {
    let negated = rest.as_str().starts_with('^');
    if negated {
        rest.next();
    }
    let mut ranges = Vec::new();
    loop {
        if rest.as_str().starts_with(']') && !ranges.is_empty() {
            rest.next();
            return Ok(Token::Class { negated, ranges });
        }
        let low = class_char(rest)?;
        let high = if rest.as_str().starts_with('-') {
            rest.next();
            class_char(rest)?
        } else {
            low
        };
        ranges.push((low, high));
    }
}

fn class_char(rest: &mut Chars<'_>) -> Result<char, GlobError> {
    match rest.next() {
        Some('\\') => rest.next().ok_or(GlobError::TrailingBackslash),
        Some(c @ ('-' | ']')) => Err(GlobError::UnescapedInClass(c)),
        Some(c) => Ok(c),
        None => Err(GlobError::UnclosedClass),
    }
}

/// Greedy, and backtracks to the last `*` only: slashes stop every `*`, so a later one matches all that an earlier one
/// could.
fn matches(tokens: &[Token], text: &[char]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        let matched = match (tokens.get(token), text.get(at)) {
            (None, None) => return true,
            (Some(Token::AnyChars), _) => {
                token += 1;
                retry = Some((token, at));
                continue;
            }
            (Some(Token::Literal(literal)), Some(c)) => literal == c,
            (Some(Token::AnyChar), Some(c)) => *c != '/',
            (Some(Token::Class { negated, ranges }), Some(c)) => {
                ranges.iter().any(|(low, high)| (low..=high).contains(&c)) != *negated
            }
            (None, Some(_)) | (Some(_), None) => false,
        };
        if matched {
            token += 1;
            at += 1;
            continue;
        }
        match retry {
            Some((after_star, from)) if text.get(from).is_some_and(|c| *c != '/') => {
                retry = Some((after_star, from + 1));
                (token, at) = (after_star, from + 1);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_go_does() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "prod", true),
            ("*", "a/b", false),
            ("prod-*", "prod-", true),
            ("prod-*", "prod-eu", true),
            ("prod-*", "preprod-eu", false),
            ("*-prod", "eu-prod-prod", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-cd", false),
            ("a*/b", "a/b", true),
            ("a*/b", "a/c/b", false),
            ("a?", "ab", true),
            ("a?", "a", false),
            ("a?b", "a/b", false),
            ("team-[a-c]", "team-b", true),
            ("team-[a-c]", "team-d", false),
            ("team-[^a-c]", "team-d", true),
            ("team-[ac-]", "team-a", false),
            ("[\\-x]", "-", true),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("[c-a]", "b", false),
        ] {
            let matched = Glob::new(pattern).map(|glob| glob.matches(text)).unwrap_or(false);
            assert_eq!(matched, expected, "{pattern} {text}");
        }
    }

    #[test]
    fn rejects_malformed_globs() {
        for pattern in ["[", "[]", "[]a]", "[a", "[^", "[a-", "[a-]", "[-a]", "\\", "[\\"] {
            assert!(Glob::new(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn a_text_without_wildcards_is_a_name() {
        for (pattern, text, expected) in [
            ("plain", "plain", true),
            ("plain", "plainer", false),
            ("a]b", "a]b", true),
            ("a\\b", "a\\b", true),
            ("p*", "plain", true),
        ] {
            assert_eq!(NamePattern::new(pattern).unwrap().matches(text), expected, "{pattern} {text}");
        }
        assert!(NamePattern::new("[a").is_err());
    }
}
