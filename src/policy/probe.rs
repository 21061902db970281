//! One plugin by itself, asked hook by hook: for who writes it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use wasmtime::component::Component;

use super::{
    CallError, EngineError, LoadFault, Module, OnFailure, Origin, PluginLimits,
    bindings::types,
    chain::{Answered, Asking, Chains, HookFailure, Skip},
    compile, component,
    engine::{self, Runtime},
    plugin::{Identity, Plugin},
    question,
};
use crate::model::{Hook, ImageUse, ReferenceError, Target};

/// Why a file can't be tried.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// No plugin can run here.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It is no plugin.
    #[error(transparent)]
    Fault(#[from] LoadFault),
}

/// A compiled component that keeps to the contract.
pub struct Probe {
    file: PathBuf,
    runtime: Runtime,
    component: Component,
    bytes: Arc<[u8]>,
    contract: String,
    hooks: Vec<Hook>,
    takes_config: bool,
}

/// A configured plugin.
pub struct ProbedPlugin {
    plugin: Arc<Plugin>,
    chains: Chains,
}

/// An image use as plugins see it.
pub struct Question(types::ImageUse);

impl Probe {
    /// Reads, compiles and checks a file, as the program does at its start.
    ///
    /// # Errors
    /// When it is no plugin, in the words of the program's start.
    pub fn read(file: &Path) -> Result<Self, ProbeError> {
        let runtime = engine::start()?;
        let module = Module::File(file.to_owned());
        let turn = compile::turn();
        let code = module.code(PluginLimits::default().module)?;
        let component = compile::compile(&runtime.engine, &code.bytes)?;
        drop(turn);
        let (_, exports) = component::link(&runtime.engine, &component)?;
        Ok(Self {
            file: file.to_owned(),
            contract: exports.version.clone(),
            hooks: exports.hooks(),
            takes_config: exports.lifecycle.is_some(),
            runtime,
            component,
            bytes: code.bytes.into(),
        })
    }

    /// The component, unpacked.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The names of the interfaces that it exports.
    pub fn exports(&self) -> Vec<String> {
        let engine = &self.runtime.engine;
        self.component.component_type().exports(engine).map(|(name, _)| name.to_owned()).collect()
    }

    /// The version of the contract that it was built against.
    pub fn contract(&self) -> &str {
        &self.contract
    }

    /// What it answers, in the order asked.
    pub fn hooks(&self) -> &[Hook] {
        &self.hooks
    }

    /// Whether it exports `lifecycle`.
    pub fn takes_config(&self) -> bool {
        self.takes_config
    }

    /// The names of the interfaces that it imports.
    pub fn imports(&self) -> Vec<String> {
        let engine = &self.runtime.engine;
        self.component.component_type().imports(engine).map(|(name, _)| name.to_owned()).collect()
    }

    /// A first instance, configured; limits as where the user sets none.
    ///
    /// # Errors
    /// When it refuses the configuration, or breaks down.
    pub fn configure(&self, config: Option<&Value>) -> Result<ProbedPlugin, LoadFault> {
        let identity = Identity {
            name: "plugin".to_owned(),
            origin: Origin::File(self.file.clone()),
            digest: None,
            config: config.map(ToString::to_string),
            limits: PluginLimits::default(),
            on_failure: OnFailure::Fail,
        };
        let plugin = Arc::new(Plugin::new(&self.runtime, &self.component, identity)?);
        Ok(ProbedPlugin { chains: Chains::new(vec![Arc::clone(&plugin)]), plugin })
    }
}

impl ProbedPlugin {
    /// Another instance, thrown away: how long it takes is told by who asks.
    ///
    /// # Errors
    /// When it breaks down.
    pub fn instantiate(&self) -> Result<(), LoadFault> {
        self.plugin.instantiate().map(drop)
    }

    /// Another instance, configured and thrown away.
    ///
    /// # Errors
    /// When it refuses the configuration, or breaks down.
    pub fn start(&self) -> Result<(), LoadFault> {
        self.plugin.start().map(drop)
    }

    /// Asks the hook `skip`; none is a pass, and so below.
    ///
    /// # Errors
    /// When the plugin can't answer, or its answer can't be used; and so below.
    pub fn skip(&self, question: &Question) -> Result<Option<Skip>, CallError> {
        answer(self.asking(question).skip())
    }

    /// Asks the hook `target-selection`.
    ///
    /// # Errors
    /// As above.
    pub fn select(&self, question: &Question, targets: &[Arc<Target>]) -> Result<Option<Vec<String>>, CallError> {
        let targets: Vec<_> = targets.iter().map(|target| question::target(target)).collect();
        answer(self.asking(question).select(&targets))
    }

    /// Asks the hook `path-mapping`.
    ///
    /// # Errors
    /// As above.
    pub fn rewrite(&self, question: &Question, target: &Target) -> Result<Option<String>, CallError> {
        answer(self.asking(question).rewrite(&question::target(target)))
    }

    /// Asks the hook `repository-prefix`.
    ///
    /// # Errors
    /// As above.
    pub fn render(&self, question: &Question, target: &Target) -> Result<Option<String>, CallError> {
        answer(self.asking(question).render(&question::target(target)))
    }

    fn asking<'a>(&'a self, question: &'a Question) -> Asking<'a> {
        Asking { chains: &self.chains, observer: &(), image_use: &question.0, trace: Vec::new() }
    }
}

impl Question {
    /// About this image use.
    ///
    /// # Errors
    /// When its image is malformed: no plugin is asked about those.
    pub fn about(image_use: &ImageUse) -> Result<Self, ReferenceError> {
        Ok(Self(question::image_use(image_use, &image_use.image.parse()?)))
    }
}

fn answer<T>(result: Result<Option<Answered<T>>, HookFailure>) -> Result<Option<T>, CallError> {
    match result {
        Ok(answered) => Ok(answered.map(|answered| answered.answer)),
        Err(failure) => Err(failure.error),
    }
}
