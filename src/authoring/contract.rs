//! The contract of this program, and worlds with any subset of its hooks.

use wit_bindgen_core::wit_parser::{Resolve, WorldId};

use crate::{model::Hook, policy::CONTRACT_VERSION as VERSION};

/// The text of the contract.
pub const WIT: &str = include_str!("../../wit/policy.wit");
/// The prefix of the names of the contract's interfaces.
pub const PACKAGE: &str = "k8s-copycat:policy/";
/// The interface that receives the configuration.
pub const LIFECYCLE: &str = "lifecycle";

/// Why there is no such world.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// The contract has no world of this name.
    #[error("the contract has no world {name:?}; it has {}", .known.join(", "))]
    NoWorld {
        /// The requested name.
        name: String,
        /// The worlds of the contract.
        known: Vec<String>,
    },
    /// The contract lacks one of these interfaces.
    #[error("the contract {PACKAGE} {VERSION} does not have all of {interfaces}: {error}")]
    Interfaces {
        /// The requested interfaces.
        interfaces: String,
        /// The parser's message.
        error: String,
    },
}

/// A world and its packages.
pub struct World {
    /// All types that the world refers to.
    pub resolve: Resolve,
    /// The world in `resolve`.
    pub id: WorldId,
}

impl World {
    /// A world that the contract defines.
    ///
    /// # Errors
    /// The contract has no world of this name.
    pub fn named(name: &str) -> Result<Self, ContractError> {
        let resolve = contract().map_err(|error| ContractError::Interfaces { interfaces: name.to_owned(), error })?;
        let found = resolve.worlds.iter().find(|(_, world)| world.name == name).map(|(id, _)| id);
        match found {
            Some(id) => Ok(Self { resolve, id }),
            None => Err(ContractError::NoWorld {
                name: name.to_owned(),
                known: resolve.worlds.iter().map(|(_, world)| world.name.clone()).collect(),
            }),
        }
    }

    /// A world named `plugin` that imports the log and exports these interfaces, written as `skip` or `skip@1.0.0`.
    ///
    /// # Errors
    /// The contract lacks one of them.
    pub fn exporting<'a>(interfaces: impl IntoIterator<Item = &'a str>) -> Result<Self, ContractError> {
        let mut names = Vec::new();
        let mut text = format!("package author:policy;\nworld plugin {{\nimport {PACKAGE}log@{VERSION};\n");
        for interface in interfaces {
            let (name, version) = interface.split_once('@').unwrap_or((interface, VERSION));
            text += &format!("export {PACKAGE}{name}@{version};\n");
            names.push(interface);
        }
        text += "}\n";
        let invalid = |error| ContractError::Interfaces { interfaces: names.join(", "), error };
        let mut resolve = contract().map_err(&invalid)?;
        let package = resolve.push_source("plugin.wit", &text).map_err(|error| invalid(format!("{error:#}")))?;
        let id = resolve.select_world(&[package], None).map_err(|error| invalid(format!("{error:#}")))?;
        Ok(Self { resolve, id })
    }

    /// A world that exports these hooks, and `lifecycle` if `configured`.
    ///
    /// # Errors
    /// The contract lacks one of them.
    pub fn with_hooks(hooks: &[Hook], configured: bool) -> Result<Self, ContractError> {
        Self::exporting(hooks.iter().map(|hook| hook.name()).chain(configured.then_some(LIFECYCLE)))
    }
}

fn contract() -> Result<Resolve, String> {
    let mut resolve = Resolve::default();
    resolve.push_source("policy.wit", WIT).map_err(|error| format!("{error:#}"))?;
    Ok(resolve)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_worlds_by_name_and_creates_them_for_any_hooks() {
        let plugin = World::named("plugin").unwrap();
        assert_eq!(plugin.resolve.worlds[plugin.id].exports.len(), Hook::ALL.len() + 1);
        for (hooks, configured) in [(&Hook::ALL[..1], false), (&Hook::ALL[1..3], true), (&Hook::ALL[..], true)] {
            let world = World::with_hooks(hooks, configured).unwrap();
            assert_eq!(world.resolve.worlds[world.id].exports.len(), hooks.len() + usize::from(configured));
        }
    }

    #[test]
    fn names_what_the_contract_lacks() {
        let error = World::named("plug-in").err().unwrap().to_string();
        assert!(error.contains("plug-in") && error.contains("skip-hook, skip-plugin"), "{error}");
        for interface in ["skop", "skip@2.0.0"] {
            let error = World::exporting(["skip", interface]).err().unwrap().to_string();
            assert!(error.contains(interface), "{error}");
        }
    }
}
