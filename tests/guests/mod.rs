//! Plugins for tests, built from source once per run.

#[path = "../../build/components.rs"]
mod components;

use std::{
    env,
    path::{Path, PathBuf},
    sync::LazyLock,
};

const PACKAGES: [&str; 4] = ["first-contract", "hostile", "rust-path", "target-selection"];

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = Path::new(env!("OUT_DIR")).join("guests");
    // Read at run time: several checkouts may share a target folder, and so a test binary.
    let workspace = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap());
    let built = components::build(&workspace, &PACKAGES, &folder);
    for (package, component) in PACKAGES.iter().zip(built.unwrap_or_else(|error| panic!("{error}"))) {
        // Renamed into place, as another test process may be reading it.
        let written = folder.join(format!("{package}.{}", std::process::id()));
        std::fs::write(&written, component).unwrap();
        std::fs::rename(written, folder.join(format!("{package}.wasm"))).unwrap();
    }
    folder
});

/// `hostile`: misbehaves as configured for image uses in the namespace `trouble`.
pub fn hostile() -> PathBuf {
    FOLDER.join("hostile.wasm")
}

/// `rust-path`: puts repositories below a team's name, and one namespace at one target.
pub fn rust_path() -> PathBuf {
    FOLDER.join("rust-path.wasm")
}

/// A plugin without `lifecycle`.
pub fn without_lifecycle() -> PathBuf {
    FOLDER.join("target-selection.wasm")
}

/// A plugin with every hook, built for version 1.0.0 of the contract.
pub fn first_contract() -> PathBuf {
    FOLDER.join("first-contract.wasm")
}

/// The core module of the component `hostile`.
pub fn hostile_core() -> PathBuf {
    LazyLock::force(&FOLDER).join("wasm32-unknown-unknown/plugin/hostile.wasm")
}
