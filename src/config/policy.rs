//! Settings of the policy.

use std::path::Path;

use super::{
    PathMapRule, PolicyConfig,
    plugin::plugins,
    reader::{Reader, Section},
    value::{boolean, keyword, regular_expression},
};
use crate::model::Hook;

pub(super) fn policy(reader: &mut Reader<'_>, root: &mut Section<'_>) -> PolicyConfig {
    let plugin_dir = reader.setting(root, "pluginDir", Some("PLUGIN_DIR"), |text| Ok(text.trim().to_owned()));
    let is_explicit = plugin_dir.as_ref().map(|found| found.location.clone());
    let plugin_dir = plugin_dir.map_or_else(|| "/plugins".to_owned(), |found| found.value);
    PolicyConfig {
        path_map: path_map(reader, root),
        exclude_registries: reader
            .list_of(root, "excludeRegistries", Some("EXCLUDE_REGISTRIES"), |text| Ok(text.to_owned())),
        plugins: plugins(reader, root, Path::new(&plugin_dir), is_explicit.as_ref()),
        plugin_dir: plugin_dir.into(),
        default_plugins: default_plugins(reader, root),
    }
}

/// An empty list disables all of them.
fn default_plugins(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Vec<Hook> {
    if root.node("defaultPlugins").is_none() {
        return Hook::ALL.to_vec();
    }
    let hooks = Hook::ALL.map(|hook| (hook.name(), hook));
    let chosen = reader.list_of(root, "defaultPlugins", None, |text| keyword(text, &hooks));
    Hook::ALL.into_iter().filter(|hook| chosen.contains(hook)).collect()
}

fn path_map(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Vec<PathMapRule> {
    let mut rules = Vec::new();
    for mut section in root.sections(reader, "pathMap") {
        let from = section.scalar(reader, "from");
        let to = section.scalar(reader, "to").map(|to| to.value).unwrap_or_default();
        let regex = reader.setting(&mut section, "regex", None, boolean).is_some_and(|regex| regex.value);
        section.finish(reader);
        if let Some(from) = from.as_ref().filter(|_| regex) {
            // Only checked here; the plugin compiles it.
            let _ = reader.parse(from, regular_expression);
        }
        rules.push(PathMapRule { from: from.map(|from| from.value).unwrap_or_default(), to, regex });
    }
    rules
}
