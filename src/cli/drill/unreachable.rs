//! The files of a restore, changed so that nothing but the mirror can be reached.

use std::collections::BTreeSet;

/// Nothing listens there.
pub const NOWHERE: &str = "http://127.0.0.1:1";

/// A hosts.toml that asks nowhere last. None if it has no `server`.
pub fn hosts_toml(text: &str) -> Option<String> {
    let mut is_at_top = true;
    let mut is_replaced = false;
    let mut changed = String::new();
    for line in text.lines() {
        is_at_top &= !line.trim_start().starts_with('[');
        let is_server = is_at_top && line.split_once('=').is_some_and(|(key, _)| key.trim() == "server");
        match is_server {
            true => changed += &format!("server = \"{NOWHERE}\"\n"),
            false => changed += &format!("{line}\n"),
        }
        is_replaced |= is_server;
    }
    is_replaced.then_some(changed)
}

/// A registries.conf that never asks the registries themselves: those of its own entries, and `registries` as a whole. The
/// mirror's own names still lead to it.
pub fn registries_conf(text: &str, registries: &BTreeSet<&str>, mirror: &str) -> String {
    let mut changed = String::new();
    let mut prefixes = BTreeSet::new();
    // Inside of an entry, and not yet past its first line that names what it is about.
    let (mut is_entry, mut is_open) = (false, false);
    for line in text.lines() {
        let bare = line.trim();
        if bare.starts_with('[') {
            is_entry = bare == "[[registry]]";
            is_open = is_entry;
        }
        let setting = bare.split_once('=').filter(|_| is_entry).map(|(key, value)| (key.trim(), value.trim()));
        if setting.is_some_and(|(key, _)| key == "blocked") {
            continue;
        }
        changed += &format!("{line}\n");
        if let Some(("prefix" | "location", value)) = setting.filter(|_| is_open) {
            is_open = false;
            let subject = value.trim_matches('"');
            prefixes.insert(subject.to_owned());
            if subject.split('/').next() != Some(mirror) {
                changed += "blocked = true\n";
            }
        }
    }
    for registry in registries.iter().filter(|registry| !prefixes.contains(**registry) && **registry != mirror) {
        changed += &format!("\n[[registry]]\nblocked = true\nprefix = \"{registry}\"\nlocation = \"{registry}\"\n");
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hosts_toml_asks_nowhere_last() {
        let text = "# x\nserver = \"https://a.io\"\n[host.\"https://r.io\"]\n  server = \"kept\"\n";
        let changed = "# x\nserver = \"http://127.0.0.1:1\"\n[host.\"https://r.io\"]\n  server = \"kept\"\n";
        assert_eq!(hosts_toml(text).as_deref(), Some(changed));
        // Without one, containerd would ask the registry.
        assert_eq!(hosts_toml("[host.\"https://r.io\"]\nserver = \"x\"\n"), None);
    }

    #[test]
    fn a_registries_conf_blocks_every_registry_but_the_mirror() {
        let text = "[[registry]]\n# x\nprefix = \"a.io/b\"\nlocation = \"a.io/b\"\nblocked = false\n  [[registry.mirror]]\n  \
                    location = \"r.io\"\n[[registry]]\nlocation = \"c.io\"\n[[registry]]\nprefix = \"r.io\"\n";
        let changed = registries_conf(text, &["a.io", "c.io", "r.io"].into(), "r.io");
        assert_eq!(
            changed,
            "[[registry]]\n# x\nprefix = \"a.io/b\"\nblocked = true\nlocation = \"a.io/b\"\n  [[registry.mirror]]\n  \
             location = \"r.io\"\n[[registry]]\nlocation = \"c.io\"\nblocked = true\n[[registry]]\nprefix = \"r.io\"\n\n\
             [[registry]]\nblocked = true\nprefix = \"a.io\"\nlocation = \"a.io\"\n"
        );
    }
}
