//! From what was found to a result.

use super::{
    found::Found,
    root::{FoundRoot, conflict},
};
use crate::{
    mirror::job::{CopyJob, Role},
    model::{Digest, PartProblemKind, VerifiedImage, Wholeness},
};

/// What is known once everything was looked at.
pub(super) struct Findings<'a> {
    pub job: &'a CopyJob,
    pub found: &'a Found,
    pub root: &'a FoundRoot,
    /// The source's digest that the target's stands for: its own, or the one that it was made from.
    pub meant: &'a Digest,
    /// Why it is not known which platforms the target is to have.
    pub platforms_unknown: Option<String>,
    /// What a whole image could not be compared with.
    pub notes: Vec<String>,
}

/// The result if a part is wrong, and the reason.
pub(super) fn judge_parts(found: &Found) -> Option<(Wholeness, String)> {
    let kinds = [
        (PartProblemKind::Missing, Wholeness::Incomplete, "missing"),
        (PartProblemKind::Corrupt, Wholeness::Corrupt, "corrupt"),
        (PartProblemKind::Unknown, Wholeness::Unknown, "not verified"),
    ];
    let (kind, wholeness, word) = kinds.into_iter().find(|(kind, ..)| found.count(*kind) > 0)?;
    let count = found.count(kind);
    let first = found.problems().into_iter().find(|problem| problem.kind == kind);
    let first = first.map_or_else(String::new, |problem| {
        format!(", first the {} {}: {}", problem.part.text(), problem.digest, problem.message)
    });
    Some((wholeness, format!("{count} {} {word}{first}", if count == 1 { "part is" } else { "parts are" })))
}

/// The result, and the reason if there is something to tell.
pub(super) fn judge(findings: Findings<'_>, image: &VerifiedImage) -> (Wholeness, Option<String>) {
    let Findings { job, found, root, meant, platforms_unknown, notes } = findings;
    if let Some((wholeness, reason)) = judge_parts(found) {
        return (wholeness, Some(reason));
    }
    if let Some(reason) = platforms_unknown {
        return (Wholeness::Unknown, Some(reason));
    }
    // What a workload names by its digest was looked up by it.
    if let Some(tag_has) = &root.tag_has {
        let (tag, digest) = (job.tag().unwrap_or_default(), &root.digest);
        let reason = format!("the target has {digest}, which the workload names, but its tag {tag} has {tag_has}");
        return (Wholeness::Drifted, Some(reason));
    }
    if let Role::Conflict { owner } = &job.role
        && image.digest_at_source.as_ref() != Some(meant)
    {
        return (Wholeness::Missing, Some(conflict(owner)));
    }
    if let Some(at_source) = &image.digest_at_source
        && at_source != meant
    {
        return (Wholeness::Drifted, Some(format!("the source has {at_source}, the target {meant}")));
    }
    // Without the source the Pods tell what the tag meant. They may run what was made for the target.
    let is_running = |digest: &Digest| image.running.contains(digest);
    if image.digest_at_source.is_none()
        && let Some(running) = image.running.first()
        && !is_running(meant)
        && !is_running(&root.digest)
    {
        return (Wholeness::Drifted, Some(format!("Pods run {running}, the target has {meant}")));
    }
    (Wholeness::Whole, (!notes.is_empty()).then(|| notes.join("; ")))
}
