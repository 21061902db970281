//! Shared by unit tests of this module.

use std::sync::Arc;

use super::destination_key::DestinationKey;
use crate::model::{Destination, Target, TargetKind};

/// A target at this registry.
pub fn target(registry: &str) -> Arc<Target> {
    Arc::new(Target {
        name: "default".into(),
        kind: TargetKind::Docker,
        registry: registry.into(),
        repo_prefix: String::new(),
    })
}

/// The tag `1` of a repository at `r.io`.
pub fn key(repository: &str) -> DestinationKey {
    let destination =
        Destination { target: target("r.io"), repository: repository.into(), tag: Some("1".into()), digest: None };
    DestinationKey::of(&destination)
}
