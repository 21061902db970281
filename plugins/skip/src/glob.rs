//! Shell patterns as Go's `path.Match` reads them, since the namespaces of existing configurations are written so:
//! `*` and `?` stop at slashes, a class is negated by `^`, a backslash takes the next character as it is.

/// A pattern, known to be well formed.
#[derive(Debug)]
pub struct Glob(Vec<Token>);

#[derive(Debug)]
enum Token {
    Exactly(char),
    AnyChar,
    AnyChars,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Glob {
    /// Reads a pattern; the error says what is wrong with it.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut rest = pattern.chars();
        while let Some(c) = rest.next() {
            tokens.push(match c {
                '*' => Token::AnyChars,
                '?' => Token::AnyChar,
                '[' => class(&mut rest)?,
                '\\' => Token::Exactly(rest.next().ok_or("it ends with a backslash")?),
                c => Token::Exactly(c),
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

fn class(rest: &mut std::str::Chars<'_>) -> Result<Token, String> {
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

fn class_char(rest: &mut std::str::Chars<'_>) -> Result<char, String> {
    match rest.next() {
        Some('\\') => rest.next().ok_or_else(|| "it ends with a backslash".to_owned()),
        Some(c @ ('-' | ']')) => Err(format!("in a class {c:?} needs a backslash before it")),
        Some(c) => Ok(c),
        None => Err("its [ is never closed".to_owned()),
    }
}

/// Greedy, with one place to go back to: a later `*` can do all that an earlier one could, as slashes stop both.
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
            (Some(Token::Exactly(wanted)), Some(c)) => wanted == c,
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
    fn patterns_match_as_in_go() {
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
    fn ill_formed_patterns_are_refused() {
        for pattern in ["[", "[]", "[]a]", "[a", "[^", "[a-", "[a-]", "[-a]", "\\", "[\\"] {
            assert!(Glob::new(pattern).is_err(), "{pattern}");
        }
    }
}
