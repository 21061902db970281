//! Loads and calls a component in this process, for the test and the fuzz target with mutated components.

use std::{sync::Arc, time::Duration};

use super::{
    bindings::types,
    chain::{Chains, HookCaller},
    compile::compile,
    engine::{self, EngineError, Runtime},
    error::{CallError, PluginError},
    plugin::{Plugin, PluginSpec},
    settings::{Origin, PluginLimits},
};
use crate::model::OnFailure;

/// Keeps one engine for all inputs.
pub struct Loader(Runtime);

/// What became of a component.
#[derive(Debug)]
pub enum LoadOutcome {
    /// It was not loaded.
    Rejected(PluginError),
    /// The call failed.
    Failed(CallError),
    /// The call was answered.
    Answered,
}

impl Loader {
    /// An engine with the program's settings.
    ///
    /// # Errors
    /// No plugin can run on this host.
    pub fn new() -> Result<Self, EngineError> {
        engine::start().map(Self)
    }

    /// Checks, compiles and starts a component, and calls one hook, all within limits.
    pub fn load(&self, bytes: &[u8]) -> LoadOutcome {
        let limits = PluginLimits {
            timeout: Duration::from_millis(100),
            configure_timeout: Duration::from_millis(100),
            memory: 4 << 20,
            ..PluginLimits::default()
        };
        let spec = PluginSpec {
            name: "fuzzed".to_owned(),
            origin: Origin::BuiltIn,
            digest: None,
            config: None,
            limits,
            on_failure: OnFailure::Fail,
        };
        let loaded =
            compile(&self.0.engine, bytes).and_then(|component| Plugin::new(&self.0, &component, spec)).map(Arc::new);
        let chains = match loaded {
            Ok(plugin) => Chains::new(vec![plugin]),
            Err(error) => return LoadOutcome::Rejected(error),
        };
        let image_use = image_use();
        let mut hooks = HookCaller { chains: &chains, observer: &(), image_use: &image_use, trace: Vec::new() };
        match hooks.skip() {
            Ok(_) => LoadOutcome::Answered,
            Err(failure) => LoadOutcome::Failed(failure.error),
        }
    }
}

fn image_use() -> types::ImageUse {
    types::ImageUse {
        workload: types::Workload {
            kind: "Deployment".to_owned(),
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            owners: Vec::new(),
            labels: vec![("team".to_owned(), "web".to_owned())],
            annotations: Vec::new(),
            namespace_labels: Vec::new(),
        },
        container: types::Container { name: "main".to_owned(), kind: "container".to_owned() },
        image: types::Image {
            as_written: "nginx:1".to_owned(),
            registry: "docker.io".to_owned(),
            repository: "library/nginx".to_owned(),
            tag: Some("1".to_owned()),
            digest: None,
        },
        facts: Vec::new(),
    }
}
