//! The contract as this program knows it, and worlds of any subset of its hooks.

use wit_bindgen_core::wit_parser::{Resolve, WorldId};

use crate::model::Hook;

/// The contract's text, as plugins are built against it.
pub const WIT: &str = include_str!("../../wit/policy.wit");
/// What the names of the contract's interfaces begin with.
pub const PACKAGE: &str = "k8s-copycat:policy/";
/// The version of the contract.
pub const VERSION: &str = "1.0.0";
/// The interface that takes a configuration.
pub const LIFECYCLE: &str = "lifecycle";

/// The contract can't be used in the way that was asked for.
#[derive(Debug, thiserror::Error)]
pub enum ContractError {
    /// There is no such world.
    #[error("the contract has no world {name:?}; it has {}", .known.join(", "))]
    NoWorld {
        /// What was asked for.
        name: String,
        /// What there is.
        known: Vec<String>,
    },
    /// A world of these interfaces can't be made.
    #[error("the contract {PACKAGE} {VERSION} has not all of {interfaces}: {fault}")]
    Interfaces {
        /// Their names.
        interfaces: String,
        /// The parser's words.
        fault: String,
    },
}

/// A world, and the packages that it is made of.
pub struct World {
    /// Everything that the world refers to.
    pub resolve: Resolve,
    /// The world.
    pub id: WorldId,
}

impl World {
    /// A world of the contract.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn named(name: &str) -> Result<Self, ContractError> {
        let resolve = contract().map_err(|fault| ContractError::Interfaces { interfaces: name.to_owned(), fault })?;
        let found = resolve.worlds.iter().find(|(_, world)| world.name == name).map(|(id, _)| id);
        match found {
            Some(id) => Ok(Self { resolve, id }),
            None => Err(ContractError::NoWorld {
                name: name.to_owned(),
                known: resolve.worlds.iter().map(|(_, world)| world.name.clone()).collect(),
            }),
        }
    }

    /// A world named `plugin` that exports these interfaces, written as `skip` or as `skip@1.0.0`, and may log.
    ///
    /// # Errors
    /// When the contract has not all of them.
    pub fn exporting<'a>(interfaces: impl IntoIterator<Item = &'a str>) -> Result<Self, ContractError> {
        let mut names = Vec::new();
        let mut text = format!("package author:policy;\nworld plugin {{\nimport {PACKAGE}log@{VERSION};\n");
        for interface in interfaces {
            let (name, version) = interface.split_once('@').unwrap_or((interface, VERSION));
            text += &format!("export {PACKAGE}{name}@{version};\n");
            names.push(interface);
        }
        text += "}\n";
        let fault = |fault| ContractError::Interfaces { interfaces: names.join(", "), fault };
        let mut resolve = contract().map_err(&fault)?;
        let package = resolve.push_source("plugin.wit", &text).map_err(|error| fault(format!("{error:#}")))?;
        let id = resolve.select_world(&[package], None).map_err(|error| fault(format!("{error:#}")))?;
        Ok(Self { resolve, id })
    }

    /// As [`World::exporting`], with `lifecycle` where the plugin takes a configuration.
    ///
    /// # Errors
    /// When the contract has not all of them.
    pub fn answering(hooks: &[Hook], configured: bool) -> Result<Self, ContractError> {
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
    fn a_world_can_be_had_by_name_or_made_of_any_hooks() {
        let plugin = World::named("plugin").unwrap();
        assert_eq!(plugin.resolve.worlds[plugin.id].exports.len(), Hook::ALL.len() + 1);
        for (hooks, configured) in [(&Hook::ALL[..1], false), (&Hook::ALL[1..3], true), (&Hook::ALL[..], true)] {
            let made = World::answering(hooks, configured).unwrap();
            assert_eq!(made.resolve.worlds[made.id].exports.len(), hooks.len() + usize::from(configured));
        }
    }

    #[test]
    fn what_the_contract_lacks_is_told_by_name() {
        let error = World::named("plug-in").err().unwrap().to_string();
        assert!(error.contains("plug-in") && error.contains("skip-hook, skip-plugin"), "{error}");
        for interface in ["skop", "skip@2.0.0"] {
            let error = World::exporting(["skip", interface]).err().unwrap().to_string();
            assert!(error.contains(interface), "{error}");
        }
    }
}
