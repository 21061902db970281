//! The targets' keys: of the single target, and of the entries of `targets`.

use serde_json::{Value as Json, json};

use super::{
    TOKENS,
    keys::{Key, boolean, key, section_with, text, texts, words},
};
use crate::{
    config::{ecr::MUTABILITY, target::KINDS},
    model::ReferrerScope,
};

/// Adds the variable of a single target; entries of `targets` have none.
fn of_single(key: Key, is_single: bool, variable: &str) -> Key {
    if is_single { key.variable(variable) } else { key }
}

fn prefix(is_single: bool, variable: &str) -> Key {
    of_single(key("repoPrefix", text(), format!("The repository prefix. {TOKENS}")), is_single, variable)
}

pub(super) fn docker(is_single: bool) -> Vec<Key> {
    let of_single = |key, variable| of_single(key, is_single, variable);
    vec![
        of_single(key("registry", text(), "The registry: host[:port][/path]."), "TARGET_REGISTRY"),
        prefix(is_single, "TARGET_REPO_PREFIX"),
        of_single(
            key("insecure", boolean(), "Use plain HTTP, and do not verify certificates.").default(false),
            "TARGET_INSECURE",
        ),
        of_single(key("username", text(), "The user name; `usernameEnv` takes precedence."), "TARGET_USERNAME"),
        key("usernameEnv", text(), "The name of the environment variable that has the user name."),
        of_single(
            key(
                "usernameFile",
                text(),
                "A file with the user name, read again when it changes; `usernameEnv` takes precedence.",
            ),
            "TARGET_USERNAME_FILE",
        ),
        of_single(key("password", text(), "The password; `passwordEnv` takes precedence."), "TARGET_PASSWORD"),
        key("passwordEnv", text(), "The name of the environment variable that has the password."),
        of_single(
            key(
                "passwordFile",
                text(),
                "A file with the password, read again when it changes; `passwordEnv` takes precedence.",
            ),
            "TARGET_PASSWORD_FILE",
        ),
    ]
}

pub(super) fn ecr(is_single: bool) -> Vec<Key> {
    let of_single = |key, variable| of_single(key, is_single, variable);
    vec![
        of_single(key("accountID", text(), "The AWS account, twelve digits; quote it."), "ECR_ACCOUNT_ID"),
        key("region", text(), "The AWS region, such as eu-central-1.").variable("AWS_REGION"),
        prefix(is_single, "ECR_REPO_PREFIX"),
        of_single(key("createRepo", boolean(), "Create missing repositories.").default(true), "ECR_CREATE_REPO"),
        key("lifecyclePolicy", text(), "The lifecycle policy of created repositories, as JSON text."),
        key("repositoryPolicy", text(), "The repository policy of created repositories, as JSON text."),
        key("assumeRoleArn", text(), "The ARN of a role to assume first."),
        key("dualStack", boolean(), "Use the endpoints that support IPv6.").variable("AWS_USE_DUALSTACK_ENDPOINT"),
        key("fips", boolean(), "Use the endpoints with FIPS 140 cryptography.").variable("AWS_USE_FIPS_ENDPOINT"),
        key(
            "tags",
            json!({ "type": ["object", "null"], "maxProperties": 50, "additionalProperties": { "$ref": "#/$defs/text" } }),
            "Tags of created repositories.",
        ),
        key("scanOnPush", boolean(), "Whether images in created repositories are scanned when they are pushed.")
            .default(false),
        key("kmsKey", text(), "The ARN, id or alias of the KMS key of created repositories."),
        key("tagMutability", words(&MUTABILITY), "Whether tags in created repositories may move."),
        key("mutabilityExclusions", texts(), "Tag patterns for which the opposite of `tagMutability` holds."),
    ]
}

pub(super) fn layout(is_single: bool) -> Vec<Key> {
    vec![
        of_single(key("path", text(), "The folder; it must not contain a colon."), is_single, "TARGET_PATH"),
        prefix(is_single, "TARGET_REPO_PREFIX"),
    ]
}

pub(super) fn further_sources() -> Json {
    let kinds = [
        (
            "registry",
            "A registry, host[:port][/path], that has other registries' repositories: what follows `prefix` in an image's name is \
             below it.",
        ),
        ("target", "The name of a target: images are where the policy places them there."),
        ("layout", "The folder of an OCI image layout, or a tar file of one."),
    ];
    let kinds = kinds.map(|(name, about)| {
        let prefix =
            "The images that it may have: a registry, or the beginning of registry and repository; empty: all.";
        let mut entry = section_with(vec![key(name, text(), about), key("prefix", text(), prefix)], &[name]);
        if let Json::Object(entry) = &mut entry {
            entry.insert("title".to_owned(), name.into());
        }
        entry
    });
    json!({ "type": ["array", "null"], "items": { "anyOf": kinds } })
}

pub(super) fn targets() -> Json {
    let kinds = KINDS.map(|(word, kind)| {
        use crate::model::TargetKind::{Docker, Ecr, OciLayout};
        let (own, required) = match kind {
            Docker => (docker(false), vec!["name", "kind", "registry"]),
            Ecr => (ecr(false), vec!["name", "kind", "accountID"]),
            OciLayout => (layout(false), vec!["name", "kind", "path"]),
        };
        let mut keys = vec![
            key("name", text(), "The name of the target, which differs from the others."),
            key("kind", json!({ "const": word }), "The kind of the target."),
            key("referrers", words(&ReferrerScope::WORDS), "As the setting of the same name, for this target."),
        ];
        keys.extend(own);
        let mut entry = section_with(keys, &required);
        if let Json::Object(entry) = &mut entry {
            entry.insert("title".to_owned(), word.into());
        }
        entry
    });
    json!({ "type": ["array", "null"], "items": { "anyOf": kinds } })
}
