//! Inspects whether the target already has a job's image, before anything is copied.

use tracing::warn;

use crate::{
    mirror::job::{CopyJob, Role},
    model::{Digest, Failure, FailureKind, Retry, TagMeaning},
    registry::{ManifestRef, TagOrDigest},
};

use super::{
    attempt::Attempt,
    endpoints::Endpoints,
    failure::{at_source, at_target},
    inspection::{DigestOrigin, Findings, Inspection, PartRequest},
    platform_selector::{Comparison, PlatformSelector},
    present_parts::has_all_parts,
    settings::CopySettings,
    target_lookup::{self, Lookup, is_same, lookup, noted_manifest},
};

/// Inspects source and target for one job.
pub(super) struct Inspector<'a> {
    pub job: &'a CopyJob,
    pub settings: &'a CopySettings,
    pub endpoints: &'a Endpoints<'a>,
    pub selector: &'a PlatformSelector<'a>,
    pub attempt: &'a Attempt<'a>,
    /// Whether to mend what the tag means at the target, whatever it means at the source now.
    pub mends_present: bool,
}

impl Inspector<'_> {
    /// Queries the target, and the source only if the digest is not known otherwise.
    ///
    /// Of what Pods report only the digest counts, and only if `trust_pods`: a Pod's repository says where it pulled the
    /// image from, not what the image reference means.
    pub async fn inspect(&self, trust_pods: bool) -> Result<Inspection, Failure> {
        let running = self.job.running.first().filter(|_| trust_pods && self.settings.pulls_by_digest(self.job));
        let (known, origin) = match (self.job.source.digest(), running) {
            (Some(digest), _) => (Some(digest), DigestOrigin::Reference),
            (None, Some(digest)) => (Some(digest), DigestOrigin::Pods),
            (None, None) => (None, DigestOrigin::Tag),
        };
        match self.job.tag() {
            Some(tag) => self.inspect_tag(tag, known, origin, trust_pods).await,
            None => self.inspect_digest(known, origin).await,
        }
    }

    async fn inspect_digest(&self, known: Option<&Digest>, origin: DigestOrigin) -> Result<Inspection, Failure> {
        let wanted = match known {
            Some(digest) => digest.clone(),
            None => self.resolve().await?,
        };
        self.attempt.saw_at_source(&wanted);
        self.attempt.tag_means(TagMeaning::Told);
        let part = self.selector.request(&wanted);
        let is_kept = self.ensure_keep_alive_tag(&wanted, part.as_ref()).await?;
        self.attempt.saw_at_target(is_kept.then_some(&wanted));
        if is_kept
            && let Comparison::Complete(digest) = self.selector.compare(part.as_ref(), &wanted, &wanted, false).await?
        {
            self.repair_is_due()?;
            if !self.job.is_damaged {
                return Ok(Inspection::UpToDate(digest));
            }
        }
        let findings = Findings { wanted, origin, present: Lookup::Missing, is_incomplete: is_kept, part };
        Ok(Inspection::Missing(Box::new(findings)))
    }

    async fn inspect_tag(
        &self,
        tag: &str,
        known: Option<&Digest>,
        origin: DigestOrigin,
        trust_pods: bool,
    ) -> Result<Inspection, Failure> {
        let present = self.look_up_tag(tag);
        if self.mends_present {
            return self.inspect_present(present.await?).await;
        }
        let mut origin = origin;
        let (present, mut wanted, is_from_pods) = match (known, self.digest_from_pods().filter(|_| trust_pods)) {
            (Some(digest), _) => (present.await?, digest.clone(), origin == DigestOrigin::Pods),
            (None, Some(running)) => match present.await? {
                Lookup::Found(present) if present == *running => (Lookup::Found(present), running.clone(), true),
                present => {
                    let resolved = self.resolve().await;
                    let (wanted, resolved_from) = self.or_last_known(resolved, &present)?;
                    origin = resolved_from;
                    (present, wanted, false)
                }
            },
            // The source is needed whatever the target answers.
            (None, None) => {
                let (present, resolved) = futures::join!(present, self.resolve());
                let present = present?;
                let (wanted, resolved_from) = self.or_last_known(resolved, &present)?;
                origin = resolved_from;
                (present, wanted, false)
            }
        };
        self.attempt.tag_means(match origin {
            DigestOrigin::Reference => TagMeaning::Told,
            DigestOrigin::Tag if !is_from_pods => TagMeaning::Told,
            DigestOrigin::Tag | DigestOrigin::Pods => TagMeaning::NotAsked,
            DigestOrigin::LastKnown => TagMeaning::LastKnown,
        });
        if origin != DigestOrigin::LastKnown {
            self.attempt.saw_at_source(&wanted);
        }
        let part = self.selector.request(&wanted);
        let mut comparison = self.compare_present(part.as_ref(), &present, &wanted, is_from_pods).await?;
        // Pods that pull from the target may run an index that was made for it, and that the source does not have.
        if is_from_pods
            && part.is_some()
            && !matches!(comparison, Comparison::Complete(_))
            && let Some(digest_at_source) = target_lookup::source_digest(&self.endpoints.target, &wanted).await?
        {
            wanted = digest_at_source;
            comparison = self.compare_present(part.as_ref(), &present, &wanted, false).await?;
        }
        // What is wanted is there, as far as digests tell.
        let is_repair = match comparison {
            Comparison::Complete(_) => true,
            Comparison::Incomplete => self.attempt.is_corrupt(),
            Comparison::Different => false,
        };
        if is_repair {
            self.repair_is_due()?;
        }
        let is_incomplete = match comparison {
            Comparison::Complete(digest) if !self.job.is_damaged => return Ok(Inspection::UpToDate(digest)),
            // An index that was made for the target has another digest, and is made again.
            Comparison::Complete(digest) => digest == wanted,
            Comparison::Incomplete => true,
            Comparison::Different => false,
        };
        Ok(Inspection::Missing(Box::new(Findings { wanted, origin, present, is_incomplete, part })))
    }

    /// For a repair of what the source's tag does not mean any more, and may still have by its digest.
    async fn inspect_present(&self, present: Lookup<Digest>) -> Result<Inspection, Failure> {
        let wanted = match (&present, self.job.running.as_slice()) {
            (Lookup::Found(present), _) => {
                // Of an index that was made for the target the source has the one that it was made from.
                let made_from = target_lookup::source_digest(&self.endpoints.target, present).await?;
                made_from.unwrap_or_else(|| present.clone())
            }
            (_, [digest]) => digest.clone(),
            _ => return Err(self.nothing_known()),
        };
        self.attempt.tag_is_kept();
        let part = self.selector.request(&wanted);
        let is_incomplete = match self.compare_present(part.as_ref(), &present, &wanted, false).await? {
            Comparison::Complete(digest) => digest == wanted,
            Comparison::Incomplete => true,
            Comparison::Different => false,
        };
        let origin = DigestOrigin::LastKnown;
        Ok(Inspection::Missing(Box::new(Findings { wanted, origin, present, is_incomplete, part })))
    }

    fn nothing_known(&self) -> Failure {
        Failure {
            kind: FailureKind::Source,
            message: format!(
                "{} has nothing under the tag, and the digest that it had is not known",
                self.job.destination
            ),
            retry: Retry::Later,
        }
    }

    async fn compare_present(
        &self,
        part: Option<&PartRequest>,
        present: &Lookup<Digest>,
        wanted: &Digest,
        may_be_made: bool,
    ) -> Result<Comparison, Failure> {
        match present.as_found() {
            Some(present) => self.selector.compare(part, present, wanted, may_be_made).await,
            None => Ok(Comparison::Different),
        }
    }

    /// Whether the target may be written to; decided from the findings alone.
    pub fn may_write(&self, findings: &Findings) -> Result<(), Failure> {
        if findings.is_incomplete {
            return Ok(());
        }
        let is_conflict = matches!(self.job.role, Role::Conflict { .. });
        match &findings.present {
            // What must not be moved has to be known, and so has what another image owns.
            Lookup::Unknown(failure) if is_conflict || !self.may_move_tag() => return Err(failure.clone()),
            // What nobody can pull need not stay.
            Lookup::Found(present) if !self.may_move_tag() && !self.attempt.is_corrupt() => {
                return Err(self.different_digest(present, findings));
            }
            Lookup::Found(_) | Lookup::Missing | Lookup::Unknown(_) => {}
        }
        match &self.job.role {
            Role::Conflict { owner } => Err(self.conflict(owner)),
            Role::Owner | Role::ByDigest => Ok(()),
        }
    }

    fn may_move_tag(&self) -> bool {
        self.settings.allow_different_digest_repush
            || matches!(self.job.role, Role::Conflict { .. })
            || self.job.tag().is_none_or(|tag| tag.eq_ignore_ascii_case("latest"))
    }

    fn different_digest(&self, present: &Digest, findings: &Findings) -> Failure {
        Failure {
            kind: FailureKind::DifferentDigest,
            message: format!(
                "{} has digest {present}, the source has {}, and allowDifferentDigestRepush is false",
                self.job.destination, findings.wanted
            ),
            retry: Retry::Later,
        }
    }

    fn conflict(&self, owner: &str) -> Failure {
        Failure {
            kind: FailureKind::Conflict,
            message: format!(
                "conflict: {} of {} and {owner} are different images for the destination {}; add $registry to the \
                 repository prefix, or a pathMap rule",
                self.job.image,
                self.job.workload(),
                self.job.destination
            ),
            retry: Retry::Later,
        }
    }

    /// Whether the target keeps this digest by its keep-alive tag. If it has the digest under another tag, which may
    /// move, it is kept from now on: by the time the tag moves the source may have deleted it.
    async fn ensure_keep_alive_tag(&self, digest: &Digest, part: Option<&PartRequest>) -> Result<bool, Failure> {
        let target = &self.endpoints.target;
        let kept = ManifestRef::KeptDigest(digest);
        match lookup(target, target.find(kept).await).await? {
            Lookup::Found(present) => return is_same(target, &present, digest).await,
            Lookup::Unknown(_) => return Ok(false),
            Lookup::Missing if self.settings.dry_run => return Ok(false),
            Lookup::Missing => {}
        }
        let manifest = noted_manifest(target, digest, self.attempt).await;
        let Some(manifest) = lookup(target, manifest).await?.found() else { return Ok(false) };
        // Not every registry looks for them when it takes the tag, and none asks again whether it has what the tag names.
        if !has_all_parts(target, &manifest, part.map(|part| &part.platforms)).await? {
            return Ok(false);
        }
        match target.put(kept, &manifest).await {
            // A part of it is gone, and the whole image has to be copied again.
            Err(error) if error.is_rejection() => return Ok(false),
            put => put.map_err(|error| at_target(&error))?,
        }
        match target.find(kept).await.map_err(|error| at_target(&error))? {
            Some(present) => is_same(target, &present, digest).await,
            None => Ok(false),
        }
    }

    async fn look_up_tag(&self, tag: &str) -> Result<Lookup<Digest>, Failure> {
        let target = &self.endpoints.target;
        let present = lookup(target, target.find(ManifestRef::Tag(tag)).await).await?;
        match &present {
            Lookup::Found(digest) => self.attempt.saw_at_target(Some(digest)),
            Lookup::Missing => self.attempt.saw_at_target(None),
            Lookup::Unknown(_) => {}
        }
        if let Lookup::Unknown(error) = &present {
            warn!(
                workload = self.job.workload(),
                source = %self.job.source,
                target = %self.job.destination,
                %error,
                "looking up the tag failed; the image is pushed again"
            );
        }
        Ok(present)
    }

    /// The digest that all Pods run. If they differ only the source knows the tag's present meaning, and a pass always
    /// resolves it there.
    fn digest_from_pods(&self) -> Option<&Digest> {
        match self.job.running.as_slice() {
            [digest] if !self.job.resolve_tag => Some(digest),
            _ => None,
        }
    }

    /// What the tag is at the source. If that is not to be had and the target has nothing, what all Pods run, for further sources,
    /// which are asked by digest.
    fn or_last_known(
        &self,
        resolved: Result<Digest, Failure>,
        present: &Lookup<Digest>,
    ) -> Result<(Digest, DigestOrigin), Failure> {
        let failure = match resolved {
            Ok(digest) => return Ok((digest, DigestOrigin::Tag)),
            Err(failure) => failure,
        };
        let Endpoints { further, source_unavailable, .. } = self.endpoints;
        let known = match (present, self.job.running.as_slice()) {
            // A tag that must not move would stay as it is for ever.
            (Lookup::Missing, [digest]) if !further.is_empty() && self.may_move_tag() => Some(digest.clone()),
            _ => None,
        };
        if source_unavailable.is_none() {
            further.source_failed(&failure);
        }
        known.map(|known| (known, DigestOrigin::LastKnown)).ok_or(failure)
    }

    /// Fails if nothing but a repair is to be done, and repairs are paused.
    pub fn repair_is_due(&self) -> Result<(), Failure> {
        self.job.repair_pause.as_ref().map_or(Ok(()), |pause| Err(pause.failure.clone()))
    }

    async fn resolve(&self) -> Result<Digest, Failure> {
        self.endpoints.source_is_available()?;
        let tag = self.job.source.tag().unwrap_or("latest");
        let found = self.endpoints.source.head(TagOrDigest::Tag(tag)).await.map_err(|error| at_source(&error))?;
        let Some(digest) = found else {
            self.attempt.saw_no_tag();
            let mut message = format!("{} not found: the registry has no such repository or tag", self.job.source);
            let mut retry = Retry::Later;
            if let Some((tried, is_incomplete)) = self.endpoints.source.tried().await {
                message += &format!("; {tried}");
                retry = if is_incomplete { Retry::Soon } else { retry };
            }
            return Err(Failure { kind: FailureKind::Source, message, retry });
        };
        self.attempt.source_answers();
        Ok(digest)
    }
}
