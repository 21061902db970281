//! Loading and asking a component in this process, for what tries mutated ones: a test, and the fuzz target.

use std::{sync::Arc, time::Duration};

use super::{
    CallError, EngineError, LoadFault, OnFailure, Origin, PluginLimits,
    bindings::types,
    chain::{Asking, Chains},
    compile::compile,
    engine::{self, Runtime},
    plugin::{Identity, Plugin},
};

/// An engine that is kept from one input to the next.
pub struct Loader(Runtime);

/// How far a component gets.
#[derive(Debug)]
pub enum Reached {
    /// It is no plugin.
    Refused(LoadFault),
    /// It was asked, and had no answer.
    Failed(CallError),
    /// It answered.
    Answered,
}

impl Loader {
    /// With the program's own settings.
    ///
    /// # Errors
    /// Where no plugin can run at all.
    pub fn new() -> Result<Self, EngineError> {
        engine::start().map(Self)
    }

    /// Looks at a component, compiles it, starts it, and asks it one question, all within limits.
    pub fn load(&self, bytes: &[u8]) -> Reached {
        let limits = PluginLimits {
            timeout: Duration::from_millis(100),
            configure_timeout: Duration::from_millis(100),
            memory: 4 << 20,
            ..PluginLimits::default()
        };
        let identity = Identity {
            name: "fuzzed".to_owned(),
            origin: Origin::BuiltIn,
            digest: None,
            config: None,
            limits,
            on_failure: OnFailure::Fail,
        };
        let loaded = compile(&self.0.engine, bytes)
            .and_then(|component| Plugin::new(&self.0, &component, identity))
            .map(Arc::new);
        let chains = match loaded {
            Ok(plugin) => Chains::new(vec![plugin]),
            Err(fault) => return Reached::Refused(fault),
        };
        let question = question();
        let mut asking = Asking { chains: &chains, observer: &(), image_use: &question, trace: Vec::new() };
        match asking.skip() {
            Ok(_) => Reached::Answered,
            Err(failure) => Reached::Failed(failure.error),
        }
    }
}

fn question() -> types::ImageUse {
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
