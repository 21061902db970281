//! Checks that a component is a plugin: it exports hooks and imports only the log.

use std::sync::Arc;

use wasmtime::{
    Engine,
    component::{Component, HasSelf, InstancePre, Linker},
};

use super::{instance::InstanceState, log::PluginLog};
use crate::{
    model::Hook,
    policy::{
        bindings::{self, hooks},
        error::{MAX_ENGINE_TEXT, PluginError},
        text::shortened,
    },
};

const CONTRACT: &str = "k8s-copycat:policy/";
const MAJOR: &str = "1";

/// The interfaces of the contract that a component exports.
pub struct Exports {
    /// The version of the contract, as `1.0.0`; the newest one if it uses several.
    pub version: String,
    pub lifecycle: Option<hooks::lifecycle::GuestIndices>,
    pub skip: Option<hooks::skip::GuestIndices>,
    pub target_selection: Option<hooks::target_selection::GuestIndices>,
    pub path_mapping: Option<hooks::path_mapping::GuestIndices>,
    pub repository_prefix: Option<hooks::repository_prefix::GuestIndices>,
}

impl Exports {
    /// The hooks in the order of their calls.
    pub fn hooks(&self) -> Vec<Hook> {
        Hook::ALL.into_iter().filter(|hook| self.has(*hook)).collect()
    }

    pub fn has(&self, hook: Hook) -> bool {
        match hook {
            Hook::Skip => self.skip.is_some(),
            Hook::TargetSelection => self.target_selection.is_some(),
            Hook::PathMapping => self.path_mapping.is_some(),
            Hook::RepositoryPrefix => self.repository_prefix.is_some(),
        }
    }
}

/// Links a component with the log, and finds its hooks.
pub fn link(engine: &Engine, component: &Component) -> Result<(InstancePre<InstanceState>, Exports), PluginError> {
    let component_type = component.component_type();
    for (name, _) in component_type.imports(engine) {
        check_import(name)?;
    }
    let mut linker = Linker::new(engine);
    bindings::log::add_to_linker::<_, HasSelf<Arc<PluginLog>>>(&mut linker, |state: &mut InstanceState| &mut state.log)
        .map_err(PluginError::contract)?;
    let pre = linker.instantiate_pre(component).map_err(PluginError::contract)?;

    let exported: Vec<&str> =
        component_type.exports(engine).filter_map(|(name, _)| name.strip_prefix(CONTRACT)).collect();
    if let Some(other) = exported.iter().find(|name| !is_supported_major(name)) {
        return Err(PluginError::OtherMajor(quoted(&format!("{CONTRACT}{other}"))));
    }
    let versions = exported.iter().filter_map(|name| name.split_once('@')).map(|(_, version)| version);
    let version = versions.max_by_key(|version| numbers(version)).unwrap_or_default().to_owned();
    let exports = |interface: &str| exported.iter().any(|name| interface_of(name) == interface);
    let exports = Exports {
        version,
        lifecycle: exports("lifecycle")
            .then(|| hooks::lifecycle::GuestIndices::new(&pre))
            .transpose()
            .map_err(PluginError::contract)?,
        skip: exports("skip")
            .then(|| hooks::skip::GuestIndices::new(&pre))
            .transpose()
            .map_err(PluginError::contract)?,
        target_selection: exports("target-selection")
            .then(|| hooks::target_selection::GuestIndices::new(&pre))
            .transpose()
            .map_err(PluginError::contract)?,
        path_mapping: exports("path-mapping")
            .then(|| hooks::path_mapping::GuestIndices::new(&pre))
            .transpose()
            .map_err(PluginError::contract)?,
        repository_prefix: exports("repository-prefix")
            .then(|| hooks::repository_prefix::GuestIndices::new(&pre))
            .transpose()
            .map_err(PluginError::contract)?,
    };
    if exports.hooks().is_empty() { Err(PluginError::NoHook) } else { Ok((pre, exports)) }
}

fn check_import(name: &str) -> Result<(), PluginError> {
    match name.strip_prefix(CONTRACT) {
        Some(interface) if !is_supported_major(interface) => Err(PluginError::OtherMajor(quoted(name))),
        // An interface that uses types imports them; the program provides nothing for it.
        Some(interface) if matches!(interface_of(interface), "log" | "types") => Ok(()),
        None if name.starts_with("wasi:") => Err(PluginError::Wasi(quoted(name))),
        _ => Err(PluginError::Import(quoted(name))),
    }
}

fn quoted(name: &str) -> String {
    shortened(name, MAX_ENGINE_TEXT).into_owned()
}

/// `log` of `log@1.0.0`.
fn interface_of(name: &str) -> &str {
    name.split_once('@').map_or(name, |(interface, _)| interface)
}

/// `[1, 2, 0]` of `1.2.0`.
fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map(|number| number.parse().unwrap_or(0)).collect()
}

fn is_supported_major(name: &str) -> bool {
    name.split_once('@').and_then(|(_, version)| version.split('.').next()) == Some(MAJOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_imports_other_than_the_log() {
        for allowed in
            ["k8s-copycat:policy/log@1.0.0", "k8s-copycat:policy/types@1.0.0", "k8s-copycat:policy/log@1.3.0"]
        {
            assert!(check_import(allowed).is_ok(), "{allowed}");
        }
        assert!(matches!(check_import("wasi:cli/environment@0.2.6"), Err(PluginError::Wasi(_))));
        assert!(matches!(check_import("k8s-copycat:policy/log@2.0.0"), Err(PluginError::OtherMajor(_))));
        assert!(matches!(check_import("k8s-copycat:policy/log"), Err(PluginError::OtherMajor(_))));
        assert!(matches!(check_import("k8s-copycat:policy/clock@1.1.0"), Err(PluginError::Import(_))));
        assert!(matches!(check_import("run"), Err(PluginError::Import(_))));
    }
}
