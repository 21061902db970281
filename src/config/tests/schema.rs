//! The JSON schema knows what the readers know: the same keys, types and defaults.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::PathBuf,
};

use jsonschema::Validator;
use serde_json::Value as Json;

use super::Setup;
use crate::config::{PluginModule, known_keys, schema::schema, yaml};

const FILE: &str = "docs/config.schema.json";

/// A file that visits every section, and one for the list `targets`, which excludes single targets.
const ALL_SECTIONS: [&str; 2] = [
    "pathMap: [{ from: a, to: b }]\nplugins: [{ module: lib/x.wasm }]\nregistryCredentials: [{ registry: a.test, username: u, \
     password: p }]\nregistries: [{ registry: a.test }]\npullSecrets: { namespaces: [a] }\ndocker: { registry: mirror.test }\ntargetKind: docker\n\
     sources: [{ registry: a.test, prefix: quay.io }, { target: default }, { layout: /l }]\n",
    "targets:\n  - { name: a, kind: docker, registry: mirror.test }\n  - { name: b, kind: ecr, accountID: '123456789012', \
     region: eu-central-1 }\n  - { name: c, kind: oci-layout, path: /data }\n",
];

fn root() -> PathBuf {
    PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap())
}

fn validator() -> Validator {
    jsonschema::validator_for(&schema()).unwrap()
}

fn json_of(yaml: &str) -> Json {
    let (document, errors) = yaml::parse(yaml).unwrap();
    assert!(errors.is_empty(), "{errors:?}");
    document.map_or(Json::Null, |document| document.to_json())
}

fn setup(file: &str) -> Setup {
    let setup = Setup::new(file);
    // Not in the folder itself, where it would be found as a second plugin.
    fs::create_dir(setup.dir.path().join("lib")).unwrap();
    fs::write(setup.dir.path().join("lib/x.wasm"), "").unwrap();
    let dir = setup.dir.path().display().to_string();
    setup.var("PLUGIN_DIR", &dir)
}

/// The keys of the schema by section, as `registries[]`.
fn schema_keys() -> BTreeMap<String, BTreeSet<String>> {
    let mut keys = BTreeMap::new();
    collect_keys(&schema(), "", &mut keys);
    keys
}

fn collect_keys(schema: &Json, path: &str, keys: &mut BTreeMap<String, BTreeSet<String>>) {
    if let Some(properties) = schema["properties"].as_object() {
        keys.entry(path.to_owned()).or_default().extend(properties.keys().cloned());
        for (name, value) in properties {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            collect_keys(value, &path, keys);
        }
    }
    if schema["items"].is_object() {
        collect_keys(&schema["items"], &format!("{path}[]"), keys);
    }
    for variant in schema["anyOf"].as_array().into_iter().flatten() {
        collect_keys(variant, path, keys);
    }
}

/// The schemas of all keys with their paths, without those below `targets`, which repeat single targets.
fn leaves() -> Vec<(String, Json)> {
    let mut leaves = Vec::new();
    let mut sections = vec![(String::new(), schema())];
    while let Some((path, section)) = sections.pop() {
        for (name, value) in section["properties"].as_object().unwrap() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if path == "targets" {
                continue;
            }
            if value["properties"].is_object() {
                sections.push((path, value.clone()));
            } else if value["items"]["properties"].is_object() {
                sections.push((format!("{path}[]"), value["items"].clone()));
            } else {
                leaves.push((path, value.clone()));
            }
        }
    }
    leaves
}

/// A file with this value at `path`, with what its section requires, and a target.
fn file_with(path: &str, value: &Json) -> Json {
    let mut file = serde_json::json!({ "targetKind": "docker", "docker": { "registry": "mirror.test" } });
    let mut at = &mut file;
    let parts: Vec<&str> = path.split('.').collect();
    for (index, part) in parts.iter().enumerate() {
        if index + 1 == parts.len() {
            at[*part] = value.clone();
        } else if let Some(list) = part.strip_suffix("[]") {
            at[list] = match list {
                "plugins" => serde_json::json!([{ "module": "lib/x.wasm" }]),
                "registries" | "registryCredentials" => serde_json::json!([{ "registry": "a.test" }]),
                _ => serde_json::json!([{}]),
            };
            at = &mut at[list][0];
        } else {
            if at[*part].is_null() {
                at[*part] = serde_json::json!({});
            }
            at = &mut at[*part];
        }
    }
    file
}

/// Whether the readers report an error at `path`.
fn is_refused(path: &str, value: &Json) -> bool {
    let errors = setup(&file_with(path, value).to_string()).load().err();
    let place = path.replace("[]", "[0]");
    errors.is_some_and(|errors| {
        errors.iter().any(|error| {
            let text = error.to_string();
            text.contains(&format!(": {place}: ")) || text.contains(&format!(": {place}["))
        })
    })
}

#[test]
fn the_file_in_the_repository_is_up_to_date() {
    let current = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    let file = root().join(FILE);
    if env::var_os("UPDATE_SCHEMA").is_some() {
        fs::write(&file, &current).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(found == current, "run UPDATE_SCHEMA=1 cargo test --workspace --lib config::tests::schema");
}

#[test]
fn schema_and_readers_know_the_same_keys() {
    known_keys::take();
    for file in ALL_SECTIONS {
        setup(file).config();
    }
    let read: BTreeMap<String, BTreeSet<String>> = known_keys::take()
        .into_iter()
        .map(|(path, keys)| (path, keys.into_iter().map(str::to_owned).collect()))
        .collect();
    assert_eq!(schema_keys(), read);
}

#[test]
fn every_key_is_described_and_no_other_is_allowed() {
    for (path, leaf) in leaves() {
        assert!(leaf["description"].as_str().is_some_and(|about| about.ends_with('.')), "{path}: {leaf}");
    }
    let validator = validator();
    for file in
        ["dryrun: true\n", "docker: { host: a }\n", "registries: [{ registry: a.test, ca: x }]\n", "[]\n", "a\n"]
    {
        assert!(!validator.is_valid(&json_of(file)), "{file}");
        assert!(Setup::with_target(file).load().is_err(), "{file}");
    }
}

#[test]
fn both_accept_and_refuse_the_same_types() {
    let validator = validator();
    let values = [
        "true",
        "false",
        "yes",
        "'no'",
        "'On'",
        "0",
        "1",
        "7",
        "-3",
        "'15'",
        "1.5",
        "99999999999999999999",
        "maybe",
        "'1 h'",
        "[]",
        "[a, b]",
        "{}",
        "{ a: b }",
        "[[a]]",
        "null",
    ];
    let mut tried = 0;
    for (path, leaf) in leaves() {
        for value in values.map(json_of) {
            let (accepted, refused) = (validator.is_valid(&file_with(&path, &value)), is_refused(&path, &value));
            let is_exact = leaf["$ref"] == "#/$defs/boolean"
                || leaf["anyOf"].is_array()
                || leaf["enum"].is_array()
                || value.is_array()
                || value.is_object()
                || value.is_null();
            // Texts have rules that the schema leaves to the program, such as those of globs.
            if is_exact || !refused {
                // The text of an entry of a list, which may be a word, is the program's matter too.
                let is_word_list = leaf["items"]["enum"].is_array() && value.is_array();
                if is_word_list || (path == "plugins[].config") || (path == "ecr.tags" && value.is_object()) {
                    continue;
                }
                // Formats of the entries.
                if value.is_array() && refused && accepted && leaf["$ref"] == "#/$defs/texts" {
                    continue;
                }
                assert_eq!(accepted, !refused, "{path}: {value}");
                tried += 1;
            }
        }
    }
    assert!(tried > 500, "{tried}");
}

#[test]
fn the_words_of_the_schema_are_accepted_and_others_are_not() {
    let validator = validator();
    for (path, leaf) in leaves() {
        let words = leaf["enum"].as_array().or(leaf["items"]["enum"].as_array());
        for word in words.into_iter().flatten().filter(|word| word.is_string()) {
            let value = if leaf["items"].is_object() { Json::Array(vec![word.clone()]) } else { word.clone() };
            assert!(!is_refused(&path, &value), "{path}: {value}");
        }
        if words.is_some() {
            let other = if leaf["items"].is_object() { serde_json::json!(["other"]) } else { "other".into() };
            assert!(is_refused(&path, &other) && !validator.is_valid(&file_with(&path, &other)), "{path}");
        }
    }
}

#[test]
fn the_defaults_of_the_schema_are_those_of_the_readers() {
    let mut tried = 0;
    for (path, leaf) in leaves() {
        let Some(default) = leaf.get("default") else { continue };
        let config = |value: &Json| {
            let mut file = file_with(&path, value);
            if path == "targetKind" {
                file["ecr"] = serde_json::json!({ "accountID": "123456789012", "region": "eu-central-1" });
            }
            if path.starts_with("ecr.") {
                file["targetKind"] = "ecr".into();
                file["ecr"]["accountID"] = "123456789012".into();
                file["ecr"]["region"] = "eu-central-1".into();
            }
            let setup = setup(&file.to_string());
            setup.load().map(|mut loaded| {
                // It contains the temporary folder.
                loaded.config.policy.plugin_dir = PathBuf::new();
                loaded
                    .config
                    .policy
                    .plugins
                    .iter_mut()
                    .for_each(|plugin| plugin.module = PluginModule::File(PathBuf::new()));
                loaded.config
            })
        };
        // A folder of the machine.
        if path == "pluginDir" {
            let found = Setup::with_target("").config().policy.plugin_dir;
            assert_eq!(found.to_str(), default.as_str());
            continue;
        }
        let (explicit, absent) = (config(default), config(&Json::Null));
        assert_eq!(explicit.unwrap_or_else(|errors| panic!("{path}: {errors}")), absent.unwrap(), "{path}: {default}");
        tried += 1;
    }
    assert!(tried >= 25, "{tried}");
}

#[test]
fn the_bounds_of_the_schema_are_those_of_the_readers() {
    for (path, leaf) in leaves() {
        let number = &leaf["anyOf"][0];
        for (bound, step) in [("minimum", -1), ("maximum", 1)] {
            let Some(bound) = number[bound].as_i64() else { continue };
            assert!(!is_refused(&path, &bound.into()), "{path}: {bound}");
            assert!(is_refused(&path, &(bound + step).into()), "{path}: {bound} + {step}");
        }
    }
}

#[test]
fn every_configuration_in_the_repository_is_valid() {
    let validator = validator();
    let mut files = Vec::new();
    let manifest = fs::read_to_string(root().join("manifests/k8s.yaml")).unwrap();
    let eks = fs::read_to_string(root().join("manifests/eks.yaml")).unwrap();
    for manifests in [manifest, eks] {
        for document in manifests.split("\n---\n") {
            let Ok((Some(document), _)) = yaml::parse(document) else { continue };
            let data = document.to_json()["data"]["config.yaml"].clone();
            files.extend(data.as_str().map(str::to_owned));
        }
    }
    files.push(fs::read_to_string(root().join("demo/config.yaml")).unwrap());
    let mut documents = vec![root().join("README.md")];
    documents.extend(fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()));
    for file in documents.iter().filter(|file| file.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(file).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let block = block.split("```").next().unwrap();
            // Blocks of manifests and of alerts are no configurations.
            let known = schema_keys()[""].clone();
            if block.lines().any(|line| line.split(':').next().is_some_and(|key| known.contains(key))) {
                files.push(block.to_owned());
            }
        }
    }
    assert!(files.len() >= 6, "{files:#?}");
    for file in files {
        let json = json_of(&file);
        let errors: Vec<String> = validator.iter_errors(&json).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{errors:#?} in\n{file}");
    }
}

#[test]
fn the_documentation_and_the_schema_know_the_same_keys_and_variables() {
    let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    let (configuration, ecr) = (read("docs/configuration.md"), read("docs/ecr.md"));
    let documents = format!("{configuration}{ecr}{}", read("docs/referrers.md"));
    let mut keys = BTreeSet::new();
    let mut variables = BTreeSet::new();
    for (path, leaf) in leaves() {
        let name = path.rsplit('.').next().unwrap();
        let is_deprecated = leaf["deprecated"] == true;
        let is_mentioned = [format!("`{name}`"), format!(".{name}`"), format!("`{name}:")];
        assert!(is_deprecated || is_mentioned.iter().any(|text| documents.contains(text)), "{path} is not documented");
        let about = leaf["description"].as_str().unwrap();
        if let Some((_, variable)) = about.split_once(" Variable: ") {
            let variable = variable.trim_end_matches('.');
            assert!(documents.contains(&format!("`{variable}`")), "{variable} is not documented");
            variables.insert(variable.to_owned());
        }
        keys.insert(path);
    }
    for (section, names) in schema_keys() {
        keys.extend(names.into_iter().map(|name| format!("{section}.{name}").trim_start_matches('.').to_owned()));
    }

    // Rows such as: | `A`, `B` | `a.b`, `.c` | default | meaning |
    let words = |cell: &str| -> Vec<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let mut documented = 0;
    let (_, after) = configuration.split_once("| variable | key |").unwrap();
    // The table of the process has flags in the first column.
    let (tables, _) = after.split_once("## Process").unwrap();
    for row in tables.lines().filter(|line| line.starts_with("| ")) {
        let row = row.replace("\\|", " ");
        let cells: Vec<&str> = row.split('|').skip(1).collect();
        // Two keys in a row of another table are those of entries of a list, which have no variables.
        let [variable_cell, key_cell, _, _, _] = cells[..] else { continue };
        let mut section = String::new();
        for word in words(key_cell) {
            let key = word.strip_prefix('.').map_or(word.clone(), |name| format!("{section}.{name}"));
            section = key.rsplit_once('.').map(|(section, _)| section.to_owned()).unwrap_or_default();
            assert!(keys.contains(&key), "{key} is documented and not in the schema");
            documented += 1;
        }
        if key_cell.contains('`') {
            for variable in words(variable_cell) {
                assert!(variables.contains(&variable), "{variable} is documented and not in the schema");
            }
        }
    }
    assert!(documented > 50, "{documented}");
}
