//! The setting `pullSecrets`: a word, or a list of namespaces.

use super::{
    reader::{Reader, Section},
    value::{keyword, quoted},
};
use crate::model::PullSecretScope;

const KEY: &str = "pullSecrets";
const VARIABLE: &str = "PULL_SECRETS";

/// The words. In YAML 1.1, which Helm reads, `off` is the boolean `false`.
pub(super) const WORDS: [(&str, bool); 2] = [("off", false), ("all", true)];
const OFF_IN_YAML_1_1: &str = "false";

pub(super) fn pull_secrets(reader: &mut Reader<'_>, root: &mut Section<'_>) -> PullSecretScope {
    let in_file = if root.is_section(KEY) {
        let mut section = root.section(reader, KEY);
        let names = reader.list_of(&mut section, "namespaces", None, namespace);
        if section.node("namespaces").is_none() {
            reader.reject(&section.location(), "namespaces is missing; write { namespaces: [a, b] }, all or off");
        }
        section.finish(reader);
        Some(PullSecretScope::Namespaces(names.into_iter().collect()))
    } else {
        reader.setting(root, KEY, None, word).map(|found| found.value)
    };
    let in_variable = reader.nonblank_variable(VARIABLE).and_then(|found| reader.parse(&found, word_or_namespaces));
    in_variable.map(|found| found.value).or(in_file).unwrap_or_default()
}

fn word(text: &str) -> Result<PullSecretScope, String> {
    if text.trim() == OFF_IN_YAML_1_1 {
        return Ok(PullSecretScope::Off);
    }
    let is_all = keyword(text, &WORDS).map_err(|error| format!("{error}, and has no keys (`namespaces: [a, b]`)"))?;
    Ok(if is_all { PullSecretScope::All } else { PullSecretScope::Off })
}

fn word_or_namespaces(text: &str) -> Result<PullSecretScope, String> {
    if let Ok(scope) = word(text) {
        return Ok(scope);
    }
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    Ok(PullSecretScope::Namespaces(names.map(namespace).collect::<Result<_, _>>()?))
}

/// The name of a namespace: rights are granted by namespace, so there are no globs.
fn namespace(text: &str) -> Result<String, String> {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty() || text.len() > 63 || !text.bytes().all(is_allowed) {
        return Err(format!("{} is not the name of a namespace; write exact names, or all", quoted(text)));
    }
    Ok(text.to_owned())
}
