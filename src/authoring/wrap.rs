//! Makes a plugin of a core module, as compilers of C, Go and Zig make it.

use std::{borrow::Cow, collections::BTreeSet};

use wasmparser::{ExternalKind, Parser, Payload};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata, metadata};

use super::contract::{ContractError, PACKAGE, World};

/// What all WebAssembly begins with.
const MAGIC: &[u8] = b"\0asm";
/// The module through which programs built for WASI reach the world outside.
const WASI: &str = "wasi_snapshot_preview1";
/// What stands in for it, so that the component imports nothing.
const WASI_STUB: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/wasi_stub.wasm"));

/// How the module was built, where it does not say so itself.
#[derive(Clone, Debug, Default)]
pub struct WrapOptions {
    /// The world of the contract that it was built for; the hooks that it exports say which where none is given.
    pub world: Option<String>,
    /// Whether its strings are UTF-16.
    pub utf16: bool,
}

/// Why no plugin can be made of a file.
#[derive(Debug, thiserror::Error)]
pub enum WrapError {
    /// It is a component already.
    #[error("this is a component already; `plugin inspect` says whether it is a plugin")]
    Component,
    /// It is not WebAssembly.
    #[error("this is not a WebAssembly module, neither as bytes nor as text")]
    Unknown,
    /// It is the text of no WebAssembly module.
    #[error("this is not a WebAssembly module: {0}")]
    Text(String),
    /// It begins as WebAssembly, and is damaged.
    #[error("this is not a WebAssembly module that can be read: {0}")]
    NotWasm(String),
    /// It has nothing to do with the contract.
    #[error(
        "it exports no function of the contract, as k8s-copycat:policy/skip@1.0.0#decide; build it with the bindings of `plugin bindings`"
    )]
    NoHook,
    /// It asks for another contract than this program's.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The encoder refuses it.
    #[error("no component can be made of it: {0}")]
    Encode(String),
}

/// A component of the core module `module`, which may be written as text (`.wat`), with the contract's types, and with
/// nothing of WASI left.
///
/// # Errors
/// When it is no core module, or not one of a plugin.
pub fn wrap(module: &[u8], options: &WrapOptions) -> Result<Vec<u8>, WrapError> {
    let module = &*binary(module)?;
    if Parser::is_component(module) {
        return Err(WrapError::Component);
    }
    let interfaces = exported_interfaces(module)?;
    let (stripped, _) = metadata::decode(module).map_err(|error| WrapError::NotWasm(format!("{error:#}")))?;
    let mut module = module.to_vec();
    // Object files of C bindings carry the world; what is embedded beside it would be merged with it.
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

/// The module as bytes.
fn binary(module: &[u8]) -> Result<Cow<'_, [u8]>, WrapError> {
    if module.starts_with(MAGIC) {
        return Ok(Cow::Borrowed(module));
    }
    let text = str::from_utf8(module).ok().filter(|text| text.contains('('));
    let text = text.ok_or(WrapError::Unknown)?;
    wat::parse_str(text).map(Cow::Owned).map_err(|error| WrapError::Text(error.to_string()))
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
fn encode_error(error: anyhow::Error) -> WrapError {
    WrapError::Encode(format!("{error:#}"))
}

/// `skip@1.0.0` of `k8s-copycat:policy/skip@1.0.0#decide`, for every export that is written so.
fn exported_interfaces(module: &[u8]) -> Result<BTreeSet<String>, WrapError> {
    let not_wasm = |error: wasmparser::BinaryReaderError| {
        // Numbers stand in columns there.
        WrapError::NotWasm(error.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let mut interfaces = BTreeSet::new();
    for payload in Parser::new(0).parse_all(module) {
        let Payload::ExportSection(exports) = payload.map_err(not_wasm)? else { continue };
        for export in exports {
            let export = export.map_err(not_wasm)?;
            let function = export.name.strip_prefix(PACKAGE).filter(|_| export.kind == ExternalKind::Func);
            interfaces
                .extend(function.and_then(|name| name.split_once('#')).map(|(interface, _)| interface.to_owned()));
        }
    }
    Ok(interfaces)
}
