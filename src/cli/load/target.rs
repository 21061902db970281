//! Which target a layout is loaded into.

use std::sync::Arc;

use crate::{
    config::{Config, TargetConfig},
    model::{Target, printable},
};

/// There is no target to load into.
#[derive(Debug, thiserror::Error)]
pub enum LoadTargetError {
    /// `--target` names none.
    #[error("there is no target {}: --target must be one of {configured}", printable(.name))]
    Unknown { name: String, configured: String },
    /// Without `--target` there must be one.
    #[error("several targets are configured: choose one of {configured} with --target")]
    Several { configured: String },
}

/// The target with this name, or else the only one.
pub fn chosen<'a>(
    config: &'a Config,
    targets: &[Arc<Target>],
    name: Option<&str>,
) -> Result<(&'a TargetConfig, Arc<Target>), LoadTargetError> {
    let configured = || targets.iter().map(|target| target.name.as_str()).collect::<Vec<_>>().join(", ");
    let mut both = config.targets.iter().zip(targets);
    let found = match (name, targets.len()) {
        (Some(name), _) => both.find(|(_, target)| target.name == name),
        (None, 1) => both.next(),
        (None, _) => return Err(LoadTargetError::Several { configured: configured() }),
    };
    let unknown = || LoadTargetError::Unknown { name: name.unwrap_or_default().to_owned(), configured: configured() };
    found.map(|(config, target)| (config, Arc::clone(target))).ok_or_else(unknown)
}
