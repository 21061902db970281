//! What is to be where, by what `plan` says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{churn::Churn, registries::Registries};
use crate::support::{Metrics, faulty::keeping_tag};

/// What `plan` says of a cluster.
pub struct Plan {
    rows: Vec<Row>,
}

struct Row {
    /// `name container image`.
    image_use: String,
    /// Where it comes from and where it goes; none where that can't be said.
    copy: Option<Copy>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Copy {
    source: Name,
    target: Name,
}

/// `host/repository[:tag][@digest]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// What a tag at the target may mean.
#[derive(Default)]
struct TagDigests {
    /// For those who follow it.
    followed: BTreeSet<String>,
    /// For those who pin a digest of it.
    pinned: BTreeSet<String>,
}

impl Name {
    fn read(text: &str) -> Self {
        let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
        let (host, path) = rest.split_once('/').unwrap();
        let (repository, tag) = path.rsplit_once(':').map_or((path, None), |(path, tag)| (path, Some(tag)));
        Self {
            host: host.to_owned(),
            repository: repository.to_owned(),
            tag: tag.map(str::to_owned),
            digest: digest.map(str::to_owned),
        }
    }
}

impl Plan {
    /// From its JSON lines.
    pub fn read(lines: &str) -> Self {
        let rows = lines.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let image_use = [&line["workload"]["name"], &line["container"], &line["image"]].map(text).join(" ");
            let copy = (line["decision"] == "mirror").then(|| {
                let targets = line["targets"].as_array().unwrap();
                assert_eq!(targets.len(), 1, "{line}");
                Copy { source: Name::read(&text(&line["source"])), target: Name::read(&text(&targets[0]["reference"])) }
            });
            Row { image_use, copy }
        });
        Self { rows: rows.collect() }
    }

    /// Where it differs from what there is in the cluster.
    pub fn differences(&self, churn: &Churn) -> Vec<String> {
        let mut planned: Vec<&str> = self.rows.iter().map(|row| row.image_use.as_str()).collect();
        planned.sort_unstable();
        let uses = churn.uses();
        let there: BTreeSet<&str> = uses.iter().map(String::as_str).collect();
        let told: BTreeSet<&str> = planned.iter().copied().collect();
        let mut differences: Vec<String> = Vec::new();
        differences.extend(there.difference(&told).map(|image_use| format!("not in the plan: {image_use}")));
        differences.extend(told.difference(&there).map(|image_use| format!("not in the cluster: {image_use}")));
        if planned.len() != uses.len() {
            differences.push(format!("{} image uses in the plan, {} in the cluster", planned.len(), uses.len()));
        }
        differences
    }

    /// What of it is not at the target, and which gauges say something else.
    pub fn wrongs(&self, registries: &Registries, metrics: &Metrics) -> Vec<String> {
        let copies: BTreeSet<&Copy> = self.rows.iter().filter_map(|row| row.copy.as_ref()).collect();
        let mut wrongs = Vec::new();
        let (mut there, mut missing) = (0, 0);
        // Digests that a tag at the target may mean: that of those who follow it, or else of any who pin it.
        let mut tags: BTreeMap<(&str, &str), TagDigests> = BTreeMap::new();
        for copy in &copies {
            let (source, target) = (&copy.source, &copy.target);
            let wanted = source.digest.as_deref().or(source.tag.as_deref()).unwrap();
            let Some(digest) = registries.digest(&source.host, &source.repository, wanted) else {
                missing += 1;
                continue;
            };
            there += 1;
            // What the tag means as well is kept by a tag of its own once that moves away.
            let is_tagged = |tag| registries.target.digest(&target.repository, tag).as_ref() == Some(&digest);
            let kept = source.digest.iter().filter(|_| !target.tag.as_deref().is_some_and(is_tagged));
            let kept: Vec<String> = kept.map(|digest| keeping_tag(digest)).collect();
            for lacking in registries.lacks(&target.repository, &kept, &digest) {
                wrongs.push(format!(
                    "{} lacks {lacking} of {}/{}@{digest}",
                    target.repository, source.host, source.repository
                ));
            }
            if let Some(tag) = &target.tag {
                let digests = tags.entry((target.repository.as_str(), tag.as_str())).or_default();
                if source.digest.is_none() {
                    digests.followed.insert(digest)
                } else {
                    digests.pinned.insert(digest)
                };
            }
        }
        for ((repository, tag), TagDigests { followed, pinned }) in tags {
            let expected = if followed.is_empty() { pinned } else { followed };
            let found = registries.target.digest(repository, tag);
            if found.as_ref().is_none_or(|found| !expected.contains(found)) {
                wrongs
                    .push(format!("{repository}:{tag} is {found:?} at the target, and should be one of {expected:?}"));
            }
        }
        let undecided = self.rows.iter().filter(|row| row.copy.is_none()).count();
        let state = |name: &str, state: &str| metrics.sum(name, &[("state", state)]);
        let images = |name: &str| state("k8s_copycat_images", name);
        let queue = |name: &str| state("k8s_copycat_queue_length", name);
        for (gauge, found, expected) in [
            ("images that are there", images("copied") + images("already_there"), there),
            ("images that failed", images("failed"), missing),
            ("names that wait", queue("waiting"), 0),
            ("names that are worked on", queue("active"), 0),
            ("names that rest", queue("cooling"), missing),
            ("undecided image uses", metrics.sum("k8s_copycat_undecided", &[]), undecided),
        ] {
            if found != expected as f64 {
                wrongs.push(format!("{found} {gauge}, and not {expected}"));
            }
        }
        wrongs
    }
}
