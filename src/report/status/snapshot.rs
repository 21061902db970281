//! The state at one moment: sorted once, then asked for pages.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::SystemTime,
};

use super::{
    document::{self, API_VERSION},
    query::Query,
    traffic::Counted,
};
use crate::{
    model::{
        Activity, ImageState, ImageStatus, LastAttempt, MirrorStatus, PassSummary, Target, UnmirroredUse, Workload,
        WorkloadId,
    },
    report::utc::utc,
};

/// The most workloads in the entry of an image.
const MAX_WORKLOADS: usize = 10;
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
}

/// An image at a destination, or an image that is undecided or skipped.
pub struct Row {
    /// What is at the target, or `undecided`, or `skipped`.
    pub state: &'static str,
    /// What happens to it now.
    pub activity: &'static str,
    /// For sorting, and for searches: the destination, or the image as written.
    name: String,
    content: RowContent,
}

enum RowContent {
    Image(Box<ImageStatus>),
    /// The same image, skipped or undecided for the same reason.
    Uses(Vec<Arc<UnmirroredUse>>),
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
                oldest = [oldest, image.record.to_be_copied_since].into_iter().flatten().min();
            }
            rows.push(row);
        }
        rows.extend(rows_of_uses(unmirrored));
        rows.sort_by(|one, other| (rank(one.state), &one.name).cmp(&(rank(other.state), &other.name)));
        let (mut namespaces, mut source_registries) = (BTreeSet::new(), BTreeSet::new());
        for row in &rows {
            for workload in row.workloads() {
                add_name(&mut namespaces, &workload.id.namespace);
            }
            if let RowContent::Image(image) = &row.content {
                add_name(&mut source_registries, image.source.registry());
            }
        }
        let summary = document::Summary {
            images: by_state,
            image_uses,
            queue,
            workloads: replica.mirror.workloads,
            oldest_not_mirrored: oldest.map(utc),
            bytes_today: counted.bytes_today(time),
            passes: document::Passes {
                running_since: replica.mirror.pass_began.map(utc),
                last: counted.last_pass.map(pass),
                next: replica.next_pass.map(utc),
            },
        };
        Self { time, replica, counted, rows, summary, images_by_target, namespaces, source_registries }
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
        let registries = self.counted.registries.iter().filter_map(|(registry, traffic)| {
            let (requests, failed, since) = traffic.recent(self.time);
            if requests == 0 && traffic.pulls_left.is_none() {
                return None;
            }
            Some(document::Registry {
                registry: registry.clone(),
                requests,
                failed,
                since: since.map(utc),
                last_failure: traffic
                    .last_failure
                    .map(|(time, status)| document::RequestFailure { time: utc(time), status }),
                pulls_left: traffic.pulls_left.map(|(left, _)| left),
                pulls_left_at: traffic.pulls_left.map(|(_, at)| utc(at)),
                throttled: traffic.throttled,
            })
        });
        registries.collect()
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

impl Row {
    fn of_image(image: ImageStatus) -> Self {
        let activity = match image.activity {
            Activity::Idle => "idle",
            Activity::Waiting => "waiting",
            Activity::Copying { .. } => "copying",
            Activity::Cooldown { .. } => "cooldown",
        };
        let (state, name) = (image.record.state.name(), image.destination.to_string());
        Self { state, activity, name, content: RowContent::Image(Box::new(image)) }
    }

    fn matches(&self, query: &Query, text: Option<&str>) -> bool {
        let states = &query.states;
        if !states.is_empty() && !states.iter().any(|state| state == self.state || state == self.activity) {
            return false;
        }
        if query.destination.as_ref().is_some_and(|destination| *destination != self.name) {
            return false;
        }
        let image = match &self.content {
            RowContent::Image(image) => Some(image),
            RowContent::Uses(_) => None,
        };
        if let Some(registry) = &query.registry
            && image.is_none_or(|image| image.source.registry() != registry)
        {
            return false;
        }
        if let Some(target) = &query.target
            && image.is_none_or(|image| image.destination.target.name != *target)
        {
            return false;
        }
        if query.namespace.is_some() || query.workload.is_some() {
            let matches = |workload: &Workload| {
                let WorkloadId { namespace, name, .. } = &workload.id;
                query.namespace.as_ref().is_none_or(|wanted| wanted == namespace)
                    && query.workload.as_ref().is_none_or(|wanted| {
                        wanted == name
                            || *wanted == workload.id.to_string()
                            || wanted.split_once('/') == Some((namespace, name))
                    })
            };
            if !self.workloads().any(matches) {
                return false;
            }
        }
        text.is_none_or(|text| self.contains(text))
    }

    /// `text` in lower case.
    fn contains(&self, text: &str) -> bool {
        let contains = |field: &str| field.to_lowercase().contains(text);
        if contains(&self.name) {
            return true;
        }
        let found = match &self.content {
            RowContent::Image(image) => {
                let attempt = image.record.last_attempt.as_ref();
                let reason = attempt.and_then(|attempt| attempt.failure.as_ref()).map(|failure| &*failure.message);
                contains(&image.image) || contains(&image.source.to_string()) || reason.is_some_and(contains)
            }
            RowContent::Uses(uses) => uses.first().is_some_and(|image_use| contains(&image_use.reason)),
        };
        found || self.workloads().any(|workload| contains(&workload.id.to_string()))
    }

    fn workloads(&self) -> Box<dyn Iterator<Item = &Workload> + '_> {
        match &self.content {
            RowContent::Image(image) => Box::new(image.workloads.iter().map(|workload| &**workload)),
            RowContent::Uses(uses) => Box::new(uses.iter().map(|image_use| &*image_use.workload)),
        }
    }

    fn document(&self) -> document::Image {
        let workloads = self.workloads().take(MAX_WORKLOADS).map(|workload| workload_document(&workload.id)).collect();
        let workload_count = self.workloads().count();
        match &self.content {
            RowContent::Image(image) => {
                let base = document::Image { workloads, workload_count, ..self.document_without_image(&image.image) };
                with_image(base, image)
            }
            RowContent::Uses(uses) => {
                let first = uses.first();
                document::Image {
                    reason: first.map(|image_use| image_use.reason.clone()),
                    first_seen: uses.iter().map(|image_use| image_use.since).min().map(utc).unwrap_or_default(),
                    workloads,
                    workload_count,
                    ..self.document_without_image(&self.name)
                }
            }
        }
    }

    fn document_without_image(&self, image: &str) -> document::Image {
        document::Image {
            image: image.to_owned(),
            source: None,
            destination: None,
            target: None,
            state: self.state.to_owned(),
            activity: self.activity.to_owned(),
            reason: None,
            owner: None,
            digest_at_target: None,
            digest_at_source: None,
            last_result: None,
            last_checked: None,
            took_milliseconds: None,
            bytes: None,
            earlier_attempts: Vec::new(),
            last_mirrored: None,
            first_seen: String::new(),
            failing_since: None,
            failures: 0,
            next_try: None,
            progress: None,
            workloads: Vec::new(),
            workload_count: 0,
        }
    }
}

fn with_image(base: document::Image, image: &ImageStatus) -> document::Image {
    let record = &image.record;
    let attempt = record.last_attempt.as_ref();
    let progress = match &image.activity {
        Activity::Copying { started, progress } => progress.total().map(|total_bytes| document::Progress {
            started: utc(*started),
            bytes: progress.done(),
            total_bytes,
        }),
        _ => None,
    };
    let next_try = match &image.activity {
        Activity::Cooldown { until } => Some(*until),
        _ => None,
    };
    document::Image {
        source: Some(image.source.to_string()),
        destination: Some(image.destination.to_string()),
        target: Some(image.destination.target.name.clone()),
        reason: attempt.and_then(|attempt| attempt.failure.as_ref()).map(|failure| failure.message.clone()),
        owner: image.owner.clone(),
        digest_at_target: record.seen.at_target.digest().map(ToString::to_string),
        digest_at_source: record.seen.at_source.as_ref().map(ToString::to_string),
        last_result: attempt.map(|attempt| attempt.result.name().to_owned()),
        last_checked: attempt.map(|attempt| utc(attempt.ended)),
        took_milliseconds: attempt.map(took_milliseconds),
        bytes: attempt.map(|attempt| attempt.bytes),
        earlier_attempts: record.earlier_attempts.iter().map(attempt_document).collect(),
        last_mirrored: record.last_mirrored.map(utc),
        first_seen: utc(record.first_seen),
        failing_since: record.failing_since.map(utc),
        failures: record.failures,
        next_try: next_try.map(utc),
        progress,
        ..base
    }
}

fn attempt_document(attempt: &LastAttempt) -> document::Attempt {
    document::Attempt {
        result: attempt.result.name().to_owned(),
        reason: attempt.failure.as_ref().map(|failure| failure.message.clone()),
        ended: utc(attempt.ended),
        took_milliseconds: took_milliseconds(attempt),
        bytes: attempt.bytes,
    }
}

fn took_milliseconds(attempt: &LastAttempt) -> u64 {
    u64::try_from(attempt.took.as_millis()).unwrap_or(u64::MAX)
}

fn rows_of_uses(unmirrored: Vec<Arc<UnmirroredUse>>) -> Vec<Row> {
    let mut groups: BTreeMap<(String, bool, String), Vec<Arc<UnmirroredUse>>> = BTreeMap::new();
    for image_use in unmirrored {
        let key = (image_use.image.clone(), image_use.is_skipped, image_use.reason.clone());
        groups.entry(key).or_default().push(image_use);
    }
    let rows = groups.into_iter().map(|((name, ..), mut uses)| {
        uses.sort_by(|one, other| one.workload.id.cmp(&other.workload.id));
        uses.dedup_by(|one, other| one.workload.id == other.workload.id);
        let state = uses.first().map_or("skipped", |image_use| state_of_use(image_use));
        Row { state, activity: "idle", name, content: RowContent::Uses(uses) }
    });
    rows.collect()
}

fn state_of_use(image_use: &UnmirroredUse) -> &'static str {
    if image_use.is_skipped { "skipped" } else { "undecided" }
}

/// The worst first.
fn rank(state: &str) -> usize {
    super::query::STATES.iter().position(|known| *known == state).unwrap_or(usize::MAX)
}

fn workload_document(id: &WorkloadId) -> document::Workload {
    document::Workload { kind: id.kind.name().to_owned(), namespace: id.namespace.clone(), name: id.name.clone() }
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

fn counts<const N: usize>(names: [&str; N]) -> BTreeMap<String, usize> {
    names.into_iter().map(|name| (name.to_owned(), 0)).collect()
}

fn add(counts: &mut BTreeMap<String, usize>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        model::{AtTarget, CopyProgress, Digest, ImageRecord, MirrorPhase, Outcome, Seen, Status, WorkloadKind},
        report::testing::{failed, outcome},
    };

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_788_300 + seconds)
    }

    fn workload(namespace: &str, name: &str) -> Arc<Workload> {
        Arc::new(Workload {
            id: WorkloadId { kind: WorkloadKind::Deployment, namespace: namespace.into(), name: name.into() },
            uid: String::new(),
            owners: Vec::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            namespace_labels: Arc::default(),
            created: 0,
        })
    }

    fn image(outcome: &Outcome, activity: Activity, workloads: &[(&str, &str)]) -> ImageStatus {
        let mut record = ImageRecord::new(at(0));
        record.record(outcome, at(10));
        ImageStatus {
            image: outcome.image.clone(),
            source: outcome.source.clone(),
            destination: outcome.destination.clone(),
            record,
            activity,
            owner: None,
            workloads: workloads.iter().map(|(namespace, name)| workload(namespace, name)).collect(),
        }
    }

    fn skipped(namespace: &str, name: &str) -> Arc<UnmirroredUse> {
        Arc::new(UnmirroredUse {
            workload: workload(namespace, name),
            container: "main".into(),
            image: "busybox".into(),
            reason: "namespace is in skipNamespaces".into(),
            is_skipped: true,
            since: at(3),
        })
    }

    /// Five images, the last of them of two skipped workloads.
    fn snapshot() -> Snapshot {
        let digest = Digest::sha256(b"1");
        let there = outcome("nginx:1", Status::AlreadyThere(digest.clone()));
        let seen = Seen { at_target: AtTarget::Digest(digest), at_source: None };
        let unverified = Outcome { seen, ..outcome("redis:7", failed("connection refused")) };
        let missing = Outcome {
            seen: Seen { at_target: AtTarget::Nothing, at_source: None },
            ..outcome("postgres:17", failed("<script>alert(1)</script>"))
        };
        let copying = outcome("kafka:4", failed("reset"));
        let progress = Arc::new(CopyProgress::default());
        progress.begin();
        progress.add_total(1000);
        progress.add_done(400);
        let mirror = MirrorStatus {
            phase: MirrorPhase::Mirroring,
            images: vec![
                image(&there, Activity::Idle, &[("shop", "web"), ("shop", "api")]),
                image(&unverified, Activity::Cooldown { until: at(70) }, &[("shop", "cache")]),
                image(&missing, Activity::Waiting, &[("data", "db")]),
                image(&copying, Activity::Copying { started: at(20), progress }, &[("data", "log")]),
            ],
            unmirrored: vec![skipped("kube-system", "b"), skipped("kube-system", "a")],
            workloads: 7,
            pass_began: None,
        };
        let target = Arc::clone(&there.destination.target);
        let replica = ReplicaStatus {
            is_leader: true,
            leader: Some("copycat-0_1".into()),
            targets: vec![target],
            next_pass: Some(at(3600)),
            mirror,
            ..ReplicaStatus::default()
        };
        Snapshot::new(replica, Counted::default(), at(30))
    }

    fn images(query: &str) -> Vec<String> {
        let status = snapshot().status(&Query::parse(query).unwrap());
        assert_eq!(status.page.total, status.images.len());
        status.images.into_iter().map(|image| format!("{} {}", image.image, image.state)).collect()
    }

    #[test]
    fn the_worst_images_come_first() {
        let all =
            ["postgres:17 missing", "kafka:4 unknown", "redis:7 unverified", "nginx:1 mirrored", "busybox skipped"];
        assert_eq!(images(""), all);
    }

    #[test]
    fn every_parameter_selects() {
        for (query, expected) in [
            ("state=missing,unverified", &["postgres:17 missing", "redis:7 unverified"][..]),
            ("state=cooldown", &["redis:7 unverified"]),
            ("state=copying&state=waiting", &["postgres:17 missing", "kafka:4 unknown"]),
            ("state=skipped", &["busybox skipped"]),
            ("namespace=shop", &["redis:7 unverified", "nginx:1 mirrored"]),
            ("workload=api", &["nginx:1 mirrored"]),
            ("workload=shop/api", &["nginx:1 mirrored"]),
            ("workload=deployment%20kube-system/a", &["busybox skipped"]),
            ("namespace=data&workload=web", &[]),
            ("registry=docker.io&state=mirrored", &["nginx:1 mirrored"]),
            ("registry=quay.io", &[]),
            ("target=default&state=missing", &["postgres:17 missing"]),
            ("target=other", &[]),
            ("destination=mirror.example/library/redis:7", &["redis:7 unverified"]),
            ("text=ALERT", &["postgres:17 missing"]),
            ("text=shop/w", &["nginx:1 mirrored"]),
            ("text=skipNamespaces", &["busybox skipped"]),
        ] {
            assert_eq!(images(query), expected, "{query}");
        }
    }

    #[test]
    fn pages_follow_one_another() {
        let snapshot = snapshot();
        let page = |query: &str| {
            let status = snapshot.status(&Query::parse(query).unwrap());
            (status.images.len(), status.page.total, status.page.next)
        };
        assert_eq!(page("limit=2"), (2, 5, Some(2)));
        assert_eq!(page("limit=2&offset=4"), (1, 5, None));
        assert_eq!(page("limit=2&offset=40"), (0, 5, None));
        assert_eq!(page("offset=18446744073709551615"), (0, 5, None));
    }

    #[test]
    fn the_summary_counts_everything_whatever_the_query() {
        let status = snapshot().status(&Query::parse("state=conflict").unwrap());
        assert!(status.images.is_empty());
        let summary = serde_json::to_value(&status.summary).unwrap();
        let expected = serde_json::json!({
            "images": { "missing": 1, "stale": 0, "conflict": 0, "unknown": 1, "unverified": 1, "dry_run": 0, "mirrored": 1 },
            "imageUses": { "undecided": 0, "skipped": 2 },
            "queue": { "waiting": 1, "copying": 1, "cooldown": 1 },
            "workloads": 7,
            "oldestNotMirrored": "2026-11-27T14:05:00Z",
            "bytesToday": 0,
            "passes": { "runningSince": null, "last": null, "next": "2026-11-27T15:05:00Z" },
        });
        assert_eq!(summary, expected);
        assert_eq!(status.targets[0].images["missing"], 1);
    }

    #[test]
    fn an_image_tells_its_story() {
        let status = snapshot().status(&Query::parse("text=redis").unwrap());
        let redis = &status.images[0];
        assert_eq!(redis.reason.as_deref(), Some("connection refused"));
        assert_eq!(redis.digest_at_target.as_ref().map(String::len), Some(71));
        assert_eq!((redis.failures, redis.failing_since.as_deref()), (1, Some("2026-11-27T14:05:10Z")));
        assert_eq!(redis.next_try.as_deref(), Some("2026-11-27T14:06:10Z"));
        let status = snapshot().status(&Query::parse("state=copying").unwrap());
        let progress = status.images[0].progress.as_ref().unwrap();
        assert_eq!((progress.bytes, progress.total_bytes, &*progress.started), (400, 1000, "2026-11-27T14:05:20Z"));
        let status = snapshot().status(&Query::parse("state=skipped").unwrap());
        assert_eq!((status.images[0].workload_count, &*status.images[0].workloads[0].name), (2, "a"));
    }

    #[test]
    fn the_last_attempts_are_kept_but_those_that_found_it_in_place() {
        let digest = Digest::sha256(b"1");
        let there = outcome("nginx:1", Status::AlreadyThere(digest.clone()));
        let mut image = image(&outcome("nginx:1", Status::Copied(digest)), Activity::Idle, &[("shop", "web")]);
        for second in 11..20 {
            image.record.record(&there, at(second));
        }
        let attempts = |image: &ImageStatus| -> Vec<String> {
            let earlier = image.record.earlier_attempts.iter().map(attempt_document);
            earlier.map(|attempt| format!("{} {}", attempt.result, attempt.ended)).collect()
        };
        assert_eq!(attempts(&image), ["copied 2026-11-27T14:05:10Z"]);
        for second in 20..30 {
            image.record.record(&outcome("nginx:1", failed("reset")), at(second));
        }
        let last = ["28", "27", "26", "25"].map(|second| format!("failed 2026-11-27T14:05:{second}Z"));
        assert_eq!(attempts(&image), last);
    }

    #[test]
    fn namespaces_and_registries_are_offered() {
        let snapshot = snapshot();
        assert!(snapshot.namespaces().iter().eq(["data", "kube-system", "shop"]));
        assert!(snapshot.source_registries().iter().eq(["docker.io"]));
        let mut names = BTreeSet::new();
        (0..2 * MAX_NAMES).for_each(|number| add_name(&mut names, &number.to_string()));
        assert_eq!(names.len(), MAX_NAMES);
    }

    /// `UPDATE_SCHEMA=1` writes it.
    #[test]
    fn the_schema_in_the_documents_is_that_of_the_types() {
        let schema = serde_json::to_string_pretty(&schemars::schema_for!(document::Status)).unwrap() + "\n";
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/status.schema.json");
        if std::env::var_os("UPDATE_SCHEMA").is_some() {
            std::fs::write(file, &schema).unwrap();
        }
        assert_eq!(std::fs::read_to_string(file).unwrap(), schema, "run this test with UPDATE_SCHEMA=1");
        let validator = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
        let status = serde_json::to_value(snapshot().status(&Query::default())).unwrap();
        assert!(validator.is_valid(&status), "{:?}", validator.iter_errors(&status).next());
    }
}
