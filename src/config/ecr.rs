//! Targets of kind ecr: which registry, as whom, and what repositories get that are made there.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::{
    reader::{Found, Reader, Section},
    scalar::{boolean, shown, word},
    yaml::Value,
};
use crate::model::{EcrRegistry, NewRepositories, TagMutability};

/// What the section says, account and region aside, which may come from elsewhere.
#[derive(Default)]
pub(super) struct EcrSettings {
    pub account: Option<Found>,
    pub region: Option<Found>,
    /// Account or region was there and was refused, so that it is not missing.
    pub faulty: bool,
    pub keep_repositories: bool,
    pub assume_role: Option<String>,
    pub new: NewRepositories,
    dual_stack: Option<Found<bool>>,
    fips: Option<Found<bool>>,
}

impl EcrSettings {
    /// The keys of the section. The original's variables win over them where `with_variables`; those of the AWS SDK
    /// stand in for what is missing where `with_fallbacks`.
    pub fn read(
        reader: &mut Reader<'_>,
        section: &mut Section<'_>,
        with_variables: bool,
        with_fallbacks: bool,
    ) -> Self {
        let variable = |name| with_variables.then_some(name);
        let mistakes = reader.mistakes.len();
        let account = reader.setting(section, "accountID", variable("ECR_ACCOUNT_ID"), account_id);
        let mut region = reader.setting(section, "region", variable("AWS_REGION"), region_name);
        if region.is_none() && with_fallbacks && !with_variables {
            let found = reader.worded_variable("AWS_REGION");
            region = found.and_then(|found| reader.read(&found, region_name));
        }
        let faulty = reader.mistakes.len() > mistakes;
        let create = reader.setting(section, "createRepo", variable("ECR_CREATE_REPO"), boolean);
        let mut switch = |key, name| {
            let in_file = reader.setting(section, key, None, boolean);
            let stands_in = reader.worded_variable(name).filter(|_| with_fallbacks && in_file.is_none());
            in_file.or_else(|| stands_in.and_then(|found| reader.read(&found, boolean)))
        };
        let dual_stack = switch("dualStack", "AWS_USE_DUALSTACK_ENDPOINT");
        let fips = switch("fips", "AWS_USE_FIPS_ENDPOINT");
        let assume_role = reader.setting(section, "assumeRoleArn", None, role_arn).map(|found| found.value);
        Self {
            account,
            region,
            faulty,
            keep_repositories: create.is_some_and(|create| !create.value),
            assume_role,
            new: new_repository(reader, section),
            dual_stack,
            fips,
        }
    }

    /// The registry of an account and region.
    pub fn registry(&self, reader: &mut Reader<'_>, account: &str, region: &str) -> EcrRegistry {
        let is_set = |switch: &Option<Found<bool>>| switch.as_ref().is_some_and(|switch| switch.value);
        let (fips, dual_stack) = (is_set(&self.fips), is_set(&self.dual_stack));
        let registry = EcrRegistry { account: account.to_owned(), region: region.to_owned(), fips, dual_stack };
        if let Some(switch) = self.dual_stack.as_ref().filter(|_| !registry.exists()) {
            reader.refuse(&switch.place, format!("{region} lies in a partition without dual-stack endpoints"));
        }
        registry
    }
}

fn new_repository(reader: &mut Reader<'_>, section: &mut Section<'_>) -> NewRepositories {
    let lifecycle_policy = reader.setting(section, "lifecyclePolicy", None, lifecycle_policy);
    let repository_policy = reader.setting(section, "repositoryPolicy", None, json_text);
    let scan = reader.setting(section, "scanOnPush", None, boolean);
    let key = reader.setting(section, "kmsKey", None, |text| Ok(text.trim().to_owned()));
    let words = [("mutable", true), ("immutable", false)];
    let mutable = reader.setting(section, "tagMutability", None, |text| word(text, &words));
    let exclusions = section.node("mutabilityExclusions").map(|(_, place)| place);
    let except = reader.list_of(section, "mutabilityExclusions", None, tag_pattern);
    if let (Some(place), None, false) = (exclusions, &mutable, except.is_empty()) {
        reader.refuse(&place, "exceptions from nothing: set tagMutability to mutable or immutable as well");
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
    let Some((node, place)) = section.node("tags") else { return tags };
    let Value::Map(entries) = &node.value else {
        reader.refuse(&place, "keys with values are wanted here (`team: platform`)");
        return tags;
    };
    for entry in entries {
        let key = entry.key.trim();
        match entry.value.text() {
            Some(value) if !(1..=128).contains(&key.chars().count()) || value.chars().count() > 256 => {
                let message = format!("the tag {}: a key has 1 to 128 characters, a value at most 256", shown(key));
                reader.refuse(&place, message);
            }
            Some(_) if key.to_ascii_lowercase().starts_with("aws:") => {
                reader.refuse(&place, format!("the tag {}: keys that begin with aws: are Amazon's own", shown(key)));
            }
            Some(value) => drop(tags.insert(key.to_owned(), value.to_owned())),
            None => reader.refuse(&place, format!("the tag {} has no single value", shown(key))),
        }
    }
    if tags.len() > 50 {
        reader.refuse(&place, format!("{} tags are more than the 50 that AWS takes", tags.len()));
    }
    tags
}

fn account_id(text: &str) -> Result<String, String> {
    let text = text.trim();
    if is_account(text) {
        return Ok(text.to_owned());
    }
    Err(format!("{} is no AWS account; write its twelve digits", shown(text)))
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
        return Err(format!("{} is no AWS region; write it as eu-central-1", shown(text)));
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
        _ => Err(format!("{} is no role; write it as arn:aws:iam::123456789012:role/name", shown(text))),
    }
}

fn tag_pattern(text: &str) -> Result<String, String> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'*');
    if text.len() <= 128 && text.bytes().all(known) && text.matches('*').count() <= 2 {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{} is no pattern of tags; write up to 128 letters, digits, `.`, `_`, `-`, and at most two *",
        shown(text)
    ))
}

fn json_text(text: &str) -> Result<String, String> {
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("is no JSON object: {error}")),
    }
}

/// Only what every lifecycle policy has: Amazon adds to the rest.
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
        serde_json::from_str(text).map_err(|error| format!("is no lifecycle policy: {error}"))?;
    let mut priorities = BTreeSet::new();
    match policy.rules.iter().find(|rule| !priorities.insert(rule.priority)) {
        Some(twin) => Err(format!("is no lifecycle policy: two rules have the rulePriority {}", twin.priority)),
        None => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broken_lifecycle_policies_are_told_with_their_place() {
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
    fn roles_are_known_by_their_arn() {
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
    fn patterns_of_tags_are_those_of_amazon() {
        assert!(["latest", "dev-*", "*-rc.*"].iter().all(|text| tag_pattern(text).is_ok()));
        assert!(["a b", "*a*b*", "sha256:x"].iter().all(|text| tag_pattern(text).is_err()));
    }
}
