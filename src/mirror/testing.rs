//! What several tests of the mirror need.

use std::sync::Arc;

use super::claims::Name;
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
pub fn name(repository: &str) -> Name {
    let destination =
        Destination { target: target("r.io"), repository: repository.into(), tag: Some("1".into()), digest: None };
    Name::of(&destination)
}
