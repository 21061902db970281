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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mirror::testing::target,
        model::{Destination, ImagePart, PartProblem},
    };

    fn digest(name: &str) -> Digest {
        Digest::sha256(name.as_bytes())
    }

    fn job(role: Role) -> CopyJob {
        let destination =
            Destination { target: target("r.io"), repository: "app".into(), tag: Some("1".into()), digest: None };
        CopyJob {
            image: "app:1".into(),
            source: "app:1".parse().unwrap(),
            destination,
            workloads: Vec::new(),
            running: Vec::new(),
            platforms: None,
            pull_secrets: Vec::new(),
            role,
            resolve_tag: false,
            owns_tag: false,
            is_damaged: false,
            repair_pause: None,
            other_destinations: Vec::new(),
            look_for_referrers: false,
            source_unavailable: None,
        }
    }

    /// `root` is what the target has, made of `meant`.
    fn judged(root: &str, meant: &str, at_source: Option<&str>, running: &[&str], role: Role) -> Wholeness {
        let job = job(role);
        let image = VerifiedImage {
            image: job.image.clone(),
            source: job.source.clone(),
            destination: job.destination.clone(),
            workloads: Vec::new(),
            wholeness: Wholeness::Unknown,
            reason: None,
            problems: Vec::new(),
            problem_count: 0,
            digest_at_target: None,
            digest_at_source: at_source.map(digest),
            running: running.iter().map(|name| digest(name)).collect(),
            parts: 0,
            bytes_read: 0,
        };
        let root = FoundRoot { manifest: None, digest: digest(root), tag_has: None };
        let (found, meant) = (Found::default(), digest(meant));
        let findings =
            Findings { job: &job, found: &found, root: &root, meant: &meant, platforms_unknown: None, notes: vec![] };
        judge(findings, &image).0
    }

    #[test]
    fn pods_that_run_what_was_made_for_the_target_run_what_the_tag_means() {
        for (at_source, running, expected) in [
            (None, &[][..], Wholeness::Whole),
            (None, &["made"], Wholeness::Whole),
            (None, &["source"], Wholeness::Whole),
            (None, &["older"], Wholeness::Drifted),
            (None, &["older", "made"], Wholeness::Whole),
            (Some("source"), &["older"], Wholeness::Whole),
            (Some("newer"), &["made"], Wholeness::Drifted),
        ] {
            let found = judged("made", "source", at_source, running, Role::Owner);
            assert_eq!(found, expected, "{at_source:?} {running:?}");
        }
    }

    #[test]
    fn what_belongs_to_another_image_is_not_there() {
        let conflict = || Role::Conflict { owner: "other of deployment a/b".into() };
        assert_eq!(judged("same", "same", Some("same"), &[], conflict()), Wholeness::Whole);
        assert_eq!(judged("other", "other", Some("same"), &[], conflict()), Wholeness::Missing);
        assert_eq!(judged("other", "other", None, &[], conflict()), Wholeness::Missing);
    }

    #[test]
    fn what_is_missing_is_worse_than_what_is_corrupt_and_that_than_what_is_unknown() {
        let found = Found::default();
        assert_eq!(judge_parts(&found), None);
        let mut seen = Vec::new();
        for kind in [PartProblemKind::Unknown, PartProblemKind::Corrupt, PartProblemKind::Missing] {
            found.add(PartProblem {
                digest: digest(kind.name()),
                part: ImagePart::ReferrerBlob,
                kind,
                message: "why".into(),
            });
            seen.push(judge_parts(&found).unwrap());
        }
        let results: Vec<Wholeness> = seen.iter().map(|(wholeness, _)| *wholeness).collect();
        assert_eq!(results, [Wholeness::Unknown, Wholeness::Corrupt, Wholeness::Incomplete]);
        let reason = format!("1 part is missing, first the referrer's blob {}: why", digest("missing"));
        assert_eq!(seen[2].1, reason);
    }
}
