//! Projects to begin with: the example of each language, as it stands beside this program's sources.

use super::contract::WIT;

/// The languages that there is an example in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProjectLanguage {
    /// Compiled by cargo.
    Rust,
    /// Compiled by `zig cc`.
    C,
    /// Interpreted by QuickJS, which is part of the plugin.
    Js,
    /// Interpreted by CPython, which is part of the plugin.
    Python,
    /// Compiled by Go itself.
    Go,
    /// Compiled by Zig.
    Zig,
}

/// A path in the project, and the text of the file.
pub type ProjectFile = (&'static str, &'static str);

macro_rules! example {
    ($language:literal: $($path:literal),+) => {
        &[$(($path, include_str!(concat!("../../examples/plugins/", $language, "/", $path)))),+]
    };
}

/// What each language has for itself.
fn sources(language: ProjectLanguage) -> &'static [ProjectFile] {
    match language {
        ProjectLanguage::Rust => example!("rust": "Cargo.lock", "Cargo.toml", "Makefile", "README.md", "src/lib.rs"),
        ProjectLanguage::C => example!("c": "Makefile", "README.md", "policy.c"),
        ProjectLanguage::Js => example!("js": "Makefile", "README.md", "package.json", "policy.js"),
        ProjectLanguage::Python => example!("python": "Makefile", "README.md", "policy.py", "requirements.txt"),
        ProjectLanguage::Go => example!(
            "go": "Makefile", "README.md", "go.mod", "go.sum", "policy/policy.go",
            "export_k8s_copycat_policy_repository_prefix/prefix.go", "export_k8s_copycat_policy_skip/skip.go"
        ),
        ProjectLanguage::Zig => example!("zig": "Makefile", "README.md", "policy.zig"),
    }
}

/// What all of them share. The compilers of some languages read the contract itself; for the others `plugin bindings`
/// writes it down.
const SHARED: &[ProjectFile] = &[
    (".gitignore", include_str!("../../examples/plugins/.gitignore")),
    ("cases.yaml", include_str!("../../examples/plugins/cases.yaml")),
    ("wit/world.wit", include_str!("../../examples/plugins/wit/world.wit")),
    ("wit/deps/policy.wit", WIT),
];

/// The files of a project that builds, and passes its cases, as it is.
pub fn project(language: ProjectLanguage) -> impl Iterator<Item = ProjectFile> {
    let reads_contract = matches!(language, ProjectLanguage::Rust | ProjectLanguage::Js | ProjectLanguage::Python);
    let shared = SHARED.iter().filter(move |(path, _)| reads_contract || !path.starts_with("wit/"));
    sources(language).iter().chain(shared).copied()
}
