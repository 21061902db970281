//! The decisions for this cluster, with their conflicts.

use std::{path::PathBuf, sync::Arc};

use crate::{
    cli::{CommandError, build, collect, plan::DecidedUses},
    config::Config,
    model::Verdict,
    restore::DecidedUse,
};

/// Of the cluster, or of `files`.
pub async fn decided_uses(config: &Config, files: &[PathBuf]) -> Result<Vec<DecidedUse>, CommandError> {
    let (policy, _) = build::policy(config, Arc::new(())).await?;
    let uses = collect::image_uses(config, files).await?;
    let decisions = policy.decide(uses.clone()).await;
    // Plugins may log when they are dropped: before the report is printed.
    drop(policy);
    let decided = DecidedUses::new(uses.into_iter().zip(decisions).collect());
    let conflicts: Vec<Vec<Option<String>>> = decided
        .uses
        .iter()
        .map(|(_, decision)| match &decision.verdict {
            Verdict::Mirror { destinations, .. } => destinations
                .iter()
                .map(|destination| decided.conflict(decision, destination).map(str::to_owned))
                .collect(),
            Verdict::Skip(_) | Verdict::Error { .. } => Vec::new(),
        })
        .collect();
    let uses = decided.uses.into_iter().zip(conflicts);
    Ok(uses.map(|((image_use, decision), conflicts)| DecidedUse { image_use, decision, conflicts }).collect())
}
