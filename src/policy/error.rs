//! Why a plugin can't be loaded, and why a call to one failed.

use std::{io, time::Duration};

use wasmtime::Trap;

use super::{bindings::types, settings::PluginLimits, text::shortened};

/// The longest message of a plugin that an error quotes, in bytes.
pub const MAX_MESSAGE: usize = 1024;
/// The longest text of the engine or name from a component that an error quotes, in bytes.
pub const MAX_ENGINE_TEXT: usize = 512;

/// Why a file is not a usable plugin. Retrying does not help: the plugin or its configuration must change.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The file can't be read.
    #[error("the file can't be read: {0}")]
    Read(io::Error),
    /// A FIFO or a device: reading it might never end.
    #[error("not a regular file")]
    NotAFile,
    /// The gzip data is damaged.
    #[error("the file can't be decompressed: {0}; it may be truncated")]
    Decompress(io::Error),
    /// The decompressed file is larger than the limit, in bytes.
    #[error("larger than {0} bytes when decompressed; raise moduleSize if the plugin needs more")]
    TooLarge(usize),
    /// A core module, as compilers without component support create it.
    #[error("a core WebAssembly module, not a component; convert it with `k8s-copycat plugin wrap`")]
    CoreModule,
    /// Not WebAssembly.
    #[error("not a WebAssembly component")]
    NotWasm,
    /// The component is malformed, uses disabled proposals, or exceeds a limit.
    #[error("the component can't be compiled: {0}")]
    Compile(CompileError),
    /// It imports an interface of WASI.
    #[error(
        "it imports {0}; plugins have no WASI: build it for wasm32-unknown-unknown, or stub WASI out when the component is created"
    )]
    Wasi(String),
    /// It imports another interface that does not exist.
    #[error("it imports {0}; a plugin may import only k8s-copycat:policy/log@1.0.0")]
    Import(String),
    /// It was built for another major version of the contract.
    #[error("it uses {0}, another major version of the contract; this program supports 1.x")]
    OtherMajor(String),
    /// It exports no hook.
    #[error(
        "it exports no hook of k8s-copycat:policy@1.0.0: skip, target-selection, path-mapping or repository-prefix"
    )]
    NoHook,
    /// An interface of the contract has other types.
    #[error("it does not match the contract k8s-copycat:policy@1.0.0: {0}")]
    Contract(String),
    /// A configuration is set, but the component exports no `lifecycle` to receive it.
    #[error("it has a config but does not export lifecycle; remove the config")]
    TakesNoConfig,
    /// Instantiating or `configure` failed.
    #[error("it can't be started: {0}")]
    Start(CallError),
}

impl From<CompileError> for PluginError {
    fn from(error: CompileError) -> Self {
        Self::Compile(error)
    }
}

impl PluginError {
    /// An interface differs from the contract, in the engine's words.
    pub(super) fn contract(error: wasmtime::Error) -> Self {
        Self::Contract(shortened(&format!("{error:#}"), MAX_ENGINE_TEXT).into_owned())
    }
}

/// Why a component was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// The check before compilation or the compiler rejected it.
    #[error("{0}")]
    Rejected(String),
    /// The compiler needed more memory than any module of this size should, in MiB.
    #[error("compiling it takes more than {0} MiB of memory")]
    Memory(u64),
    /// The compiler needed more memory than is available, in MiB.
    #[error("compiling it takes more than the {0} MiB of memory that are available; raise the memory limit of the Pod")]
    ScarceMemory(u64),
    /// The compiler needed more CPU time than any module of this size should, in seconds.
    #[error("compiling it takes more than {0} s of CPU time")]
    CpuTime(u64),
    /// The compiler did not finish in time.
    #[error("compiling it takes longer than {0:?}")]
    Deadline(Duration),
    /// The compiler crashed.
    #[error("the compiler crashed: {0}")]
    Crashed(String),
    /// The compiler process can't be started.
    #[error("the compiler can't be started: {0}")]
    Start(io::Error),
    /// The program is shutting down.
    #[error("the program is shutting down")]
    Stopped,
}

impl CompileError {
    /// `text` may quote names from the component: it is cut, and printed on one line.
    pub(super) fn rejected(text: &str) -> Self {
        Self::Rejected(shortened(text, MAX_ENGINE_TEXT).into_owned())
    }
}

/// An instance requested more memory than its limit. It is carried through the trap, which would otherwise look like a
/// panic of the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it requested {requested} bytes of memory, its limit is {limit}")]
pub struct MemoryLimitExceeded {
    /// All memories and tables together, including the requested part, in bytes.
    pub requested: usize,
    /// The limit, in bytes.
    pub limit: usize,
}

/// Why a call gave no usable answer. A retry with a fresh instance may succeed, except after
/// [`CallError::InvalidRequest`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The plugin rejected its configuration.
    #[error("invalid configuration: {0}")]
    InvalidConfig(String),
    /// The plugin has no answer for this image use.
    #[error("{0}")]
    InvalidRequest(String),
    /// The plugin reported an internal error.
    #[error("internal error: {0}")]
    Internal(String),
    /// The contract does not allow the answer.
    #[error("invalid answer: {0}")]
    InvalidAnswer(String),
    /// The plugin trapped.
    #[error("it trapped: {0}")]
    Trap(String),
    /// The plugin did not answer in time.
    #[error("no answer within {0:?}; raise timeout if the plugin needs longer")]
    Deadline(Duration),
    /// The plugin exceeded its memory limit.
    #[error("{0}; raise memory if the plugin needs more")]
    Memory(MemoryLimitExceeded),
    /// An answer or a log message was larger than the limit, in bytes.
    #[error("its answer or log message is larger than {0} bytes; raise output if the plugin needs more")]
    Output(usize),
    /// The plugin failed repeatedly and is not called again before this time has passed.
    #[error("suspended after repeated failures, next attempt in {} s", .0.as_secs() + 1)]
    Suspended(Duration),
    /// The program is shutting down.
    #[error("the program is shutting down")]
    Stopped,
}

/// The engine's error when an answer exceeds [`PluginLimits::output`]; its type is private, only its `Debug` names it.
const OUTPUT_ERROR: &str = "HostcallFuelExhausted";

impl CallError {
    /// The error for a call that the engine ended.
    pub fn from_engine(error: &wasmtime::Error, limits: &PluginLimits, timeout: Duration) -> Self {
        if let Some(exceeded) = error.downcast_ref::<MemoryLimitExceeded>() {
            return Self::Memory(*exceeded);
        }
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => Self::Deadline(timeout),
            Some(Trap::UnreachableCodeReached) => {
                let cause = "a panic, an uncaught exception, or a hook that is declared but not implemented";
                Self::Trap(format!("unreachable code was executed: {cause}"))
            }
            Some(trap) => {
                let text = trap.to_string();
                Self::Trap(text.strip_prefix("wasm trap: ").unwrap_or(&text).to_owned())
            }
            None if format!("{:?}", error.root_cause()) == OUTPUT_ERROR => Self::Output(limits.output),
            None => Self::Trap(shortened(&format!("{error:#}"), MAX_MESSAGE).into_owned()),
        }
    }

    /// The kind of error, as metrics label it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::InvalidConfig(_) => "invalid-config",
            Self::InvalidRequest(_) => "invalid-request",
            Self::Internal(_) | Self::InvalidAnswer(_) => "internal",
            Self::Trap(_) => "trap",
            Self::Deadline(_) => "deadline",
            Self::Memory(_) => "memory",
            Self::Output(_) => "output",
            Self::Suspended(_) => "given-up",
            Self::Stopped => "stopped",
        }
    }
}

impl From<types::Error> for CallError {
    fn from(error: types::Error) -> Self {
        let message = |text: String| shortened(&text, MAX_MESSAGE).into_owned();
        match error {
            types::Error::InvalidConfig(text) => Self::InvalidConfig(message(text)),
            types::Error::InvalidRequest(text) => Self::InvalidRequest(message(text)),
            types::Error::Internal(text) => Self::Internal(message(text)),
        }
    }
}
