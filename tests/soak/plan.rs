//! The output of `plan`, compared with the cluster, the target and the gauges.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{churn::Churn, registries::Registries};
use crate::support::{Metrics, faulty::keep_alive_tag};

/// The plan for a cluster.
pub struct Plan {
    rows: Vec<Row>,
}

struct Row {
    /// `name container image`.
    image_use: String,
    /// None if the image use is undecided.
    copy: Option<PlannedCopy>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct PlannedCopy {
    source: Reference,
    target: Reference,
}

/// `host/repository[:tag][@digest]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Reference {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
}

/// The digests that a tag at the target may have.
#[derive(Default)]
struct TagDigests {
    /// From image uses with the tag.
    followed: BTreeSet<String>,
    /// From image uses with tag and digest.
    pinned: BTreeSet<String>,
}

impl Reference {
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
                PlannedCopy {
                    source: Reference::read(&text(&line["source"])),
                    target: Reference::read(&text(&targets[0]["reference"])),
                }
            });
            Row { image_use, copy }
        });
        Self { rows: rows.collect() }
    }

    /// Differences between the plan and the cluster.
    pub fn differences(&self, churn: &Churn) -> Vec<String> {
        let mut planned: Vec<&str> = self.rows.iter().map(|row| row.image_use.as_str()).collect();
        planned.sort_unstable();
        let uses = churn.uses();
        let in_cluster: BTreeSet<&str> = uses.iter().map(String::as_str).collect();
        let in_plan: BTreeSet<&str> = planned.iter().copied().collect();
        let mut differences: Vec<String> = Vec::new();
        differences.extend(in_cluster.difference(&in_plan).map(|image_use| format!("not in the plan: {image_use}")));
        differences.extend(in_plan.difference(&in_cluster).map(|image_use| format!("not in the cluster: {image_use}")));
        if planned.len() != uses.len() {
            differences.push(format!("{} image uses in the plan, {} in the cluster", planned.len(), uses.len()));
        }
        differences
    }

    /// Content that is missing at the target, and wrong gauges.
    pub fn errors(&self, registries: &Registries, metrics: &Metrics) -> Vec<String> {
        let copies: BTreeSet<&PlannedCopy> = self.rows.iter().filter_map(|row| row.copy.as_ref()).collect();
        let mut errors = Vec::new();
        let (mut present, mut failed) = (0, 0);
        // Image uses with the tag alone take precedence over those that pin a digest.
        let mut tags: BTreeMap<(&str, &str), TagDigests> = BTreeMap::new();
        for copy in &copies {
            let (source, target) = (&copy.source, &copy.target);
            let reference = source.digest.as_deref().or(source.tag.as_deref()).unwrap();
            let Some(digest) = registries.digest(&source.host, &source.repository, reference) else {
                failed += 1;
                continue;
            };
            present += 1;
            // A digest that the tag has needs no keep-alive tag until the tag moves.
            let is_tagged = |tag| registries.target.digest(&target.repository, tag).as_ref() == Some(&digest);
            let kept = source.digest.iter().filter(|_| !target.tag.as_deref().is_some_and(is_tagged));
            let kept: Vec<String> = kept.map(|digest| keep_alive_tag(digest)).collect();
            for missing in registries.missing_content(&target.repository, &kept, &digest) {
                errors.push(format!(
                    "{} lacks {missing} of {}/{}@{digest}",
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
                errors.push(format!("{repository}:{tag} is {found:?} at the target instead of one of {expected:?}"));
            }
        }
        let undecided = self.rows.iter().filter(|row| row.copy.is_none()).count();
        let state = |name: &str, state: &str| metrics.sum(name, &[("state", state)]);
        let images = |name: &str| state("k8s_copycat_images", name);
        let queue = |name: &str| state("k8s_copycat_queue_length", name);
        for (gauge, found, expected) in [
            ("images at the target", images("copied") + images("already_there"), present),
            ("failed images", images("failed"), failed),
            ("waiting destinations", queue("waiting"), 0),
            ("active destinations", queue("active"), 0),
            ("destinations in cooldown", queue("cooling"), failed),
            ("undecided image uses", metrics.sum("k8s_copycat_undecided", &[]), undecided),
        ] {
            if found != expected as f64 {
                errors.push(format!("{found} {gauge} instead of {expected}"));
            }
        }
        errors
    }
}
