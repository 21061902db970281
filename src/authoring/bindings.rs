//! Generates bindings of the contract for languages whose compilers do not support components.

use wit_bindgen_core::{Files, WorldGenerator};

use super::contract::{ContractError, World};
use crate::model::Hook;

/// The languages with generated bindings. Zig uses those for C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingsLanguage {
    /// `plugin.h`, `plugin.c`, and an object file with the types of the world.
    C,
    /// Packages below the module `wit_component`.
    Go,
}

/// Why bindings can't be generated.
#[derive(Debug, thiserror::Error)]
pub enum BindingsError {
    /// The contract has no such interfaces.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// The generator failed.
    #[error("can't generate bindings: {0}")]
    Generate(String),
}

/// Generates the bindings for a plugin that exports `hooks`, and `lifecycle` if `configured`. Returns paths and
/// contents.
///
/// # Errors
/// The generator failed.
pub fn bindings(
    language: BindingsLanguage,
    hooks: &[Hook],
    configured: bool,
) -> Result<Vec<(String, Vec<u8>)>, BindingsError> {
    let World { mut resolve, id } = World::with_hooks(hooks, configured)?;
    let mut generator: Box<dyn WorldGenerator> = match language {
        BindingsLanguage::C => wit_bindgen_c::Opts::default().build(),
        BindingsLanguage::Go => {
            // Formatting requires Go's tools.
            let format = wit_bindgen_go::Format::False;
            wit_bindgen_go::Opts { format, quiet: true, ..Default::default() }.build()
        }
    };
    let mut files = Files::default();
    generator.generate(&mut resolve, id, &mut files).map_err(|error| BindingsError::Generate(format!("{error:#}")))?;
    Ok(files.iter().map(|(name, content)| (name.to_owned(), content.to_vec())).collect())
}
