//! Converts image uses and targets to the types of the contract.

use super::bindings::types;
use crate::model::{ImageUse, Reference, Target};

/// `image` is the parsed reference of `image_use`.
pub fn image_use(image_use: &ImageUse, image: &Reference) -> types::ImageUse {
    let workload = &image_use.workload;
    let pairs = |map: &std::collections::BTreeMap<String, String>| {
        map.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    types::ImageUse {
        workload: types::Workload {
            kind: workload.id.kind.name().to_owned(),
            namespace: workload.id.namespace.clone(),
            name: workload.id.name.clone(),
            owners: workload
                .owners
                .iter()
                .map(|owner| types::Owner {
                    group: owner.group.clone(),
                    kind: owner.kind.clone(),
                    name: owner.name.clone(),
                })
                .collect(),
            labels: pairs(&workload.labels),
            annotations: pairs(&workload.annotations),
            namespace_labels: pairs(&workload.namespace_labels),
        },
        container: types::Container {
            name: image_use.container.name.clone(),
            kind: image_use.container.kind.name().to_owned(),
        },
        image: types::Image {
            as_written: image_use.image.clone(),
            registry: image.registry().to_owned(),
            repository: image.repository().to_owned(),
            tag: image.tag().map(str::to_owned),
            digest: image.digest().map(ToString::to_string),
        },
        facts: Vec::new(),
    }
}

pub fn target(target: &Target) -> types::Target {
    types::Target {
        name: target.name.clone(),
        kind: target.kind.name().to_owned(),
        registry: target.registry.clone(),
        prefix: target.repo_prefix.clone(),
    }
}
