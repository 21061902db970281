//! Which plugins are rejected at startup, and with which messages.

use std::{fs, os::unix::fs::symlink};

use serde_json::json;

use super::*;

const COMPONENT: [u8; 8] = [0, b'a', b's', b'm', 0x0d, 0, 1, 0];

/// A component that imports an empty instance of this name.
fn importing(name: &str) -> Vec<u8> {
    let types = [1, 0x42, 0];
    let imports = [&[1, 0, u8::try_from(name.len()).unwrap()], name.as_bytes(), &[5, 0]].concat();
    [COMPONENT.as_slice(), &section(7, &types), &section(10, &imports)].concat()
}

/// A component that exports an empty instance of this name.
fn exporting(name: &str) -> Vec<u8> {
    let instances = [1, 1, 0];
    let exports = [&[1, 0, u8::try_from(name.len()).unwrap()], name.as_bytes(), &[5, 0, 0]].concat();
    [COMPONENT.as_slice(), &section(5, &instances), &section(11, &exports)].concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id, u8::try_from(content.len()).unwrap()], content].concat()
}

fn errors(settings: Settings) -> Vec<String> {
    let errors = Policy::load(settings, Arc::new(())).err().unwrap_or_default();
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn reports_all_invalid_plugins() {
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&str, Vec<u8>, &str); 9] = [
        ("text", b"(component)".to_vec(), "not a WebAssembly component"),
        ("empty", Vec::new(), "not a WebAssembly component"),
        ("core", b"\0asm\x01\0\0\0".to_vec(), "a core WebAssembly module"),
        ("cut", [COMPONENT.as_slice(), &[7, 200]].concat(), "can't be compiled"),
        ("no-hook", COMPONENT.to_vec(), "exports no hook"),
        ("wasi", importing("wasi:cli/environment@0.2.6"), "plugins have no WASI"),
        ("import", importing("acme:clock/now@1.0.0"), "it imports acme:clock/now@1.0.0"),
        ("major", exporting("k8s-copycat:policy/skip@2.0.0"), "another major version"),
        ("contract", exporting("k8s-copycat:policy/skip@1.0.0"), "does not match the contract"),
    ];
    let mut plugins = vec![plugin("missing", folder.path().join("missing.wasm"), None)];
    for (name, bytes, _) in &cases {
        let module = folder.path().join(format!("{name}.wasm"));
        fs::write(&module, bytes).unwrap();
        plugins.push(plugin(name, module, None));
    }
    plugins.push(plugin("mute", guests::without_lifecycle(), Some(json!({}))));
    let errors = errors(settings_with(plugins));
    assert_eq!(errors.len(), cases.len() + 2, "{errors:#?}");
    assert!(errors[0].contains("plugin missing (") && errors[0].contains("can't be read"), "{}", errors[0]);
    for ((name, _, message), error) in cases.iter().zip(&errors[1..]) {
        assert!(error.starts_with(&format!("plugin {name} (")) && error.contains(message), "{error}");
        assert!(error.contains(&format!("{name}.wasm")), "{error}");
    }
    assert!(errors[10].contains("plugin mute") && errors[10].contains("remove the config"), "{}", errors[10]);
}

#[test]
fn rejects_a_plugin_that_does_not_start() {
    let limits = PluginLimits { configure_timeout: Duration::from_millis(200), ..PluginLimits::default() };
    for (action, message) in [
        (json!("refuse-config"), "invalid configuration: owner: must be a team"),
        (json!("loop-in-configure"), "no answer within 200ms"),
        (json!("panic-in-configure"), "it trapped"),
    ] {
        let errors = errors(settings_with(vec![PluginSettings { limits, ..hostile(action) }]));
        assert!(errors.len() == 1 && errors[0].contains(message), "{errors:?}");
    }
    let limits = PluginLimits { memory: 1 << 10, ..PluginLimits::default() };
    let errors = errors(settings_with(vec![PluginSettings { limits, ..hostile(json!("keep")) }]));
    assert!(errors.len() == 1 && errors[0].contains("its limit is 1024"), "{errors:?}");
}

#[test]
fn names_invalid_settings_of_the_default_plugins() {
    let mut settings = settings(vec![target("default", "registry.example", "a/$team")]);
    settings.skip.include_namespaces = vec!["[".to_owned()];
    settings.path_map = vec![PathMapRule { from: "(".to_owned(), to: String::new(), regex: true }];
    let errors = errors(settings);
    assert_eq!(errors.len(), 3, "{errors:?}");
    for (error, message) in errors.iter().zip(["includeNamespaces: \"[\"", "pathMap[0].from: \"(\"", "$team"]) {
        assert!(error.contains("built in") && error.contains(message), "{error}");
    }
}

#[tokio::test]
async fn loads_a_plugin_from_a_mounted_configmap() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("..2026_11_23");
    fs::create_dir(&data).unwrap();
    fs::copy(guests::hostile(), data.join("hostile.wasm")).unwrap();
    symlink("..2026_11_23", folder.path().join("..data")).unwrap();
    symlink("..data/hostile.wasm", folder.path().join("hostile.wasm")).unwrap();
    let mounted = plugin("mounted", folder.path().join("hostile.wasm"), Some(json!("skip")));
    let decision = decide(&load(settings_with(vec![mounted])), image_use("trouble", "nginx")).await;
    assert_eq!(outcome(&decision), "skip: because");
}
