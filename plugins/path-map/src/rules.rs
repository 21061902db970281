//! The rules of `pathMap`.

use regex_lite::Regex;
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    path_map: Vec<RuleConfig>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleConfig {
    #[serde(default)]
    from: String,
    #[serde(default)]
    to: String,
    #[serde(default)]
    regex: bool,
}

enum Rule {
    /// Replaces whole segments at the start of the path. Neither text starts or ends with a slash.
    Prefix { from: String, to: String },
    /// Replaces all matches; `to` may refer to groups.
    Regex { from: Regex, to: String },
}

/// The checked configuration.
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Parses the configuration. The error names every invalid rule.
    pub fn from_json(json: &str) -> Result<Self, String> {
        let config: Option<Config> = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let mut rules = Vec::new();
        let mut errors = Vec::new();
        for (index, RuleConfig { from, to, regex }) in config.unwrap_or_default().path_map.into_iter().enumerate() {
            if !regex {
                let trimmed = |text: &str| text.trim_matches('/').to_owned();
                rules.push(Rule::Prefix { from: trimmed(&from), to: trimmed(&to) });
                continue;
            }
            // regex-lite has ASCII classes, as RE2 has, which the original program used.
            match Regex::new(&from) {
                Ok(from) => rules.push(Rule::Regex { from, to }),
                Err(error) => {
                    errors.push(format!("pathMap[{index}].from: {from:?} is not a valid regular expression: {error}"));
                }
            }
        }
        if errors.is_empty() { Ok(Self(rules)) } else { Err(errors.join("; ")) }
    }

    /// `path` after the first matching rule. None if no rule matches. A rule whose result is empty is an error.
    pub fn apply(&self, path: &str) -> Result<Option<String>, String> {
        let result = self.0.iter().enumerate().find_map(|(index, rule)| Some((index, rule.apply(path)?)));
        match result {
            Some((index, result)) if result.trim_matches('/').is_empty() => {
                Err(format!("pathMap[{index}] leaves nothing of the path {path:?}; map it to a name"))
            }
            result => Ok(result.map(|(_, result)| result)),
        }
    }
}

impl Rule {
    fn apply(&self, path: &str) -> Option<String> {
        match self {
            Self::Regex { from, to } => from.is_match(path).then(|| from.replace_all(path, to.as_str()).into_owned()),
            Self::Prefix { from, to } => {
                let rest = path.strip_prefix(from.as_str())?;
                let is_whole_segment = from.is_empty() || rest.is_empty() || rest.starts_with('/');
                let parts = [to.as_str(), rest.trim_start_matches('/')];
                is_whole_segment
                    .then(|| parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(rules: &str, path: &str) -> Result<Option<String>, String> {
        Rules::from_json(&format!(r#"{{"pathMap":{rules}}}"#)).unwrap().apply(path)
    }

    #[test]
    fn applies_the_first_matching_rule_once() {
        for (rules, path, expected) in [
            ("[]", "a/b", None),
            (r#"[{"from":"group/project","to":"prod/project"}]"#, "group/project/app", Some("prod/project/app")),
            (r#"[{"from":"group/project","to":"prod/project"}]"#, "group/project", Some("prod/project")),
            (r#"[{"from":"group/project","to":"prod/project"}]"#, "group/project-x", None),
            (r#"[{"from":"group/project","to":"prod/project"}]"#, "group/projectx", None),
            (r#"[{"from":"group/","to":"prod/"}]"#, "group/app", Some("prod/app")),
            (r#"[{"from":"library/","to":""}]"#, "library/nginx", Some("nginx")),
            (r#"[{"from":"library"}]"#, "library/nginx", Some("nginx")),
            (r#"[{"from":"","to":"all"}]"#, "a/b", Some("all/a/b")),
            (r#"[{"from":"b","to":"x"}]"#, "a/b", None),
            (r#"[{"from":"a","to":"b"},{"from":"b","to":"c"}]"#, "a/x", Some("b/x")),
            (r#"[{"from":"x","to":"y"},{"from":"a","to":"c"}]"#, "a/x", Some("c/x")),
            (r#"[{"from":"o","to":"0","regex":true}]"#, "foo/bool", Some("f00/b00l")),
            (r#"[{"from":"^o","to":"0","regex":true}]"#, "foo", None),
            (r#"[{"from":"^(\\w+)/(\\w+)$","to":"$2/$1","regex":true}]"#, "a/b", Some("b/a")),
            (r#"[{"from":"^(\\w+)/(\\w+)$","to":"${1}x/${2}","regex":true}]"#, "a/b", Some("ax/b")),
            (r#"[{"from":"^(\\w+)/(\\w+)$","to":"$1x/$2","regex":true}]"#, "a/b", Some("/b")),
            (r#"[{"from":"^(?P<team>\\w+)/","to":"t-${team}/","regex":true}]"#, "a/b", Some("t-a/b")),
            (r#"[{"from":"a*","to":"-","regex":true}]"#, "baac", Some("-b-c-")),
            (r#"[{"from":"x","to":"","regex":true},{"from":"a","to":"b"}]"#, "a/y", Some("b/y")),
            (r#"[{"from":"v([[:digit:]]+)","to":"$$$1","regex":true}]"#, "v2/y", Some("$2/y")),
        ] {
            assert_eq!(apply(rules, path), Ok(expected.map(str::to_owned)), "{rules} {path}");
        }
    }

    #[test]
    fn an_empty_result_is_an_error() {
        for rules in
            [r#"[{"from":"a/b"}]"#, r#"[{"from":".*","regex":true}]"#, r#"[{"from":".+","to":"/","regex":true}]"#]
        {
            let error = apply(rules, "a/b").unwrap_err();
            assert!(error.contains("pathMap[0]") && error.contains("a/b"), "{error}");
        }
    }

    #[test]
    fn names_every_invalid_expression() {
        let rules = r#"{"pathMap":[{"from":"(","regex":true},{"from":"("},{"from":"[z","regex":true}]}"#;
        let error = Rules::from_json(rules).err().unwrap();
        assert!(error.contains("pathMap[0].from") && error.contains("pathMap[2].from"), "{error}");
        assert!(!error.contains("pathMap[1]"), "{error}");
    }
}
