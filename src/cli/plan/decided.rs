//! The decisions on all image uses, and the conflicts among them.

use std::collections::HashSet;

use crate::{
    mirror::{Conflicts, DesiredImage},
    model::{Decision, Destination, ImageUse, TraceEntry, Verdict},
};

/// All image uses with their decisions.
pub struct DecidedUses {
    pub uses: Vec<(ImageUse, Decision)>,
    conflicts: Conflicts,
}

impl DecidedUses {
    pub fn new(uses: Vec<(ImageUse, Decision)>) -> Self {
        let desired = uses.iter().filter_map(|(image_use, decision)| match &decision.verdict {
            Verdict::Mirror { source, destinations } => Some(DesiredImage {
                image_use: image_use.clone(),
                source: source.clone(),
                destinations: destinations.clone(),
            }),
            Verdict::Skip(_) | Verdict::Error { .. } => None,
        });
        let conflicts = Conflicts::among(desired);
        Self { uses, conflicts }
    }

    /// How many image uses are decided how, and how many destinations they have. Zeros are left out, except for mirrored ones.
    pub fn summary(&self) -> String {
        let (mut mirrored, mut skipped) = (0, 0);
        let mut destinations = HashSet::new();
        for (_, decision) in &self.uses {
            match &decision.verdict {
                Verdict::Mirror { destinations: all, .. } => {
                    mirrored += 1;
                    destinations.extend(all.iter().map(ToString::to_string));
                }
                Verdict::Skip(_) => skipped += 1,
                Verdict::Error { .. } => {}
            }
        }
        let mut summary = format!("{}: {mirrored} to be mirrored", counted(self.uses.len(), "image use"));
        for (count, word) in [(skipped, "skipped"), (self.undecided(), "undecided")] {
            if count > 0 {
                summary += &format!(", {count} {word}");
            }
        }
        summary += &format!("; {}", counted(destinations.len(), "destination"));
        match self.conflicts.destinations() {
            0 => summary,
            count => format!("{summary}, {count} with a conflict"),
        }
    }

    /// The number of destinations with a conflict; none without any.
    pub fn conflicts_summary(&self) -> Option<String> {
        match self.conflicts.destinations() {
            0 => None,
            1 => Some("1 destination has a conflict".to_owned()),
            count => Some(format!("{count} destinations have conflicts")),
        }
    }

    /// The number of undecided images; none without any.
    pub fn undecided_summary(&self) -> Option<String> {
        match self.undecided() {
            0 => None,
            1 => Some("1 image is undecided".to_owned()),
            count => Some(format!("{count} images are undecided")),
        }
    }

    fn undecided(&self) -> usize {
        self.uses.iter().filter(|(_, decision)| matches!(decision.verdict, Verdict::Error { .. })).count()
    }

    /// The other image that claims the destination, with its workload.
    pub fn conflict(&self, decision: &Decision, destination: &Destination) -> Option<&str> {
        match &decision.verdict {
            Verdict::Mirror { source, .. } => self.conflicts.other(destination, source),
            Verdict::Skip(_) | Verdict::Error { .. } => None,
        }
    }
}

fn counted(count: usize, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

/// The duration of a plugin's answer.
pub fn microseconds(entry: &TraceEntry) -> u64 {
    u64::try_from(entry.took.as_micros()).unwrap_or(u64::MAX)
}
