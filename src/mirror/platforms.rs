//! Which platforms of an index are wanted, and which of its entries that means.

use std::collections::BTreeSet;

use regex::Regex;

use crate::{
    model::{Digest, Platform, Reference},
    registry::IndexEntry,
};

use super::job::CopyJob;

/// Which platforms of an index are copied.
#[derive(Clone, Debug, Default)]
pub struct PlatformSettings {
    /// Every one, whatever else is asked for.
    pub all: bool,
    /// These, for every image.
    pub listed: BTreeSet<Platform>,
    /// And those of the nodes that run the image, or may; every one where that is not known.
    pub of_nodes: bool,
    /// Of which images and platforms (`image|platform`) it is known that they are not to be had.
    pub expected_missing: Vec<Regex>,
}

/// What is wanted of an index.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// Everything.
    All,
    /// What is for these platforms, and what is for none in particular.
    Only(BTreeSet<Platform>),
}

/// Entries of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Their digests.
    pub kept: BTreeSet<Digest>,
    /// The platforms that were wanted and that the index does not have.
    pub missing: Vec<Platform>,
}

impl PlatformSettings {
    /// What is wanted of a job's image.
    pub fn wanted(&self, job: &CopyJob) -> Wanted {
        let of_nodes = match &job.platforms {
            _ if self.all => return Wanted::All,
            _ if !self.of_nodes => BTreeSet::new(),
            Some(platforms) => platforms.clone(),
            None => return Wanted::All,
        };
        Wanted::Only(self.listed.union(&of_nodes).cloned().collect())
    }

    /// Whether it is known that an image does not exist for a platform.
    pub fn expects_missing(&self, image: &Reference, platform: &Platform) -> bool {
        let text = format!("{image}|{platform}");
        self.expected_missing.iter().any(|pattern| pattern.is_match(&text))
    }
}

impl Wanted {
    /// The entries that are meant; all of them where none is for a platform that is wanted. An entry that is for no
    /// platform in particular belongs to every choice, but for what is said about an image that does not: an
    /// attestation goes with its image.
    pub fn choose(&self, entries: &[IndexEntry]) -> Choice {
        let whole = |missing| Choice { kept: entries.iter().map(|entry| entry.digest.clone()).collect(), missing };
        let Self::Only(wanted) = self else { return whole(Vec::new()) };
        let is_wanted = |entry: &&IndexEntry| {
            entry.platform.as_ref().is_none_or(|there| wanted.iter().any(|asked| asked.covers(there)))
        };
        let has =
            |asked: &Platform| entries.iter().filter_map(|entry| entry.platform.as_ref()).any(|p| asked.covers(p));
        let (present, missing): (Vec<_>, Vec<_>) = wanted.iter().cloned().partition(has);
        if present.is_empty() {
            return whole(missing);
        }
        let unwanted: BTreeSet<&Digest> =
            entries.iter().filter(|entry| !is_wanted(entry)).map(|entry| &entry.digest).collect();
        let kept = entries.iter().filter(is_wanted);
        let kept = kept.filter(|entry| entry.attested.as_ref().is_none_or(|attested| !unwanted.contains(attested)));
        Choice { kept: kept.map(|entry| entry.digest.clone()).collect(), missing }
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

    fn only(platforms: &[&str]) -> Wanted {
        Wanted::Only(platforms.iter().map(|platform| platform.parse().unwrap()).collect())
    }

    #[track_caller]
    fn assert_chosen(wanted: &Wanted, kept: &[u8], missing: &[&str]) {
        let choice = wanted.choose(&entries());
        assert_eq!(choice.kept, kept.iter().map(|number| digest(*number)).collect(), "{wanted:?}");
        assert_eq!(choice.missing.iter().map(ToString::to_string).collect::<Vec<_>>(), missing, "{wanted:?}");
    }

    #[test]
    fn a_platform_comes_with_its_attestation_and_with_what_is_for_all() {
        assert_chosen(&only(&["amd64"]), &[1, 11, 20], &[]);
        assert_chosen(&only(&["arm64", "arm"]), &[2, 3, 12, 13, 20], &[]);
        assert_chosen(&Wanted::All, &[1, 2, 3, 11, 12, 13, 20], &[]);
    }

    #[test]
    fn a_missing_platform_is_named_and_without_any_all_is_taken() {
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
            image: "app:1".into(),
            source: "app:1".parse().unwrap(),
            destination,
            workloads: Vec::new(),
            running: Vec::new(),
            platforms: platforms.map(|platforms| platforms.iter().map(|text| text.parse().unwrap()).collect()),
            role: super::super::job::Role::Holder,
            resolve_tag: false,
            holds_tag: false,
        }
    }

    #[test]
    fn what_is_listed_and_what_nodes_need_is_wanted() {
        let listed = BTreeSet::from(["arm64".parse().unwrap()]);
        for (all, listed, of_nodes, nodes, expected) in [
            (false, listed.clone(), false, None, only(&["arm64"])),
            (false, listed.clone(), false, Some(&["amd64"][..]), only(&["arm64"])),
            (false, listed.clone(), true, Some(&["amd64"]), only(&["amd64", "arm64"])),
            (false, listed.clone(), true, None, Wanted::All),
            (false, BTreeSet::new(), true, Some(&["amd64"]), only(&["amd64"])),
            (false, BTreeSet::new(), true, None, Wanted::All),
            (true, listed, true, Some(&["amd64"]), Wanted::All),
        ] {
            let settings = PlatformSettings { all, listed, of_nodes, expected_missing: Vec::new() };
            assert_eq!(settings.wanted(&job(nodes)), expected, "{settings:?} {nodes:?}");
        }
    }

    #[test]
    fn expected_absences_are_matched_by_image_and_platform() {
        let expected_missing = vec![Regex::new(r"^docker\.io/library/nginx:.*\|linux/arm64$").unwrap()];
        let settings = PlatformSettings { expected_missing, ..PlatformSettings::default() };
        let expects =
            |image: &str, platform: &str| settings.expects_missing(&image.parse().unwrap(), &platform.parse().unwrap());
        assert!(expects("nginx:1.27", "arm64"));
        assert!(!expects("nginx:1.27", "amd64") && !expects("quay.io/nginx:1.27", "arm64"));
    }
}
