//! Who wants which name at a target, and who gets it when several do.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use crate::model::{Container, Destination, ImageUse, Platform, Reference, Running, Workload, WorkloadId};

use super::job::{CopyJob, Role};

/// A name at a target: a [`Destination`] without the digest that somebody asked for under its tag.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name(Destination);

impl Name {
    /// The name that is meant by a destination.
    pub fn of(destination: &Destination) -> Self {
        let mut name = destination.clone();
        if name.tag.is_some() {
            name.digest = None;
        }
        Self(name)
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Claim {
    workload: Arc<Workload>,
    image: String,
    source: Reference,
    destination: Destination,
    running: Vec<Running>,
    platforms: Option<BTreeSet<Platform>>,
    /// Its place among the uses of its workload: what the template says comes before what Pods have beyond it.
    rank: usize,
}

impl Claim {
    /// Oldest first; what was read from files has no age, and goes by name. Within one workload the template's own
    /// image comes first.
    fn age(&self) -> (i64, &str, &str, &WorkloadId, usize) {
        let id = &self.workload.id;
        (self.workload.created, &id.namespace, &id.name, id, self.rank)
    }

    /// Newest last. Within one workload the template's own image is the newest: what else its Pods run is left over.
    fn newness(&self) -> (i64, &str, &str, &WorkloadId, Reverse<usize>) {
        let (created, namespace, name, id, rank) = self.age();
        (created, namespace, name, id, Reverse(rank))
    }

    fn same_repository(&self, other: &Self) -> bool {
        self.source.registry() == other.source.registry() && self.source.repository() == other.source.repository()
    }

    fn same_wish(&self, other: &Self) -> bool {
        (&self.image, &self.source, &self.destination) == (&other.image, &other.source, &other.destination)
            && self.platforms == other.platforms
            && self.running.iter().map(|one| &one.image).eq(other.running.iter().map(|one| &one.image))
    }
}

/// A container of a workload and the image it names: Pods of an earlier template may have the same container with
/// another image.
type Claimant = (WorkloadId, Container, String);

/// All claims on all names.
#[derive(Debug, Default)]
pub struct Claims {
    names: HashMap<Name, BTreeMap<Claimant, Claim>>,
    workloads: HashMap<WorkloadId, Vec<Name>>,
}

/// What a workload's new claims brought about.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// Names with a new or changed claim.
    pub wanted: Vec<Name>,
    /// Names that somebody gave up and others still want.
    pub released: Vec<Name>,
    /// Names that nobody wants any more.
    pub forgotten: Vec<Name>,
}

impl Claims {
    /// Replaces what a workload wants: each use with the destinations that were decided for it.
    pub fn set(&mut self, workload: &WorkloadId, wishes: Vec<(ImageUse, Reference, Vec<Destination>)>) -> Effect {
        let mut old = HashMap::<(Name, Claimant), Claim>::new();
        for name in self.workloads.remove(workload).unwrap_or_default() {
            let Some(claims) = self.names.get_mut(&name) else { continue };
            let theirs: Vec<_> = claims.keys().filter(|(owner, ..)| owner == workload).cloned().collect();
            for claimant in theirs {
                if let Some(claim) = claims.remove(&claimant) {
                    old.insert((name.clone(), claimant), claim);
                }
            }
        }
        let mut effect = Effect::default();
        let mut names = Vec::new();
        for (rank, (image_use, source, destinations)) in wishes.into_iter().enumerate() {
            for destination in destinations {
                let name = Name::of(&destination);
                let claimant = claimant(&image_use);
                let claim = Claim {
                    workload: image_use.workload.clone(),
                    image: image_use.image.clone(),
                    source: source.clone(),
                    destination,
                    running: image_use.running.clone(),
                    platforms: image_use.platforms.clone(),
                    rank,
                };
                let before = old.remove(&(name.clone(), claimant.clone()));
                if before.is_none_or(|before| !before.same_wish(&claim)) && !effect.wanted.contains(&name) {
                    effect.wanted.push(name.clone());
                }
                self.names.entry(name.clone()).or_default().insert(claimant, claim);
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        for (name, _) in old.into_keys() {
            if self.names.get(&name).is_none_or(BTreeMap::is_empty) {
                self.names.remove(&name);
                effect.forgotten.push(name);
            } else if !effect.wanted.contains(&name) && !effect.released.contains(&name) {
                effect.released.push(name);
            }
        }
        effect.forgotten.sort_by_key(ToString::to_string);
        effect.forgotten.dedup();
        if !names.is_empty() {
            self.workloads.insert(workload.clone(), names);
        }
        effect
    }

    /// The names that one container of a workload wants.
    pub fn names_of(&self, image_use: &ImageUse) -> Vec<Name> {
        let claimant = claimant(image_use);
        let names = self.workloads.get(&claimant.0).into_iter().flatten();
        names
            .filter(|name| self.names.get(*name).is_some_and(|claims| claims.contains_key(&claimant)))
            .cloned()
            .collect()
    }

    /// What was decided last for this container and image; none where nothing was.
    pub fn wish_of(&self, image_use: &ImageUse) -> Option<(Reference, Vec<Destination>)> {
        let claimant = claimant(image_use);
        let names = self.workloads.get(&claimant.0)?;
        let claims: Vec<&Claim> = names.iter().filter_map(|name| self.names.get(name)?.get(&claimant)).collect();
        let source = claims.first()?.source.clone();
        Some((source, claims.into_iter().map(|claim| claim.destination.clone()).collect()))
    }

    /// Every name that somebody wants.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.names.keys()
    }

    /// What is to be done for a name, in this order; empty for one that nobody wants.
    ///
    /// Different sources: the oldest object's has it. Different digests of one source: the newest object's gets the
    /// tag, the others stay reachable by digest, and are kept before the tag leaves them.
    pub fn jobs(&self, name: &Name) -> Vec<CopyJob> {
        let mut claims: Vec<&Claim> = self.names.get(name).into_iter().flat_map(BTreeMap::values).collect();
        claims.sort_by(|one, other| one.age().cmp(&other.age()));
        let Some(oldest) = claims.first().copied() else { return Vec::new() };
        if name.0.tag.is_none() {
            return vec![job(&claims, name.0.clone(), Role::Holder)].into_iter().flatten().collect();
        }
        let (same, rivals): (Vec<&Claim>, Vec<&Claim>) = claims.iter().partition(|claim| claim.same_repository(oldest));
        let newest = same.iter().max_by(|one, other| one.newness().cmp(&other.newness())).copied().unwrap_or(oldest);
        let (holders, others): (Vec<&Claim>, Vec<&Claim>) =
            same.iter().partition(|claim| claim.source.digest() == newest.source.digest());
        let mut jobs = Vec::new();
        for group in groups(&others, |one, other| one.source.digest() == other.source.digest()) {
            let digest = group.first().and_then(|claim| claim.source.digest().cloned());
            jobs.extend(job(&group, Destination { tag: None, digest, ..name.0.clone() }, Role::ByDigest));
        }
        let digest = newest.source.digest().cloned();
        jobs.extend(job(&holders, Destination { digest, ..name.0.clone() }, Role::Holder));
        for group in groups(&rivals, |one, other| one.source == other.source) {
            let digest = group.first().and_then(|claim| claim.source.digest().cloned());
            let holder = format!("{} of {}", oldest.image, oldest.workload.id);
            jobs.extend(job(&group, Destination { digest, ..name.0.clone() }, Role::Rival { holder }));
        }
        jobs
    }
}

fn claimant(image_use: &ImageUse) -> Claimant {
    (image_use.workload.id.clone(), image_use.container.clone(), image_use.image.clone())
}

fn groups<'a>(claims: &[&'a Claim], alike: impl Fn(&Claim, &Claim) -> bool) -> Vec<Vec<&'a Claim>> {
    let mut groups: Vec<Vec<&Claim>> = Vec::new();
    for claim in claims {
        match groups.iter_mut().find(|group| group.first().is_some_and(|first| alike(first, claim))) {
            Some(group) => group.push(claim),
            None => groups.push(vec![claim]),
        }
    }
    groups
}

fn job(group: &[&Claim], destination: Destination, role: Role) -> Option<CopyJob> {
    let first = group.first()?;
    let mut workloads: Vec<WorkloadId> = Vec::new();
    for claim in group {
        if !workloads.contains(&claim.workload.id) {
            workloads.push(claim.workload.id.clone());
        }
    }
    let mut pods: Vec<&Running> = group.iter().flat_map(|claim| &claim.running).collect();
    pods.sort_by_key(|running| Reverse(running.since));
    let mut running: Vec<Reference> = Vec::new();
    for pod in pods {
        if !running.contains(&pod.image) {
            running.push(pod.image.clone());
        }
    }
    let platforms: Option<Vec<&BTreeSet<Platform>>> = group.iter().map(|claim| claim.platforms.as_ref()).collect();
    Some(CopyJob {
        image: first.image.clone(),
        source: first.source.clone(),
        destination,
        workloads,
        running,
        platforms: platforms.map(|all| all.into_iter().flatten().cloned().collect()),
        role,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ContainerKind, Target, TargetKind, WorkloadKind};

    fn id(name: &str) -> WorkloadId {
        WorkloadId { kind: WorkloadKind::Deployment, namespace: "ns".into(), name: name.into() }
    }

    fn wish(workload: &str, created: i64, image: &str) -> (ImageUse, Reference, Vec<Destination>) {
        let source: Reference = image.parse().unwrap();
        let target = Arc::new(Target {
            name: "default".into(),
            kind: TargetKind::Docker,
            registry: "r.io".into(),
            repo_prefix: String::new(),
        });
        let destination = Destination {
            target,
            repository: source.repository().to_owned(),
            tag: source.tag().map(str::to_owned),
            digest: source.digest().cloned(),
        };
        let workload = Arc::new(Workload {
            id: id(workload),
            uid: String::new(),
            owners: Vec::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            namespace_labels: Arc::default(),
            created,
        });
        let container = Container { name: "main".into(), kind: ContainerKind::Regular };
        let image_use = ImageUse { workload, container, image: image.into(), running: Vec::new(), platforms: None };
        (image_use, source, vec![destination])
    }

    fn claims(wishes: &[(&str, i64, &str)]) -> (Claims, Name) {
        let mut claims = Claims::default();
        let mut names = Vec::new();
        for (workload, created, image) in wishes {
            names.extend(claims.set(&id(workload), vec![wish(workload, *created, image)]).wanted);
        }
        names.dedup();
        assert_eq!(names.len(), 1, "one name is wanted");
        (claims, names.remove(0))
    }

    fn digest(letter: &str) -> String {
        format!("sha256:{}", letter.repeat(64))
    }

    #[test]
    fn one_image_of_several_workloads_is_one_job() {
        let (claims, name) = claims(&[("young", 9, "app:1"), ("old", 5, "docker.io/library/app:1")]);
        let jobs = claims.jobs(&name);
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs[0].image, "docker.io/library/app:1", "as the oldest writes it");
        assert_eq!(jobs[0].workloads, [id("old"), id("young")]);
        assert_eq!(jobs[0].role, Role::Holder);
    }

    #[test]
    fn of_two_sources_the_oldest_objects_has_the_name() {
        let (claims, name) = claims(&[("young", 9, "quay.io/team/app:1"), ("old", 5, "ghcr.io/team/app:1")]);
        let jobs = claims.jobs(&name);
        assert_eq!(jobs[0].source.registry(), "ghcr.io");
        assert_eq!(jobs[0].role, Role::Holder);
        assert_eq!(jobs[1].source.registry(), "quay.io");
        assert_eq!(jobs[1].role, Role::Rival { holder: "ghcr.io/team/app:1 of deployment ns/old".into() });
    }

    #[test]
    fn without_an_age_the_name_decides() {
        let (claims, name) = claims(&[("b", 0, "quay.io/team/app:1"), ("a", 0, "ghcr.io/team/app:1")]);
        assert_eq!(claims.jobs(&name)[0].workloads, [id("a")]);
    }

    #[test]
    fn of_two_digests_the_newest_objects_gets_the_tag_and_both_are_kept() {
        let one = format!("app:1@{}", digest("1"));
        let two = format!("app:1@{}", digest("2"));
        let (claims, name) = claims(&[("old", 5, &one), ("young", 9, &two)]);
        let jobs = claims.jobs(&name);
        assert_eq!(jobs.len(), 2);
        assert_eq!((&jobs[0].role, jobs[0].source.digest().unwrap().to_string()), (&Role::ByDigest, digest("1")));
        assert_eq!(jobs[0].destination.to_string(), format!("r.io/library/app@{}", digest("1")));
        assert_eq!((&jobs[1].role, jobs[1].source.digest().unwrap().to_string()), (&Role::Holder, digest("2")));
    }

    #[test]
    fn what_old_pods_run_is_kept_beside_what_the_template_says() {
        let mut claims = Claims::default();
        let template = wish("web", 5, &format!("app:1@{}", digest("2")));
        let left_over = wish("web", 5, &format!("app:1@{}", digest("1")));
        let name = claims.set(&id("web"), vec![template, left_over]).wanted.remove(0);
        let jobs = claims.jobs(&name);
        let roles: Vec<_> = jobs.iter().map(|job| (&job.role, job.source.digest().unwrap().to_string())).collect();
        assert_eq!(roles, [(&Role::ByDigest, digest("1")), (&Role::Holder, digest("2"))]);
    }

    #[test]
    fn a_template_that_moved_to_another_registry_has_the_name() {
        let mut claims = Claims::default();
        let template = wish("web", 5, "ghcr.io/team/app:1");
        let left_over = wish("web", 5, "quay.io/team/app:1");
        let name = claims.set(&id("web"), vec![template, left_over]).wanted.remove(0);
        assert_eq!(claims.jobs(&name)[0].source.registry(), "ghcr.io");
    }

    #[test]
    fn the_newest_pod_comes_first_whoever_made_it() {
        let mut claims = Claims::default();
        let running = |digest: &str, since| {
            vec![Running { image: format!("docker.io/library/app@{digest}").parse().unwrap(), since }]
        };
        let (mut old, mut young) = (wish("old", 1, "app:1"), wish("young", 2, "app:1"));
        old.0.running = running(&digest("2"), 9);
        young.0.running = running(&digest("1"), 8);
        let name = claims.set(&id("old"), vec![old]).wanted.remove(0);
        claims.set(&id("young"), vec![young]);
        assert_eq!(claims.jobs(&name)[0].running[0].digest().unwrap().to_string(), digest("2"));
    }

    #[test]
    fn what_was_decided_last_is_remembered() {
        let mut claims = Claims::default();
        let wished = wish("web", 5, "app:1");
        claims.set(&id("web"), vec![wished.clone()]);
        assert_eq!(claims.wish_of(&wished.0), Some((wished.1.clone(), wished.2.clone())));
        assert_eq!(claims.wish_of(&wish("web", 5, "app:2").0), None);
    }

    #[test]
    fn the_same_digest_from_two_registries_is_no_conflict() {
        let quay = format!("quay.io/team/app@{}", digest("1"));
        let ghcr = format!("ghcr.io/team/app@{}", digest("1"));
        let (claims, name) = claims(&[("a", 1, &quay), ("b", 2, &ghcr)]);
        assert_eq!(claims.jobs(&name).len(), 1);
    }

    #[test]
    fn only_what_is_new_or_changed_is_wanted() {
        let mut claims = Claims::default();
        let first = claims.set(&id("w"), vec![wish("w", 1, "app:1")]);
        assert_eq!(first.wanted.len(), 1);
        assert_eq!(claims.set(&id("w"), vec![wish("w", 1, "app:1")]), Effect::default(), "nothing changed");
        let moved = claims.set(&id("w"), vec![wish("w", 1, "app:2")]);
        assert_eq!(moved.forgotten, first.wanted);
        assert_eq!(moved.wanted.len(), 1);
        assert!(claims.jobs(&first.wanted[0]).is_empty());
    }

    #[test]
    fn a_name_that_a_rival_gave_up_is_looked_at_again() {
        let (mut claims, name) = claims(&[("old", 5, "ghcr.io/team/app:1"), ("young", 9, "quay.io/team/app:1")]);
        let effect = claims.set(&id("old"), Vec::new());
        assert_eq!(effect.released, std::slice::from_ref(&name));
        assert_eq!(claims.jobs(&name)[0].source.registry(), "quay.io");
    }
}
