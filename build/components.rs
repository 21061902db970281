//! Makes components of crates in this workspace. The build script makes the default plugins with it, and tests make
//! their guests.

use std::{error::Error, fs, path::Path, process::Command};

const TARGET: &str = "wasm32-unknown-unknown";
const PROFILE: &str = "plugin";

/// What the outer cargo sets for the host and would leak into the guests.
const OUTER: [&str; 6] = [
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_ENCODED_RUSTFLAGS",
    "CLIPPY_ARGS",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTFLAGS",
];

/// Builds `packages` of the workspace at `workspace` and returns their components in the same order. `target_dir` must
/// not be the one of the cargo that waits for this: both would wait for its lock.
pub fn build(workspace: &Path, packages: &[&str], target_dir: &Path) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.arg("build").arg("--locked").arg("--manifest-path").arg(workspace.join("Cargo.toml"));
    cargo.args(["--target", TARGET, "--profile", PROFILE, "--target-dir"]).arg(target_dir);
    for package in packages {
        cargo.args(["--package", package]);
    }
    for variable in OUTER {
        cargo.env_remove(variable);
    }
    // A release names no path of the machine that it was built on.
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let maps: Vec<&str> = flags.split('\u{1f}').filter(|flag| flag.starts_with("--remap-path-prefix=")).collect();
    if !maps.is_empty() {
        cargo.env("CARGO_ENCODED_RUSTFLAGS", maps.join("\u{1f}"));
    }
    let output = cargo.output()?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        if stderr.contains("target may not be installed") {
            return Err(format!("plugins are built for {TARGET}; install it: rustup target add {TARGET}").into());
        }
        return Err(format!("building {}:\n{stderr}", packages.join(", ")).into());
    }
    let folder = target_dir.join(TARGET).join(PROFILE);
    packages.iter().map(|package| encode(&folder.join(format!("{}.wasm", package.replace('-', "_"))))).collect()
}

fn encode(module: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let module = fs::read(module)?;
    Ok(wit_component::ComponentEncoder::default().module(&module)?.validate(true).encode()?)
}
