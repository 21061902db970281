//! Settings of targets of kind ecr: the registry, the role, and the settings of new repositories.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{
    reader::{Reader, Section, Spanned},
    value::{boolean, keyword, quoted},
    yaml::Value,
};
use crate::model::{EcrRegistry, NewRepositories, TagMutability};

/// The settings of the section; account and region may come from variables.
#[derive(Default)]
pub(super) struct EcrSettings {
    pub account: Option<Spanned>,
    pub region: Option<Spanned>,
    /// Account or region was set but invalid, and so not missing.
    pub has_errors: bool,
    pub keep_repositories: bool,
    pub assume_role: Option<String>,
    pub new: NewRepositories,
    dual_stack: Option<Spanned<bool>>,
    fips: Option<Spanned<bool>>,
}

/// The words of `tagMutability`: whether tags may move.
pub(super) const MUTABILITY: [(&str, bool); 2] = [("mutable", true), ("immutable", false)];

impl EcrSettings {
    /// Reads the section. With `with_variables`, the variables of the original program take precedence; with
    /// `with_fallbacks`, those of the AWS SDK replace missing keys.
    pub fn read(
        reader: &mut Reader<'_>,
        section: &mut Section<'_>,
        with_variables: bool,
        with_fallbacks: bool,
    ) -> Self {
        let variable = |name| with_variables.then_some(name);
        let errors = reader.errors.len();
        let account = reader.setting(section, "accountID", variable("ECR_ACCOUNT_ID"), account_id);
        let mut region = reader.setting(section, "region", variable("AWS_REGION"), region_name);
        if region.is_none() && with_fallbacks && !with_variables {
            let found = reader.nonblank_variable("AWS_REGION");
            region = found.and_then(|found| reader.parse(&found, region_name));
        }
        let has_errors = reader.errors.len() > errors;
        let create = reader.setting(section, "createRepo", variable("ECR_CREATE_REPO"), boolean);
        let mut switch = |key, name| {
            let in_file = reader.setting(section, key, None, boolean);
            let fallback = reader.nonblank_variable(name).filter(|_| with_fallbacks && in_file.is_none());
            in_file.or_else(|| fallback.and_then(|found| reader.parse(&found, boolean)))
        };
        let dual_stack = switch("dualStack", "AWS_USE_DUALSTACK_ENDPOINT");
        let fips = switch("fips", "AWS_USE_FIPS_ENDPOINT");
        let assume_role = reader.setting(section, "assumeRoleArn", None, role_arn).map(|found| found.value);
        Self {
            account,
            region,
            has_errors,
            keep_repositories: create.is_some_and(|create| !create.value),
            assume_role,
            new: new_repository(reader, section),
            dual_stack,
            fips,
        }
    }

    /// The registry of this account and region.
    pub fn registry(&self, reader: &mut Reader<'_>, account: &str, region: &str) -> EcrRegistry {
        let is_set = |switch: &Option<Spanned<bool>>| switch.as_ref().is_some_and(|switch| switch.value);
        let (fips, dual_stack) = (is_set(&self.fips), is_set(&self.dual_stack));
        let registry = EcrRegistry { account: account.to_owned(), region: region.to_owned(), fips, dual_stack };
        if let Some(switch) = self.dual_stack.as_ref().filter(|_| !registry.exists()) {
            reader.reject(&switch.location, format!("the partition of {region} has no dual-stack endpoints"));
        }
        registry
    }
}

fn new_repository(reader: &mut Reader<'_>, section: &mut Section<'_>) -> NewRepositories {
    let lifecycle_policy = reader.setting(section, "lifecyclePolicy", None, lifecycle_policy);
    let repository_policy = reader.setting(section, "repositoryPolicy", None, json_text);
    let scan = reader.setting(section, "scanOnPush", None, boolean);
    let key = reader.setting(section, "kmsKey", None, |text| Ok(text.trim().to_owned()));
    let mutable = reader.setting(section, "tagMutability", None, |text| keyword(text, &MUTABILITY));
    let exclusions = section.node("mutabilityExclusions").map(|(_, location)| location);
    let except = reader.list_of(section, "mutabilityExclusions", None, tag_pattern);
    if let (Some(location), None, false) = (exclusions, &mutable, except.is_empty()) {
        reader.reject(&location, "has no effect without tagMutability: set it to mutable or immutable");
    }
    NewRepositories {
        lifecycle_policy: lifecycle_policy.map(|policy| policy.value),
        repository_policy: repository_policy.map(|policy| policy.value),
        tags: tags(reader, section),
        scan_on_push: scan.is_some_and(|scan| scan.value),
        kms_key: key.map(|key| key.value),
        tag_mutability: mutable.map(|mutable| match mutable.value {
            true => TagMutability::Mutable { except },
            false => TagMutability::Immutable { except },
        }),
    }
}

fn tags(reader: &mut Reader<'_>, section: &mut Section<'_>) -> BTreeMap<String, String> {
    let mut tags = BTreeMap::new();
    let Some((node, location)) = section.node("tags") else { return tags };
    let Value::Map(entries) = &node.value else {
        reader.reject(&location, "expected keys with values (`team: platform`)");
        return tags;
    };
    for entry in entries {
        let key = entry.key.trim();
        match entry.value.text() {
            Some(value) if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 => {
                let message = format!("the tag {}: a key has 1 to 128 characters, a value at most 256", quoted(key));
                reader.reject(&location, message);
            }
            Some(_) if key.to_ascii_lowercase().starts_with("aws:") => {
                reader.reject(&location, format!("the tag {}: keys that begin with aws: are reserved", quoted(key)));
            }
            Some(value) => drop(tags.insert(key.to_owned(), value.to_owned())),
            None => reader.reject(&location, format!("the tag {} must have a single value", quoted(key))),
        }
    }
    if tags.len() > 50 {
        reader.reject(&location, format!("{} tags; AWS allows 50", tags.len()));
    }
    tags
}

fn account_id(text: &str) -> Result<String, String> {
    let text = text.trim();
    if is_account(text) {
        return Ok(text.to_owned());
    }
    Err(format!("{} is not an AWS account ID; write its twelve digits", quoted(text)))
}

fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn region_name(text: &str) -> Result<String, String> {
    let text = text.trim();
    let parts: Vec<_> = text.split('-').collect();
    let words =
        parts.iter().all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
    let numbered = parts.last().is_some_and(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
    if parts.len() < 3 || !words || !numbered {
        return Err(format!("{} is not an AWS region; write it as eu-central-1", quoted(text)));
    }
    Ok(text.to_owned())
}

fn role_arn(text: &str) -> Result<String, String> {
    let text = text.trim();
    let parts: Vec<_> = text.splitn(6, ':').collect();
    match parts.as_slice() {
        ["arn", partition, "iam", "", account, role]
            if partition.starts_with("aws") && is_account(account) && role.len() > 5 && role.starts_with("role/") =>
        {
            Ok(text.to_owned())
        }
        _ => Err(format!("{} is not the ARN of a role; write it as arn:aws:iam::123456789012:role/name", quoted(text))),
    }
}

fn tag_pattern(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'*');
    if text.len() <= 128 && text.bytes().all(is_allowed) && text.matches('*').count() <= 2 {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{} is not a tag pattern; write up to 128 letters, digits, `.`, `_`, `-`, and at most two *",
        quoted(text)
    ))
}

fn json_text(text: &str) -> Result<String, String> {
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("not a JSON object: {error}")),
    }
}

/// The keys of every lifecycle policy; others are not checked, as Amazon may add some.
#[derive(Deserialize)]
struct LifecyclePolicy {
    rules: Vec<LifecycleRule>,
}

#[derive(Deserialize)]
struct LifecycleRule {
    #[serde(rename = "rulePriority")]
    priority: u32,
    #[serde(rename = "selection")]
    _selection: serde_json::Map<String, serde_json::Value>,
    #[serde(rename = "action")]
    _action: serde_json::Map<String, serde_json::Value>,
}

fn lifecycle_policy(text: &str) -> Result<String, String> {
    let policy: LifecyclePolicy =
        serde_json::from_str(text).map_err(|error| format!("not a lifecycle policy: {error}"))?;
    let mut priorities = BTreeSet::new();
    match policy.rules.iter().find(|rule| !priorities.insert(rule.priority)) {
        Some(duplicate) => {
            Err(format!("not a lifecycle policy: two rules have the rulePriority {}", duplicate.priority))
        }
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locates_errors_in_lifecycle_policies() {
        let rule = r#"{"rulePriority": 1, "selection": {}, "action": {"type": "expire"}}"#;
        assert!(lifecycle_policy(&format!("{{\"rules\": [{rule}]}}")).is_ok());
        for (policy, hint) in [
            ("{\n \"rules\": [\n}".to_owned(), "line 3 column 1"),
            ("{}".to_owned(), "missing field `rules`"),
            ("[]".to_owned(), "line 1 column"),
            (r#"{"rules": [{"rulePriority": 1, "action": {}}]}"#.to_owned(), "`selection` at line 1 column"),
            (r#"{"rules": [{"rulePriority": "1"}]}"#.to_owned(), "line 1 column"),
            (format!("{{\"rules\": [{rule}, {rule}]}}"), "two rules have the rulePriority 1"),
        ] {
            let message = lifecycle_policy(&policy).unwrap_err();
            assert!(message.contains(hint), "{policy}: {message}");
        }
    }

    #[test]
    fn validates_role_arns() {
        for arn in [
            "arn:aws:iam::123456789012:role/mirror",
            "arn:aws-us-gov:iam::123456789012:role/teams/a/mirror",
            "arn:aws-cn:iam::123456789012:role/mirror",
        ] {
            assert_eq!(role_arn(&format!(" {arn} ")).as_deref(), Ok(arn));
        }
        for text in [
            "mirror",
            "arn:aws:iam::1:role/mirror",
            "arn:aws:iam::123456789012:user/me",
            "arn:aws:iam::123456789012:role/",
            "arn:aws:sts::123456789012:assumed-role/mirror/me",
        ] {
            assert!(role_arn(text).is_err(), "{text}");
        }
    }

    #[test]
    fn validates_tag_patterns() {
        assert!(["latest", "dev-*", "*-rc.*"].iter().all(|text| tag_pattern(text).is_ok()));
        assert!(["a b", "*a*b*", "sha256:x"].iter().all(|text| tag_pattern(text).is_err()));
    }
}
