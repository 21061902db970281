//! From the decisions back to the nodes: which names a container runtime can be told to find in the mirror, the files that
//! tell it, and a report. Pure: the same decisions make the same bytes. Never makes a rule by which a name could get another
//! image.

mod access;
mod attempt;
mod files;
mod holdings;
mod images;
mod obstacle;
mod quote;
mod renames;
mod report;

mod rule;
mod runtime;
mod solution;
mod solver;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use access::{MirrorAccess, MirrorLogin};
pub use attempt::{Candidate, Restored, Wanted, restore};
pub use files::File;
pub use images::DecidedUse;
pub use report::{
    Counts, Difference, DifferenceKind, LaidFile, PulledBy, Report, ReportedImage, ReportedRule, ReportedTarget, Status,
};
pub use rule::{Rule, Scope};
pub use runtime::Runtime;
