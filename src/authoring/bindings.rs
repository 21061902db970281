//! The contract as source code for languages whose compilers know nothing of components.

use wit_bindgen_core::{Files, WorldGenerator};

use super::contract::{ContractError, World};
use crate::model::Hook;

/// The languages that bindings can be written for. Zig uses those for C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingsLanguage {
    /// `plugin.h`, `plugin.c`, and an object file with the types of the world.
    C,
    /// Packages below the module `wit_component`.
    Go,
}

/// Why there are no bindings.
#[derive(Debug, thiserror::Error)]
pub enum BindingsError {
    /// The contract has no such world.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The generator refuses the contract.
    #[error("no bindings can be written: {0}")]
    Generate(String),
}

/// The files of the bindings for a plugin that answers `hooks`, and takes a configuration if `configured`: paths with
/// their contents.
///
/// # Errors
/// When the generator refuses.
pub fn bindings(
    language: BindingsLanguage,
    hooks: &[Hook],
    configured: bool,
) -> Result<Vec<(String, Vec<u8>)>, BindingsError> {
    let World { mut resolve, id } = World::answering(hooks, configured)?;
    let mut generator: Box<dyn WorldGenerator> = match language {
        BindingsLanguage::C => wit_bindgen_c::Opts::default().build(),
        BindingsLanguage::Go => {
            // Formatting would need Go's own tools.
            let format = wit_bindgen_go::Format::False;
            wit_bindgen_go::Opts { format, quiet: true, ..Default::default() }.build()
        }
    };
    let mut files = Files::default();
    generator.generate(&mut resolve, id, &mut files).map_err(|error| BindingsError::Generate(format!("{error:#}")))?;
    Ok(files.iter().map(|(name, content)| (name.to_owned(), content.to_vec())).collect())
}
