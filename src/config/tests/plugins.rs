//! Plugins in the list, and in a folder as Kubernetes mounts it.

use std::os::unix::fs::symlink;

use serde_json::json;

use super::*;
use crate::model::OnFailure;

/// A folder like a mounted ConfigMap: symbolic links through `..data`.
fn mount(dir: &Path, files: &[(&str, &str)]) -> String {
    let plugins = dir.join("plugins");
    let real = plugins.join("..2026_11_23");
    std::fs::create_dir_all(&real).unwrap();
    symlink("..2026_11_23", plugins.join("..data")).unwrap();
    for (name, text) in files {
        std::fs::write(real.join(name), text).unwrap();
        symlink(format!("..data/{name}"), plugins.join(name)).unwrap();
    }
    plugins.to_str().unwrap().to_owned()
}

fn names(config: &Config) -> Vec<&str> {
    config.policy.plugins.iter().map(|plugin| plugin.name.as_str()).collect()
}

#[test]
fn reads_an_entry_with_all_keys_and_one_with_none() {
    let setup = Setup::with_target("");
    let dir = mount(setup.dir.path(), &[("a.wasm", ""), ("b.wasm", "")]);
    let file = format!(
        "
pluginDir: {dir}
plugins:
  - name: tenants
    module: b.wasm
    config: {{owner: platform, n: 3}}
    timeout: 500ms
    configureTimeout: 2s
    memory: 1Gi
    moduleSize: 2Mi
    output: 64Ki
    instances: 3
    logLines: 0
    onFailure: pass
  - module: {dir}/a.wasm
"
    );
    std::fs::write(setup.dir.path().join("config.yaml"), file).unwrap();
    let config = setup.config();
    assert_eq!(config.policy.plugin_dir, Path::new(&dir));
    let tenants = PluginConfig {
        name: "tenants".to_owned(),
        module: PluginModule::File(Path::new(&dir).join("b.wasm")),
        config: Some(json!({"owner": "platform", "n": 3})),
        limits: PluginLimitsConfig {
            timeout: Some(Duration::from_millis(500)),
            configure_timeout: Some(Duration::from_secs(2)),
            memory: Some(1 << 30),
            module_size: Some(2 << 20),
            output: Some(64 << 10),
            instances: Some(3),
            log_lines: Some(0),
        },
        on_failure: OnFailure::Pass,
    };
    let a = PluginConfig {
        name: "a".to_owned(),
        module: PluginModule::File(Path::new(&dir).join("a.wasm")),
        config: None,
        limits: PluginLimitsConfig::default(),
        on_failure: OnFailure::Fail,
    };
    assert_eq!(config.policy.plugins, [tenants, a]);
}

#[test]
fn plugins_of_the_folder_follow_the_list_by_name() {
    let setup = Setup::with_target("");
    let files = [
        ("z.wasm", ""),
        ("b.wasm", ""),
        ("a.wasm", ""),
        ("a.yaml", "name: first\nonFailure: pass\n"),
        ("note.txt", ""),
        (".c.wasm", ""),
        ("d.wasm.gz", ""),
        ("d.yaml", "onFailure: pass\n"),
    ];
    let dir = mount(setup.dir.path(), &files);
    std::fs::write(
        setup.dir.path().join("config.yaml"),
        format!("plugins:\n  - {{name: listed, module: {dir}/..data/z.wasm}}\n"),
    )
    .unwrap();
    let config = setup.var("PLUGIN_DIR", &dir).config();
    assert_eq!(names(&config), ["listed", "first", "b", "d"]);
    assert_eq!(config.policy.plugins[1].on_failure, OnFailure::Pass);
    assert_eq!(config.policy.plugins[3].on_failure, OnFailure::Pass);
}

#[test]
fn accepts_plugins_in_registries_by_digest() {
    let digest = format!("sha256:{}", "0".repeat(64));
    let file =
        format!("plugins:\n  - oci: ghcr.io/acme/teams:1.2@{digest}\n  - {{name: own, oci: 'r.example/p@{digest}'}}");
    let config = Setup::with_target(&file).config();
    assert_eq!(names(&config), ["teams", "own"]);
    let reference = format!("ghcr.io/acme/teams:1.2@{digest}").parse().unwrap();
    assert_eq!(config.policy.plugins[0].module, PluginModule::Oci(reference));

    let file = format!(
        "plugins:\n  - oci: ghcr.io/acme/teams:1.2\n  - {{module: x.wasm, oci: 'r.example/p@{digest}'}}\n  - oci: 'A B'"
    );
    let errors = Setup::with_target(&file).errors();
    for hint in [
        "plugins[0].oci: \"ghcr.io/acme/teams:1.2\" has no digest",
        "plugins[1]: the plugin has both module and oci",
        "plugins[2].oci: ",
    ] {
        assert_eq!(errors.iter().filter(|error| error.contains(hint)).count(), 1, "{hint}: {errors:#?}");
    }
    assert_eq!(errors.len(), 3, "{errors:#?}");
}

#[test]
fn a_missing_folder_is_an_error_only_if_it_is_configured() {
    assert_eq!(Setup::with_target("").config().policy.plugin_dir, Path::new("/plugins"));
    let errors = Setup::with_target("").var("PLUGIN_DIR", "/nowhere").errors();
    assert!(errors.len() == 1 && errors[0].starts_with("PLUGIN_DIR: "), "{errors:?}");
    assert!(Setup::with_target("pluginDir: /nowhere").errors()[0].contains("pluginDir"));
}

#[test]
fn reports_errors_in_plugins() {
    let setup = Setup::with_target("");
    let files = [
        ("a.wasm", ""),
        ("b.wasm", ""),
        ("a.yaml", "name: same\nmodule: a.wasm\ntimeout: 1\n"),
        ("b.yaml", "name: same\n"),
    ];
    let dir = mount(setup.dir.path(), &files);
    std::fs::write(
        setup.dir.path().join("config.yaml"),
        "plugins:\n  - {name: same, module: missing.wasm, memory: lots, onFailure: ignore}\n  - {name: 'a b'}\n",
    )
    .unwrap();
    let errors = setup.var("PLUGIN_DIR", &dir).errors();
    for hint in [
        "plugins[0].memory: \"lots\"",
        "plugins[0].onFailure: \"ignore\"",
        "missing.wasm can't be read",
        "plugins[1]: the plugin has no module",
        "plugins[1].name: \"a b\"",
        "a.yaml:3:1: timeout",
        "a.yaml:2:1: module: unknown key",
        "duplicate plugin \"same\"",
    ] {
        assert_eq!(errors.iter().filter(|error| error.contains(hint)).count(), 1, "{hint}: {errors:#?}");
    }
}
