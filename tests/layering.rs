//! The architecture: which room may import which (as in ARCHITECTURE.md), which room may use which large crate, and no
//! circles among files.

mod circles;

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};

/// Each room, and the rooms that it may import.
const ROOMS: [(&str, &[&str]); 10] = [
    ("model", &[]),
    ("config", &["model"]),
    ("workload", &["model"]),
    ("policy", &["model"]),
    ("registry", &["model"]),
    ("report", &["model"]),
    ("restore", &["model"]),
    ("mirror", &["model", "policy", "registry"]),
    ("authoring", &["model", "policy"]),
    ("cli", &["model", "authoring", "config", "workload", "policy", "registry", "mirror", "report", "restore"]),
];

/// Each large crate, and the rooms that may use it.
const CRATES: [(&str, &[&str]); 19] = [
    ("kube", &["workload", "report"]),
    ("k8s_openapi", &["workload", "report"]),
    ("oci_client", &["registry"]),
    ("reqwest", &["registry"]),
    ("aws_config", &["registry"]),
    ("aws_sdk_ecr", &["registry"]),
    ("aws_sdk_ecrpublic", &["registry"]),
    ("aws_sdk_sts", &["registry"]),
    ("wasmtime", &["policy"]),
    ("axum", &["report"]),
    ("askama", &["report"]),
    ("prometheus", &["report"]),
    ("wasmparser", &["authoring", "policy"]),
    ("wit_bindgen_c", &["authoring"]),
    ("wit_bindgen_go", &["authoring"]),
    ("wit_component", &["authoring"]),
    ("serde_yaml", &["authoring", "config", "workload"]),
    ("indicatif", &["cli"]),
    ("patterns", &["config", "mirror", "workload"]),
];

#[test]
fn rooms_import_only_allowed_rooms() {
    let mut breaches = Vec::new();
    for (room, allowed) in ROOMS {
        for file in files_of(room) {
            for imported in imported_rooms(&program_text(&file)) {
                if imported != room && !allowed.contains(&imported.as_str()) {
                    breaches.push(format!("{} imports {imported}", file.display()));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn large_crates_are_used_only_in_their_rooms() {
    let mut breaches = Vec::new();
    for (room, _) in ROOMS {
        for file in files_of(room) {
            let text = program_text(&file);
            for (name, rooms) in CRATES {
                if !rooms.contains(&room) && mentions_crate(&text, name) {
                    breaches.push(format!("{} uses {name}", file.display()));
                }
            }
        }
    }
    assert!(breaches.is_empty(), "{breaches:#?}");
}

#[test]
fn no_files_import_each_other() {
    let mut sources = circles::Sources::new();
    for file in ROOMS.iter().flat_map(|(room, _)| files_of(room)) {
        sources.insert(module_of(&file), program_text(&file));
    }
    let circles = circles::circles(&sources);
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn all_rooms_are_listed() {
    let there: BTreeSet<String> = fs::read_dir(source())
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let listed: BTreeSet<String> = ROOMS.iter().map(|(room, _)| (*room).to_owned()).collect();
    assert_eq!(there, listed);
}

#[test]
fn imports_are_found_in_every_form() {
    let text = "use crate::{model::{A, B}, policy::C};\nlet x = crate::report::D; use crate::config;";
    assert_eq!(imported_rooms(text), ["config", "model", "policy", "report"].map(str::to_owned).into());
    assert!(mentions_crate("use kube::Client;", "kube") && mentions_crate("let c: kube::Client;", "kube"));
    assert!(!mentions_crate("let kube = 1; mykube::x(); crate::kube::y()", "kube"));
}

fn source() -> PathBuf {
    PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("src")
}

fn files_of(room: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![source().join(room)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test_file(&path) {
                files.push(path);
            }
        }
    }
    assert!(!files.is_empty(), "{room} has no files");
    files
}

/// The module path of a file, without the crate.
fn module_of(file: &Path) -> Vec<String> {
    let path = file.strip_prefix(source()).unwrap().with_extension("");
    let mut module: Vec<_> = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

/// Files that are compiled only for tests.
fn is_test_file(path: &Path) -> bool {
    let name = path.file_stem().unwrap().to_str().unwrap();
    let in_folder_of_tests = path.components().any(|part| part.as_os_str() == "tests" || part.as_os_str() == "testing");
    in_folder_of_tests || matches!(name, "tests" | "testing")
}

/// A file without comments and tests.
fn program_text(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let program = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    program.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

fn imported_rooms(text: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            None => drop(rooms.insert(word(rest))),
            Some(group) => {
                let mut depth = 0;
                let mut start = true;
                for (offset, character) in group.char_indices() {
                    match character {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => start = true,
                        _ if character.is_whitespace() => {}
                        _ if start => {
                            rooms.insert(word(&group[offset..]));
                            start = false;
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    rooms.remove("");
    rooms.retain(|room| room.starts_with(|first: char| first.is_ascii_lowercase()));
    rooms
}

fn word(text: &str) -> String {
    text.chars().take_while(|character| character.is_ascii_alphanumeric() || *character == '_').collect()
}

fn mentions_crate(text: &str, name: &str) -> bool {
    text.match_indices(&format!("{name}::")).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        before.is_none_or(|before| !before.is_ascii_alphanumeric() && before != '_' && before != ':')
    })
}
