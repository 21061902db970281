//! The state at one moment: sorted once, then asked for pages.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::SystemTime,
};

use super::{
    document::{self, API_VERSION},
    query::Query,
    row::{Row, RowContent, rows_of_uses, state_of_use},
    traffic::{Counted, RegistryTraffic},
};
use crate::{
    model::{
        FailureKind, ImageState, ImageStatus, MirrorStatus, NOT_VERIFIED, PassSummary, Target, TargetAddress,
        TargetKind, Wholeness, canonical_registry,
    },
    report::utc::utc,
};

/// The most namespaces, and the most registries, that are offered to be chosen from.
const MAX_NAMES: usize = 1000;

/// What a replica knows of itself.
#[derive(Clone, Debug, Default)]
pub struct ReplicaStatus {
    /// Whether it leads.
    pub is_leader: bool,
    /// The holder of the Lease, if known.
    pub leader: Option<String>,
    /// The configured targets.
    pub targets: Vec<Arc<Target>>,
    /// The setting `dryRun`.
    pub dry_run: bool,
    /// The setting `dryPull`.
    pub dry_pull: bool,
    /// When the next periodic pass begins.
    pub next_pass: Option<SystemTime>,
    /// The mirror's state.
    pub mirror: MirrorStatus,
}

/// Everything at one moment.
pub struct Snapshot {
    time: SystemTime,
    replica: ReplicaStatus,
    counted: Counted,
    /// The worst first.
    rows: Vec<Row>,
    summary: document::Summary,
    images_by_target: HashMap<String, BTreeMap<String, usize>>,
    namespaces: BTreeSet<String>,
    source_registries: BTreeSet<String>,
    /// Images whose last attempt failed at a registry, by its name.
    failing: BTreeMap<String, usize>,
}

impl Snapshot {
    /// Sorts and counts everything: takes some milliseconds for ten thousand images.
    pub fn new(mut replica: ReplicaStatus, counted: Counted, time: SystemTime) -> Self {
        let images = std::mem::take(&mut replica.mirror.images);
        let unmirrored = std::mem::take(&mut replica.mirror.unmirrored);
        let mut image_uses = counts(["undecided", "skipped"]);
        for image_use in &unmirrored {
            add(&mut image_uses, state_of_use(image_use));
        }
        let mut by_state = counts(ImageState::ALL.map(ImageState::name));
        let mut queue = counts(["waiting", "copying", "cooldown"]);
        let mut images_by_target: HashMap<String, BTreeMap<String, usize>> = HashMap::new();
        let mut oldest: Option<SystemTime> = None;
        let mut lacking_referrers = 0;
        let mut verified = counts(Wholeness::ALL.map(Wholeness::name).into_iter().chain([NOT_VERIFIED]));
        let mut rows = Vec::with_capacity(images.len());
        for image in images {
            let row = Row::of_image(image);
            add(&mut by_state, row.state);
            if let Some(count) = queue.get_mut(row.activity) {
                *count += 1;
            }
            if let RowContent::Image(image) = &row.content {
                let of_target = images_by_target.entry(image.destination.target.name.clone());
                add(of_target.or_insert_with(|| counts(ImageState::ALL.map(ImageState::name))), row.state);
                let verification = image.record.verified.as_ref();
                add(&mut verified, verification.map_or(NOT_VERIFIED, |verification| verification.result.name()));
                oldest = [oldest, image.record.to_be_copied_since].into_iter().flatten().min();
            }
            lacking_referrers += usize::from(row.lacks_referrers());
            rows.push(row);
        }
        rows.extend(rows_of_uses(unmirrored));
        rows.sort_by(|one, other| (one.rank(), &one.name).cmp(&(other.rank(), &other.name)));
        let (mut namespaces, mut source_registries) = (BTreeSet::new(), BTreeSet::new());
        let mut failing = BTreeMap::new();
        for row in &rows {
            for workload in row.workloads() {
                add_name(&mut namespaces, &workload.id.namespace);
            }
            if let RowContent::Image(image) = &row.content {
                add_name(&mut source_registries, image.source.registry());
                if let Some(registry) = failing_registry(image)
                    && (failing.len() < MAX_NAMES || failing.contains_key(&registry))
                {
                    *failing.entry(registry).or_default() += 1;
                }
            }
        }
        let summary = document::Summary {
            images: by_state,
            image_uses,
            queue,
            lacking_referrers,
            verified,
            workloads: replica.mirror.workloads,
            oldest_not_mirrored: oldest.map(utc),
            bytes_today: counted.bytes_today(time),
            passes: document::Passes {
                running_since: replica.mirror.pass_began.map(utc),
                last: counted.last_pass.map(pass),
                next: replica.next_pass.map(utc),
            },
        };
        Self { time, replica, counted, rows, summary, images_by_target, namespaces, source_registries, failing }
    }

    /// The document with one page of the matching images.
    pub fn status(&self, query: &Query) -> document::Status {
        let (images, page) = self.page(query);
        document::Status {
            api_version: API_VERSION.to_owned(),
            kind: "Status".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            time: utc(self.time),
            leader: document::Leader { is_leader: self.replica.is_leader, identity: self.replica.leader.clone() },
            phase: self.replica.mirror.phase.name().to_owned(),
            dry_run: self.replica.dry_run,
            dry_pull: self.replica.dry_pull,
            summary: self.summary.clone(),
            targets: self.replica.targets.iter().map(|target| self.target(target)).collect(),
            registries: self.registries(),
            watches: self.watches(),
            images: images.into_iter().map(Row::document).collect(),
            page,
        }
    }

    /// The matching rows of one page.
    fn page(&self, query: &Query) -> (Vec<&Row>, document::Page) {
        let text = query.text.as_ref().map(|text| text.to_lowercase());
        let matching: Vec<&Row> = self.rows.iter().filter(|row| row.matches(query, text.as_deref())).collect();
        let total = matching.len();
        let images: Vec<&Row> = matching.into_iter().skip(query.offset).take(query.limit).collect();
        let end = query.offset.saturating_add(images.len());
        let next = (end < total && !images.is_empty()).then_some(end);
        (images, document::Page { total, offset: query.offset, limit: query.limit, next })
    }

    fn target(&self, target: &Target) -> document::Target {
        let images = self.images_by_target.get(&target.name).cloned();
        document::Target {
            name: target.name.clone(),
            kind: target.kind.name().to_owned(),
            address: target.address().to_string(),
            images: images.unwrap_or_else(|| counts(ImageState::ALL.map(ImageState::name))),
        }
    }

    fn registries(&self) -> Vec<document::Registry> {
        let names: BTreeSet<&String> = self.counted.registries.keys().chain(self.failing.keys()).collect();
        let unknown = RegistryTraffic::default();
        let registries = names.into_iter().filter_map(|name| {
            let traffic = self.counted.registries.get(name).unwrap_or(&unknown);
            let images_failing = self.failing.get(name).copied().unwrap_or_default();
            let (requests, failed, since) = traffic.recent(self.time);
            if requests == 0 && traffic.pulls_left.is_none() && images_failing == 0 {
                return None;
            }
            Some(document::Registry {
                registry: name.clone(),
                requests,
                failed,
                since: since.map(utc),
                last_failure: traffic
                    .last_failure
                    .map(|(time, status)| document::RequestFailure { time: utc(time), status }),
                pulls_left: traffic.pulls_left.map(|quota| quota.left),
                pulls_limit: traffic.pulls_left.and_then(|quota| quota.limit),
                pulls_left_at: traffic.pulls_left.map(|quota| utc(quota.at)),
                throttled: traffic.throttled,
                images_failing,
            })
        });
        registries.collect()
    }

    fn watches(&self) -> Vec<document::Watch> {
        let watches = self.counted.watches.iter().filter_map(|(resource, watch)| {
            let (_, interruptions, since) = watch.recent.within(self.time);
            Some(document::Watch {
                resource: (*resource).to_owned(),
                interruptions,
                since: utc(since?),
                last: utc(watch.last),
            })
        });
        watches.collect()
    }

    /// The namespaces of all images, sorted; at most a thousand.
    pub fn namespaces(&self) -> &BTreeSet<String> {
        &self.namespaces
    }

    /// The registries of all sources, sorted; at most a thousand.
    pub fn source_registries(&self) -> &BTreeSet<String> {
        &self.source_registries
    }
}

/// The registry at which the last attempt failed.
fn failing_registry(image: &ImageStatus) -> Option<String> {
    let target = &image.destination.target;
    match image.record.last_attempt.as_ref()?.failure.as_ref()?.kind {
        FailureKind::Source | FailureKind::SourceBlob => Some(canonical_registry(image.source.registry())),
        FailureKind::Target if target.kind != TargetKind::OciLayout => {
            Some(canonical_registry(TargetAddress::host_and_path(&target.registry).0))
        }
        _ => None,
    }
}

fn pass(pass: PassSummary) -> document::Pass {
    let PassSummary { began, ended, workloads, images, failures } = pass;
    document::Pass { began: utc(began), ended: utc(ended), workloads, images, failures }
}

fn add_name(names: &mut BTreeSet<String>, name: &str) {
    if names.len() < MAX_NAMES && !names.contains(name) {
        names.insert(name.to_owned());
    }
}

fn counts<'a>(names: impl IntoIterator<Item = &'a str>) -> BTreeMap<String, usize> {
    names.into_iter().map(|name| (name.to_owned(), 0)).collect()
}

fn add(counts: &mut BTreeMap<String, usize>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count += 1;
    }
}

#[cfg(test)]
mod tests;
