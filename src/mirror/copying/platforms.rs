//! Which platforms of an index are requested, and which of its entries these are.

use std::collections::BTreeSet;

use regex::Regex;

use crate::{
    mirror::job::CopyJob,
    model::{Digest, Platform, Reference},
    registry::IndexEntry,
};

/// Which platforms of an index are copied.
#[derive(Clone, Debug, Default)]
pub struct PlatformSettings {
    /// All platforms, whatever the other fields.
    pub all: bool,
    /// These, for every image.
    pub listed: BTreeSet<Platform>,
    /// Also those of the nodes that run the image or may run it; all if these are not known.
    pub of_nodes: bool,
    /// Images and platforms (`image|platform`) that are known not to exist; no warning is logged for them.
    pub expected_missing: Vec<Regex>,
}

/// The requested platforms of an index.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RequestedPlatforms {
    /// All entries.
    All,
    /// The entries for these platforms, and those without a platform.
    Only(BTreeSet<Platform>),
}

/// The entries of an index that match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatchingEntries {
    /// Their digests.
    pub kept: BTreeSet<Digest>,
    /// The requested platforms that the index does not have.
    pub missing: Vec<Platform>,
}

impl PlatformSettings {
    /// The requested platforms of a job's image.
    pub fn requested(&self, job: &CopyJob) -> RequestedPlatforms {
        let of_nodes = match &job.platforms {
            _ if self.all => return RequestedPlatforms::All,
            _ if !self.of_nodes => BTreeSet::new(),
            Some(platforms) => platforms.clone(),
            None => return RequestedPlatforms::All,
        };
        RequestedPlatforms::Only(self.listed.union(&of_nodes).cloned().collect())
    }

    /// Whether an image is known not to exist for a platform.
    pub fn expects_missing(&self, image: &Reference, platform: &Platform) -> bool {
        let text = format!("{image}|{platform}");
        self.expected_missing.iter().any(|pattern| pattern.is_match(&text))
    }
}

impl RequestedPlatforms {
    /// The matching entries; all if none matches. Entries without a platform always match, except attestations: these
    /// match if their image does.
    pub fn matching(&self, entries: &[IndexEntry]) -> MatchingEntries {
        let whole =
            |missing| MatchingEntries { kept: entries.iter().map(|entry| entry.digest.clone()).collect(), missing };
        let Self::Only(requested) = self else { return whole(Vec::new()) };
        let is_requested = |entry: &&IndexEntry| {
            entry.platform.as_ref().is_none_or(|there| requested.iter().any(|requested| requested.covers(there)))
        };
        let has = |requested: &Platform| {
            entries.iter().filter_map(|entry| entry.platform.as_ref()).any(|there| requested.covers(there))
        };
        let (present, missing): (Vec<_>, Vec<_>) = requested.iter().cloned().partition(has);
        if present.is_empty() {
            return whole(missing);
        }
        let excluded: BTreeSet<&Digest> =
            entries.iter().filter(|entry| !is_requested(entry)).map(|entry| &entry.digest).collect();
        let kept = entries.iter().filter(is_requested);
        let kept = kept.filter(|entry| entry.attested.as_ref().is_none_or(|attested| !excluded.contains(attested)));
        MatchingEntries { kept: kept.map(|entry| entry.digest.clone()).collect(), missing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u8) -> Digest {
        Digest::sha256(&[number])
    }

    /// An index with an attestation for each of three images, and a signature of the whole.
    fn entries() -> Vec<IndexEntry> {
        let image = |number, platform: &str| IndexEntry {
            digest: digest(number),
            platform: Some(platform.parse().unwrap()),
            attested: None,
        };
        let attestation =
            |number, of| IndexEntry { digest: digest(number), platform: None, attested: Some(digest(of)) };
        vec![
            image(1, "linux/amd64"),
            image(2, "linux/arm64/v8"),
            image(3, "linux/arm/v6"),
            attestation(11, 1),
            attestation(12, 2),
            attestation(13, 3),
            IndexEntry { digest: digest(20), platform: None, attested: None },
        ]
    }

    fn only(platforms: &[&str]) -> RequestedPlatforms {
        RequestedPlatforms::Only(platforms.iter().map(|platform| platform.parse().unwrap()).collect())
    }

    #[track_caller]
    fn assert_chosen(requested: &RequestedPlatforms, kept: &[u8], missing: &[&str]) {
        let matching = requested.matching(&entries());
        assert_eq!(matching.kept, kept.iter().map(|number| digest(*number)).collect(), "{requested:?}");
        assert_eq!(matching.missing.iter().map(ToString::to_string).collect::<Vec<_>>(), missing, "{requested:?}");
    }

    #[test]
    fn a_platform_includes_its_attestation_and_entries_without_a_platform() {
        assert_chosen(&only(&["amd64"]), &[1, 11, 20], &[]);
        assert_chosen(&only(&["arm64", "arm"]), &[2, 3, 12, 13, 20], &[]);
        assert_chosen(&RequestedPlatforms::All, &[1, 2, 3, 11, 12, 13, 20], &[]);
    }

    #[test]
    fn reports_missing_platforms_and_chooses_all_if_none_matches() {
        assert_chosen(&only(&["amd64", "s390x"]), &[1, 11, 20], &["linux/s390x"]);
        assert_chosen(
            &only(&["s390x", "windows/amd64"]),
            &[1, 2, 3, 11, 12, 13, 20],
            &["linux/s390x", "windows/amd64"],
        );
    }

    fn job(platforms: Option<&[&str]>) -> CopyJob {
        let target = crate::model::Target {
            name: "default".into(),
            kind: crate::model::TargetKind::Docker,
            registry: "r.io".into(),
            repo_prefix: String::new(),
        };
        let destination = crate::model::Destination {
            target: target.into(),
            repository: "app".into(),
            tag: Some("1".into()),
            digest: None,
        };
        CopyJob {
            is_damaged: false,
            other_destinations: Vec::new(),
            repair_pause: None,
            look_for_referrers: false,
            source_unavailable: None,
            image: "app:1".into(),
            source: "app:1".parse().unwrap(),
            destination,
            workloads: Vec::new(),
            running: Vec::new(),
            platforms: platforms.map(|platforms| platforms.iter().map(|text| text.parse().unwrap()).collect()),
            pull_secrets: Vec::new(),
            role: crate::mirror::job::Role::Owner,
            resolve_tag: false,
            owns_tag: false,
        }
    }

    #[test]
    fn requests_listed_platforms_and_those_of_nodes() {
        let listed = BTreeSet::from(["arm64".parse().unwrap()]);
        for (all, listed, of_nodes, nodes, expected) in [
            (false, listed.clone(), false, None, only(&["arm64"])),
            (false, listed.clone(), false, Some(&["amd64"][..]), only(&["arm64"])),
            (false, listed.clone(), true, Some(&["amd64"]), only(&["amd64", "arm64"])),
            (false, listed.clone(), true, None, RequestedPlatforms::All),
            (false, BTreeSet::new(), true, Some(&["amd64"]), only(&["amd64"])),
            (false, BTreeSet::new(), true, None, RequestedPlatforms::All),
            (true, listed, true, Some(&["amd64"]), RequestedPlatforms::All),
        ] {
            let settings = PlatformSettings { all, listed, of_nodes, expected_missing: Vec::new() };
            assert_eq!(settings.requested(&job(nodes)), expected, "{settings:?} {nodes:?}");
        }
    }

    #[test]
    fn expected_absences_match_image_and_platform() {
        let expected_missing = vec![Regex::new(r"^docker\.io/library/nginx:.*\|linux/arm64$").unwrap()];
        let settings = PlatformSettings { expected_missing, ..PlatformSettings::default() };
        let expects =
            |image: &str, platform: &str| settings.expects_missing(&image.parse().unwrap(), &platform.parse().unwrap());
        assert!(expects("nginx:1.27", "arm64"));
        assert!(!expects("nginx:1.27", "amd64") && !expects("quay.io/nginx:1.27", "arm64"));
    }
}
