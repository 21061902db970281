//! Builds the default plugins from source, and compiles them ahead of time, so that a start costs nothing. Assembles what
//! stands in for WASI in the plugins of others.

use std::{env, error::Error, fs, path::PathBuf};

#[path = "build/commit.rs"]
mod commit;
#[path = "build/components.rs"]
mod components;
#[path = "src/policy/engine/config.rs"]
mod engine_config;

const WASI_STUB: &str = "src/authoring/wasi_stub.wat";
const PLUGINS: [&str; 4] = ["skip", "target-selection", "path-map", "repo-prefix"];

fn main() -> Result<(), Box<dyn Error>> {
    for input in ["build", "plugins", "wit", "Cargo.lock", "Cargo.toml", "src/policy/engine/config.rs", WASI_STUB] {
        println!("cargo::rerun-if-changed={input}");
    }
    let variable = |name: &str| env::var_os(name).ok_or_else(|| format!("cargo did not set {name}"));
    let workspace = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(variable("OUT_DIR")?);

    commit::set_variables(&workspace, &variable("PROFILE")?.to_string_lossy());

    fs::write(out.join("wasi_stub.wasm"), wat::parse_file(workspace.join(WASI_STUB))?)?;

    let mut config = engine_config::engine_config();
    // Set even when it is the host's own: otherwise the code would need the very CPU it was compiled on.
    let target = env::var("TARGET")?;
    config.target(&target)?;
    let engine = wasmtime::Engine::new(&config).map_err(|error| {
        format!("plugins can't be compiled for {target}: {error:#}; another architecture needs --features cross")
    })?;
    let components = components::build(&workspace, &PLUGINS, &out.join("plugins"))?;
    for (name, component) in PLUGINS.iter().zip(components) {
        fs::write(out.join(format!("{name}.cwasm")), engine.precompile_component(&component)?)?;
    }
    Ok(())
}
