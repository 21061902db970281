//! Shared by unit tests of this module.

use std::sync::Arc;

use super::{
    destination_key::DestinationKey,
    job::{CopyJob, Role},
};
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

/// A job for an image, at a repository of `r.io`.
pub fn job(image: &str) -> CopyJob {
    CopyJob {
        image: image.to_owned(),
        source: image.parse().unwrap(),
        destination: key("app").destination(&image.parse().unwrap()),
        workloads: Vec::new(),
        running: Vec::new(),
        other_destinations: Vec::new(),
        platforms: None,
        pull_secrets: Vec::new(),
        role: Role::Owner,
        resolve_tag: false,
        owns_tag: false,
        is_damaged: false,
        repair_pause: None,
        look_for_referrers: false,
        source_unavailable: None,
    }
}

/// The tag `1` of a repository at `r.io`.
pub fn key(repository: &str) -> DestinationKey {
    let destination =
        Destination { target: target("r.io"), repository: repository.into(), tag: Some("1".into()), digest: None };
    DestinationKey::of(&destination)
}
