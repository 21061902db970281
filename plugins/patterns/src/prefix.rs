//! Repository prefixes with tokens: `$namespace`, `$podname`, `$container_name`, `$registry`.

use std::fmt;

/// The longest part of an unknown token that an error quotes, in characters.
const MAX_QUOTED: usize = 64;

/// A token of a repository prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixToken {
    /// `$namespace`: the workload's namespace.
    Namespace,
    /// `$podname`: the name of the workload or of the controller that owns it.
    PodName,
    /// `$container_name`: the container's name.
    ContainerName,
    /// `$registry`: the source registry.
    Registry,
}

impl PrefixToken {
    /// All tokens as they are written.
    pub const NAMES: [&'static str; 4] = ["$namespace", "$podname", "$container_name", "$registry"];

    const ALL: [(&'static str, Self); 4] = [
        ("namespace", Self::Namespace),
        ("podname", Self::PodName),
        ("container_name", Self::ContainerName),
        ("registry", Self::Registry),
    ];

    /// The token at the start of `text`, which follows a `$`, and the text after it. A token ends where neither a
    /// letter nor a digit follows: `$namespaces` is unknown, `$namespace_$podname` are two tokens.
    fn parse(text: &str) -> Option<(Self, &str)> {
        Self::ALL.into_iter().find_map(|(name, token)| {
            let rest = text.strip_prefix(name)?;
            (!rest.starts_with(|c: char| c.is_ascii_alphanumeric())).then_some((token, rest))
        })
    }
}

/// A `$` in a prefix that does not start a known token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownToken {
    /// The token as it is written, with its `$`, at most 65 characters.
    pub token: String,
}

impl fmt::Display for UnknownToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.token == "$arch" {
            return f.write_str("$arch has no single value: images are copied with several platforms; remove it");
        }
        // The list is a literal to keep the plugin small.
        write!(f, "unknown token {}; known tokens: $namespace, $podname, $container_name, $registry", self.token)
    }
}

impl std::error::Error for UnknownToken {}

/// `template` with `value` in place of each token.
///
/// # Errors
/// The first unknown token.
pub fn expand_prefix<'a>(template: &str, value: impl Fn(PrefixToken) -> &'a str) -> Result<String, UnknownToken> {
    let mut pieces = template.split('$');
    let mut expanded = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (token, rest) = PrefixToken::parse(piece).ok_or_else(|| unknown_token(piece))?;
        expanded.push_str(value(token));
        expanded.push_str(rest);
    }
    Ok(expanded)
}

fn unknown_token(text: &str) -> UnknownToken {
    let is_word = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let mut token = String::from("$");
    token.extend(text.chars().take_while(is_word).take(MAX_QUOTED));
    UnknownToken { token }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(template: &str) -> Result<String, UnknownToken> {
        expand_prefix(template, |token| match token {
            PrefixToken::Namespace => "prod",
            PrefixToken::PodName => "web",
            PrefixToken::ContainerName => "main",
            PrefixToken::Registry => "docker.io",
        })
    }

    #[test]
    fn expands_tokens() {
        for (template, expected) in [
            ("", ""),
            ("mirror/all", "mirror/all"),
            ("$namespace", "prod"),
            ("/x/$namespace/$podname-$container_name/", "/x/prod/web-main/"),
            ("$registry/$namespace_$podname", "docker.io/prod_web"),
            ("$namespace$namespace", "prodprod"),
        ] {
            assert_eq!(expand(template).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn names_the_unknown_token() {
        for (template, token) in [
            ("$namespaces", "$namespaces"),
            ("a/$team/b", "$team"),
            ("$", "$"),
            ("${namespace}", "$"),
            ("$Namespace", "$Namespace"),
            ("$container", "$container"),
            ("$namespace/$x-y", "$x"),
        ] {
            let error = expand(template).unwrap_err();
            assert_eq!(error.token, token, "{template}");
            assert!(
                error.to_string().contains(&format!("{token}; known tokens: {}", PrefixToken::NAMES.join(", "))),
                "{error}"
            );
        }
        assert!(expand("$arch").unwrap_err().to_string().contains("several platforms"));
        assert_eq!(expand(&format!("${}", "a".repeat(1000))).unwrap_err().token.len(), 65);
    }
}
