//! Compatibility within version 1 of the contract: existing plugins keep working.

use std::{collections::BTreeMap, env, path::PathBuf};

use serde_json::json;

use crate::{
    guests,
    planning::{command, plan},
    support::{list, pod},
};

#[tokio::test]
async fn a_plugin_built_for_1_0_0_loads_and_answers() {
    let web = pod("web").init("setup", "busybox").container("main", "nginx:1").manifest_in("shop");
    let config = format!("plugins: [{{ module: '{}', config: first }}]\n", guests::first_contract().display());
    let lines = plan(command(&["plan", "-o", "json", "-f", "-"], &list(&[web])).config(&config)).await;
    assert_eq!(lines[0]["reason"], "web is set up by setup", "{lines:#?}");
    assert_eq!(lines[1]["targets"][0]["reference"], "registry.example/first-shop/docker/library/nginx:1");
    let answers = |name: &str| json!({ "hook": name, "plugin": "first-contract" });
    for (entry, hook) in lines[1]["trace"].as_array().unwrap().iter().zip([
        "skip",
        "target-selection",
        "path-mapping",
        "repository-prefix",
    ]) {
        assert_eq!(
            json!({ "hook": entry["hook"], "plugin": entry["plugin"] }),
            answers(hook),
            "no other plugin is called"
        );
    }
}

#[test]
fn the_interfaces_of_1_0_0_have_not_changed() {
    let tree = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let read = |file: &str| -> BTreeMap<String, String> {
        let text = std::fs::read_to_string(tree.join(file)).unwrap();
        interfaces(&text)
    };
    let (first, now) = (read("tests/contract/1.0.0/policy.wit"), read("wit/policy.wit"));
    assert_eq!(first.len(), 7, "{first:#?}");
    for (name, interface) in &first {
        assert_eq!(now.get(name), Some(interface), "{name}: new features need a new interface");
    }
}

/// The text of each interface by name, without comments and blanks.
fn interfaces(text: &str) -> BTreeMap<String, String> {
    let mut interfaces = BTreeMap::new();
    let mut inside: Option<(String, usize)> = None;
    for line in text.lines().map(|line| line.split("//").next().unwrap().trim()).filter(|line| !line.is_empty()) {
        if let Some(name) = line.strip_prefix("interface ") {
            inside = Some((name.trim_end_matches([' ', '{']).to_owned(), 0));
        }
        let Some((name, depth)) = &mut inside else { continue };
        interfaces.entry(name.clone()).or_insert_with(String::new).push_str(line);
        *depth = *depth + line.matches('{').count() - line.matches('}').count();
        if *depth == 0 {
            inside = None;
        }
    }
    interfaces
}
