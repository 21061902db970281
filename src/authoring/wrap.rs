//! Converts core modules, as compilers of C, Go and Zig create them, to components.

use std::{borrow::Cow, collections::BTreeSet};

use wasmparser::{ExternalKind, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata, metadata};

use super::contract::{ContractError, PACKAGE, World};

/// The first bytes of all WebAssembly files.
const MAGIC: &[u8] = b"\0asm";
/// The import module of programs built for WASI.
const WASI: &str = "wasi_snapshot_preview1";
/// Replaces WASI, so that the component does not import it.
const WASI_STUB: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wasi_stub.wasm"));

/// How the module was built, if the module itself does not tell.
#[derive(Clone, Debug, Default)]
pub struct WrapOptions {
    /// The world of the contract that it was built for. None: derived from the exported hooks.
    pub world: Option<String>,
    /// Whether its strings are UTF-16 instead of UTF-8.
    pub utf16: bool,
}

/// Why a file can't be converted.
#[derive(Debug, thiserror::Error)]
pub enum WrapError {
    /// A component already.
    #[error("already a component; check it with `plugin inspect`")]
    Component,
    /// Neither binary WebAssembly nor its text format.
    #[error("not a WebAssembly module, neither binary nor text")]
    Unknown,
    /// Malformed text format.
    #[error("invalid WebAssembly text: {0}")]
    Text(String),
    /// Malformed binary.
    #[error("invalid WebAssembly module: {0}")]
    Invalid(String),
    /// No export of the contract.
    #[error(
        "it exports no function of the contract, as k8s-copycat:policy/skip@1.0.0#decide; build it with the bindings of `plugin bindings`"
    )]
    NoHook,
    /// It was built for another version of the contract.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The encoder failed.
    #[error("can't create the component: {0}")]
    Encode(String),
}

/// Converts the core module `module`, binary or text (`.wat`), to a component with the contract's types and without
/// WASI.
///
/// # Errors
/// Not a core module, or not that of a plugin.
pub fn wrap(module: &[u8], options: &WrapOptions) -> Result<Vec<u8>, WrapError> {
    let module = &*binary(module)?;
    if Parser::is_component(module) {
        return Err(WrapError::Component);
    }
    let interfaces = exported_interfaces(module)?;
    let (stripped, _) = metadata::decode(module).map_err(|error| WrapError::Invalid(format!("{error:#}")))?;
    let mut module = module.to_vec();
    // Modules with C bindings contain the world already; embedding another would merge both.
    if stripped.is_none() || options.world.is_some() {
        let world = match &options.world {
            Some(name) => World::named(name)?,
            None if interfaces.is_empty() => return Err(WrapError::NoHook),
            None => World::exporting(interfaces.iter().map(String::as_str))?,
        };
        let encoding = if options.utf16 { StringEncoding::UTF16 } else { StringEncoding::UTF8 };
        embed_component_metadata(&mut module, &world.resolve, world.id, encoding, false).map_err(encode_error)?;
    }
    let mut encoder = ComponentEncoder::default();
    let encoder = encoder.validate(true).module(&module).and_then(|encoder| encoder.adapter(WASI, WASI_STUB));
    encoder.and_then(ComponentEncoder::encode).map_err(encode_error)
}

/// The module as binary.
fn binary(module: &[u8]) -> Result<Cow<'_, [u8]>, WrapError> {
    if module.starts_with(MAGIC) {
        return Ok(Cow::Borrowed(module));
    }
    let text = str::from_utf8(module).ok().filter(|text| text.contains('('));
    let text = text.ok_or(WrapError::Unknown)?;
    wat::parse_str(text).map(Cow::Owned).map_err(|error| WrapError::Text(error.to_string()))
}

#[expect(clippy::needless_pass_by_value, reason = "signature of map_err")]
fn encode_error(error: anyhow::Error) -> WrapError {
    WrapError::Encode(format!("{error:#}"))
}

/// The exported interfaces: `skip@1.0.0` for `k8s-copycat:policy/skip@1.0.0#decide`.
fn exported_interfaces(module: &[u8]) -> Result<BTreeSet<String>, WrapError> {
    let invalid = |error: wasmparser::BinaryReaderError| {
        // Collapses the aligned columns of the message.
        WrapError::Invalid(error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let mut interfaces = BTreeSet::new();
    for payload in Parser::new(0).parse_all(module) {
        let Payload::ExportSection(exports) = payload.map_err(invalid)? else { continue };
        for export in exports {
            let export = export.map_err(invalid)?;
            let function = export.name.strip_prefix(PACKAGE).filter(|_| export.kind == ExternalKind::Func);
            interfaces
                .extend(function.and_then(|name| name.split_once('#')).map(|(interface, _)| interface.to_owned()));
        }
    }
    Ok(interfaces)
}
