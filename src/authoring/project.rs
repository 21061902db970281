//! New projects: the example of each language in `examples/plugins`.

use super::contract::WIT;

/// The languages with an example.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectLanguage {
    /// Compiled with cargo.
    Rust,
    /// Compiled with `zig cc`.
    C,
    /// Interpreted by QuickJS, which is part of the plugin.
    Js,
    /// Interpreted by CPython, which is part of the plugin.
    Python,
    /// Compiled with Go.
    Go,
    /// Compiled with Zig.
    Zig,
}

/// The path and the text of a file.
pub type ProjectFile = (&'static str, String);

/// The path and the text of an example's file.
type Example = (&'static str, &'static str);

/// The name of the plugin in every example.
const EXAMPLE: &str = "policy";

macro_rules! example {
    ($language:literal: $($path:literal),+) => {
        &[$(($path, include_str!(concat!("../../examples/plugins/", $language, "/", $path)))),+]
    };
}

/// The files of one language.
fn sources(language: ProjectLanguage) -> &'static [Example] {
    match language {
        ProjectLanguage::Rust => example!("rust": "Cargo.lock", "Cargo.toml", "Makefile", "README.md", "src/lib.rs"),
        ProjectLanguage::C => example!("c": "Makefile", "README.md", "policy.c"),
        ProjectLanguage::Js => {
            example!("js": "Makefile", "README.md", "package.json", "policy.js")
        }
        ProjectLanguage::Python => example!("python": "Makefile", "README.md", "policy.py", "requirements.txt"),
        ProjectLanguage::Go => example!(
            "go": "Makefile", "README.md", "go.mod", "go.sum", "policy/policy.go",
            "export_k8s_copycat_policy_repository_prefix/prefix.go", "export_k8s_copycat_policy_skip/skip.go"
        ),
        ProjectLanguage::Zig => example!("zig": "Makefile", "README.md", "policy.zig"),
    }
}

/// The files of all languages. Some compilers read the contract; the other languages use `plugin bindings`.
const SHARED: &[Example] = &[
    (".gitignore", include_str!("../../examples/plugins/.gitignore")),
    ("cases.yaml", include_str!("../../examples/plugins/cases.yaml")),
    ("wit/world.wit", include_str!("../../examples/plugins/wit/world.wit")),
    ("wit/deps/policy.wit", WIT),
];

/// The files of a project that builds and passes its test cases. The plugin is named after `directory`, so that the
/// plugins of several projects fit in one folder or ConfigMap.
pub fn project(language: ProjectLanguage, directory: &str) -> impl Iterator<Item = ProjectFile> {
    let reads_contract = matches!(language, ProjectLanguage::Rust | ProjectLanguage::Js | ProjectLanguage::Python);
    let shared = SHARED.iter().filter(move |(path, _)| reads_contract || !path.starts_with("wit/"));
    let name = plugin_name(directory);
    sources(language).iter().chain(shared).map(move |(path, text)| {
        let text = match *path {
            "Makefile" => text.replacen(&format!("PLUGIN := {EXAMPLE}.wasm"), &format!("PLUGIN := {name}.wasm"), 1),
            "README.md" => text.replace(&format!("builds {EXAMPLE}.wasm"), &format!("builds {name}.wasm")),
            _ => (*text).to_owned(),
        };
        (*path, text)
    })
}

/// Valid as a file name, as a key of a ConfigMap and as the name of a plugin.
fn plugin_name(directory: &str) -> String {
    const MAX_LENGTH: usize = 63;
    let allowed = |c: char| if c.is_ascii_alphanumeric() || c == '_' { c.to_ascii_lowercase() } else { '-' };
    let name: String = directory.chars().map(allowed).take(MAX_LENGTH).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { EXAMPLE.to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derives_a_valid_plugin_name() {
        for (directory, name) in [
            ("my-policy", "my-policy"),
            ("Team A.policy", "team-a-policy"),
            ("..", "policy"),
            ("", "policy"),
            ("ü/x", "x"),
        ] {
            assert_eq!(plugin_name(directory), name, "{directory}");
        }
        assert_eq!(plugin_name(&"a".repeat(300)).len(), 63);
    }
}
