//! Calls the hooks of a single plugin: for plugin authors.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use serde_json::Value;
use wasmtime::component::Component;

use super::{
    bindings::types,
    chain::{Chains, HookCaller, HookFailure, PluginAnswer, SkipAnswer},
    compile, convert,
    engine::{self, EngineError, Runtime},
    error::{CallError, PluginError},
    module::read_module,
    plugin::{Plugin, PluginSpec, link},
    settings::{Module, Origin, PluginLimits},
};
use crate::model::{Hook, ImageUse, OnFailure, ReferenceError, Target};

/// Why a file is no usable plugin.
#[derive(Debug, thiserror::Error)]
pub enum TestPluginError {
    /// No plugin can run on this host.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Not a usable plugin.
    #[error(transparent)]
    Plugin(#[from] PluginError),
}

/// A compiled component that matches the contract.
pub struct TestPlugin {
    file: PathBuf,
    runtime: Runtime,
    component: Component,
    bytes: Arc<[u8]>,
    contract: String,
    hooks: Vec<Hook>,
    takes_config: bool,
}

/// A configured plugin.
pub struct ConfiguredTestPlugin {
    plugin: Arc<Plugin>,
    chains: Chains,
}

/// An image use as plugins receive it.
pub struct HookInput(types::ImageUse);

impl TestPlugin {
    /// Reads, compiles and checks a file, as the program does at startup.
    ///
    /// # Errors
    /// As at startup.
    pub fn read(file: &Path) -> Result<Self, TestPluginError> {
        let runtime = engine::start()?;
        let module = Module::File(file.to_owned());
        let lock = compile::lock_compiler();
        let code = read_module(&module, PluginLimits::default().module)?;
        let component = compile::compile(&runtime.engine, &code.bytes)?;
        drop(lock);
        let (_, exports) = link(&runtime.engine, &component)?;
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

    /// The component, decompressed.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The names of the exported interfaces.
    pub fn exports(&self) -> Vec<String> {
        let engine = &self.runtime.engine;
        self.component.component_type().exports(engine).map(|(name, _)| name.to_owned()).collect()
    }

    /// The version of the contract that it was built against.
    pub fn contract(&self) -> &str {
        &self.contract
    }

    /// The exported hooks in the order of their calls.
    pub fn hooks(&self) -> &[Hook] {
        &self.hooks
    }

    /// Whether it exports `lifecycle`.
    pub fn takes_config(&self) -> bool {
        self.takes_config
    }

    /// The names of the imported interfaces.
    pub fn imports(&self) -> Vec<String> {
        let engine = &self.runtime.engine;
        self.component.component_type().imports(engine).map(|(name, _)| name.to_owned()).collect()
    }

    /// Starts and configures an instance, with the default limits.
    ///
    /// # Errors
    /// The plugin rejects the configuration, or fails.
    pub fn configure(&self, config: Option<&Value>) -> Result<ConfiguredTestPlugin, PluginError> {
        let spec = PluginSpec {
            name: "plugin".to_owned(),
            origin: Origin::File(self.file.clone()),
            digest: None,
            config: config.map(ToString::to_string),
            limits: PluginLimits::default(),
            on_failure: OnFailure::Fail,
        };
        let plugin = Arc::new(Plugin::new(&self.runtime, &self.component, spec)?);
        Ok(ConfiguredTestPlugin { chains: Chains::new(vec![Arc::clone(&plugin)]), plugin })
    }
}

impl ConfiguredTestPlugin {
    /// Creates and discards another instance, to be timed by the caller.
    ///
    /// # Errors
    /// The plugin fails.
    pub fn instantiate(&self) -> Result<(), PluginError> {
        self.plugin.instantiate().map(drop)
    }

    /// Creates, configures and discards another instance.
    ///
    /// # Errors
    /// The plugin rejects the configuration, or fails.
    pub fn start(&self) -> Result<(), PluginError> {
        self.plugin.start().map(drop)
    }

    /// Calls the hook `skip`. None: pass.
    ///
    /// # Errors
    /// The call failed, or the answer is invalid.
    pub fn skip(&self, input: &HookInput) -> Result<Option<SkipAnswer>, CallError> {
        answer(self.caller(input).skip())
    }

    /// Calls the hook `target-selection`. None: pass.
    ///
    /// # Errors
    /// The call failed, or the answer is invalid.
    pub fn select_targets(&self, input: &HookInput, targets: &[Arc<Target>]) -> Result<Option<Vec<String>>, CallError> {
        let targets: Vec<_> = targets.iter().map(|target| convert::target(target)).collect();
        answer(self.caller(input).select_targets(&targets))
    }

    /// Calls the hook `path-mapping`. None: pass.
    ///
    /// # Errors
    /// The call failed, or the answer is invalid.
    pub fn map_path(&self, input: &HookInput, target: &Target) -> Result<Option<String>, CallError> {
        answer(self.caller(input).map_path(&convert::target(target)))
    }

    /// Calls the hook `repository-prefix`. None: pass.
    ///
    /// # Errors
    /// The call failed, or the answer is invalid.
    pub fn repository_prefix(&self, input: &HookInput, target: &Target) -> Result<Option<String>, CallError> {
        answer(self.caller(input).repository_prefix(&convert::target(target)))
    }

    fn caller<'a>(&'a self, input: &'a HookInput) -> HookCaller<'a> {
        HookCaller { chains: &self.chains, observer: &(), image_use: &input.0, trace: Vec::new() }
    }
}

impl HookInput {
    /// Converts an image use.
    ///
    /// # Errors
    /// Its image reference is invalid: plugins are not called for those.
    pub fn new(image_use: &ImageUse) -> Result<Self, ReferenceError> {
        Ok(Self(convert::image_use(image_use, &image_use.image.parse()?)))
    }
}

fn answer<T>(result: Result<Option<PluginAnswer<T>>, HookFailure>) -> Result<Option<T>, CallError> {
    match result {
        Ok(answered) => Ok(answered.map(|answered| answered.answer)),
        Err(failure) => Err(failure.error),
    }
}
