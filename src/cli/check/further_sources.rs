//! One further source: reached and logged in, or opened.

use super::{
    deadline::within_deadline,
    finding::{Finding, Group},
};
use crate::{
    config::{FurtherSourceConfig, FurtherSourcePlace},
    model::TargetAddress,
    registry::{LayoutSource, ProbeError, Registries},
};

/// The repository that a login is tried for: which ones there are is not known.
const NEUTRAL_REPOSITORY: &str = "k8s-copycat-check";

/// None for a target, which is checked as one.
pub async fn further_source(registries: &Registries, source: &FurtherSourceConfig) -> Option<Finding> {
    let name = source.to_string();
    match &source.place {
        FurtherSourcePlace::Target(_) => None,
        FurtherSourcePlace::Registry(registry) => {
            let (host, path) = TargetAddress::host_and_path(registry);
            let repository =
                if path.is_empty() { NEUTRAL_REPOSITORY.to_owned() } else { format!("{path}/{NEUTRAL_REPOSITORY}") };
            let probe = registries.probe(host, &repository);
            let answer = async {
                within_deadline(probe.resolve()).await?;
                let uses_tls = within_deadline(probe.connect()).await?;
                within_deadline(probe.log_in()).await?;
                Ok::<bool, ProbeError>(uses_tls)
            };
            Some(match answer.await {
                Ok(uses_tls) => {
                    let over = if uses_tls { "TLS" } else { "plain HTTP" };
                    Group::Sources.ok(name, format!("reached over {over}, {}", probe.account()))
                }
                Err(error) => Group::Sources.failed_probe(name, error),
            })
        }
        FurtherSourcePlace::Layout(path) => {
            let read = async {
                let read = async { LayoutSource::open(path.clone()).await?.entries().await };
                // It may be meant to be mounted when it is needed.
                let remedy = "mount it before it is needed, or correct the path in sources".to_owned();
                read.await.map_err(|error| ProbeError { problem: error.to_string(), remedy })
            };
            Some(match within_deadline(read).await {
                Ok(entries) => Group::Sources.ok(name, format!("an image layout with {} entries", entries.len())),
                Err(ProbeError { problem, remedy }) => Group::Sources.warning(name, problem, remedy),
            })
        }
    }
}
