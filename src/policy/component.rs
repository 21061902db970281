//! Whether a file is a plugin: a component that exports hooks and imports nothing but the log.

use std::{io, sync::Arc};

use wasmtime::{
    Engine,
    component::{Component, HasSelf, InstancePre, Linker},
};

use super::{
    bindings::{self, hooks},
    compile::CompileFault,
    failure::CallError,
    log::PluginLog,
    plugin::State,
    text::shortened,
};
use crate::model::Hook;

const CONTRACT: &str = "k8s-copycat:policy/";
const MAJOR: &str = "1";
/// The longest text of an engine, or name out of a component, that is passed on, in bytes.
const LONGEST_TEXT: usize = 512;

/// Why something is no plugin. All of these are mistakes of whoever configured or built it.
#[derive(Debug, thiserror::Error)]
pub enum LoadFault {
    /// The file can't be read.
    #[error("the file can't be read: {0}")]
    Read(#[source] io::Error),
    /// It would be waited for, or never end.
    #[error("it is not a regular file")]
    NotAFile,
    /// It is compressed, and damaged.
    #[error("the file can't be unpacked: {0}; was it cut off?")]
    Unpack(#[source] io::Error),
    /// It is larger than the limit, in bytes.
    #[error("it has more than {0} bytes when unpacked; raise its moduleSize if it needs more")]
    TooLarge(usize),
    /// It is WebAssembly, and not a component.
    #[error("this is a core WebAssembly module, not a component; make one of it with `k8s-copycat plugin wrap`")]
    CoreModule,
    /// It is not WebAssembly.
    #[error("this is not a WebAssembly component")]
    NotWasm,
    /// It looks like a component, and is broken, needs what the engine does not have, or too much.
    #[error("this component can't be compiled: {0}")]
    Compile(#[from] CompileFault),
    /// It wants the world outside.
    #[error(
        "it imports {0}; plugins get no WASI: build it for wasm32-unknown-unknown, or have WASI stubbed out when the component is made"
    )]
    Wasi(String),
    /// It wants what there is not.
    #[error("it imports {0}; a plugin may import nothing but k8s-copycat:policy/log@1.0.0")]
    Import(String),
    /// It was built against another contract.
    #[error("it uses {0}, which is of another major version of the contract; this program has 1.x")]
    OtherMajor(String),
    /// It answers nothing.
    #[error(
        "it exports no hook of k8s-copycat:policy@1.0.0: skip, target-selection, path-mapping or repository-prefix"
    )]
    NoHook,
    /// An interface has the right name, and other types.
    #[error("it does not keep to the contract k8s-copycat:policy@1.0.0: {0}")]
    Contract(String),
    /// There is a configuration, and nobody to take it.
    #[error("it has a config, but does not export lifecycle, so it takes none; remove the config")]
    TakesNoConfig,
    /// It fails before its first question.
    #[error("it can't be started: {0}")]
    Start(#[source] CallError),
}

/// What a component exports of the contract.
pub struct Exports {
    /// The version of the contract that it names, as `1.0.0`; the newest, if there are several.
    pub version: String,
    pub lifecycle: Option<hooks::lifecycle::GuestIndices>,
    pub skip: Option<hooks::skip::GuestIndices>,
    pub target_selection: Option<hooks::target_selection::GuestIndices>,
    pub path_mapping: Option<hooks::path_mapping::GuestIndices>,
    pub repository_prefix: Option<hooks::repository_prefix::GuestIndices>,
}

impl Exports {
    /// The hooks, in the order in which they are asked.
    pub fn hooks(&self) -> Vec<Hook> {
        Hook::ALL.into_iter().filter(|hook| self.has(*hook)).collect()
    }

    /// Whether `hook` is among them.
    pub fn has(&self, hook: Hook) -> bool {
        match hook {
            Hook::Skip => self.skip.is_some(),
            Hook::TargetSelection => self.target_selection.is_some(),
            Hook::PathMapping => self.path_mapping.is_some(),
            Hook::RepositoryPrefix => self.repository_prefix.is_some(),
        }
    }
}

/// Gives a component the log, and finds its hooks.
pub fn link(engine: &Engine, component: &Component) -> Result<(InstancePre<State>, Exports), LoadFault> {
    let component_type = component.component_type();
    for (name, _) in component_type.imports(engine) {
        check_import(name)?;
    }
    let mut linker = Linker::new(engine);
    bindings::log::add_to_linker::<_, HasSelf<Arc<PluginLog>>>(&mut linker, |state: &mut State| &mut state.log)
        .map_err(contract)?;
    let pre = linker.instantiate_pre(component).map_err(contract)?;

    let exported: Vec<&str> =
        component_type.exports(engine).filter_map(|(name, _)| name.strip_prefix(CONTRACT)).collect();
    if let Some(other) = exported.iter().find(|name| !is_of_this_major(name)) {
        return Err(LoadFault::OtherMajor(shown(&format!("{CONTRACT}{other}"))));
    }
    let versions = exported.iter().filter_map(|name| name.split_once('@')).map(|(_, version)| version);
    let version = versions.max_by_key(|version| numbers(version)).unwrap_or_default().to_owned();
    let exports = |interface: &str| exported.iter().any(|name| interface_of(name) == interface);
    let exports = Exports {
        version,
        lifecycle: exports("lifecycle")
            .then(|| hooks::lifecycle::GuestIndices::new(&pre))
            .transpose()
            .map_err(contract)?,
        skip: exports("skip").then(|| hooks::skip::GuestIndices::new(&pre)).transpose().map_err(contract)?,
        target_selection: exports("target-selection")
            .then(|| hooks::target_selection::GuestIndices::new(&pre))
            .transpose()
            .map_err(contract)?,
        path_mapping: exports("path-mapping")
            .then(|| hooks::path_mapping::GuestIndices::new(&pre))
            .transpose()
            .map_err(contract)?,
        repository_prefix: exports("repository-prefix")
            .then(|| hooks::repository_prefix::GuestIndices::new(&pre))
            .transpose()
            .map_err(contract)?,
    };
    if exports.hooks().is_empty() { Err(LoadFault::NoHook) } else { Ok((pre, exports)) }
}

/// The engine's own words for types that differ.
pub fn contract(error: wasmtime::Error) -> LoadFault {
    LoadFault::Contract(shown(&format!("{error:#}")))
}

fn check_import(name: &str) -> Result<(), LoadFault> {
    match name.strip_prefix(CONTRACT) {
        Some(of_contract) if !is_of_this_major(of_contract) => Err(LoadFault::OtherMajor(shown(name))),
        // Types are named by whoever uses them, and ask nothing of the program.
        Some(of_contract) if matches!(interface_of(of_contract), "log" | "types") => Ok(()),
        None if name.starts_with("wasi:") => Err(LoadFault::Wasi(shown(name))),
        _ => Err(LoadFault::Import(shown(name))),
    }
}

/// On one line, and short: it goes into a line of the log.
fn shown(text: &str) -> String {
    shortened(text, LONGEST_TEXT).into_owned()
}

/// `log` of `log@1.0.0`.
fn interface_of(name: &str) -> &str {
    name.split_once('@').map_or(name, |(interface, _)| interface)
}

/// `[1, 2, 0]` of `1.2.0`.
fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}

fn is_of_this_major(name: &str) -> bool {
    name.split_once('@').and_then(|(_, version)| version.split('.').next()) == Some(MAJOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_other_than_the_log_are_refused() {
        for allowed in
            ["k8s-copycat:policy/log@1.0.0", "k8s-copycat:policy/types@1.0.0", "k8s-copycat:policy/log@1.3.0"]
        {
            assert!(check_import(allowed).is_ok(), "{allowed}");
        }
        assert!(matches!(check_import("wasi:cli/environment@0.2.6"), Err(LoadFault::Wasi(_))));
        assert!(matches!(check_import("k8s-copycat:policy/log@2.0.0"), Err(LoadFault::OtherMajor(_))));
        assert!(matches!(check_import("k8s-copycat:policy/log"), Err(LoadFault::OtherMajor(_))));
        assert!(matches!(check_import("k8s-copycat:policy/clock@1.1.0"), Err(LoadFault::Import(_))));
        assert!(matches!(check_import("run"), Err(LoadFault::Import(_))));
    }
}
