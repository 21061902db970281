//! Who wants which name at a target, and who gets it when several do.

mod group;

use std::{
    collections::{BTreeMap, HashMap},
    hash::{Hash, Hasher},
    sync::Arc,
};

use crate::model::{Container, Destination, Digest, ImageUse, Reference, Running, Target, WorkloadId};

use super::job::{CopyJob, Role};
use group::{Claim, Claimant, Group};

/// A name at a target: a [`Destination`] without the digest that somebody asked for under its tag. Two names are equal
/// where they lie in one place, which two targets may have in common. A clone is cheap.
#[derive(Clone, Debug)]
pub struct Name(Arc<Named>);

#[derive(Debug)]
struct Named {
    destination: Destination,
    /// As [`Target::canonical_repository`] has it.
    repository: String,
}

impl Name {
    /// The name that is meant by a destination.
    pub fn of(destination: &Destination) -> Self {
        let mut destination = destination.clone();
        if destination.tag.is_some() {
            destination.digest = None;
        }
        let repository = destination.target.canonical_repository(&destination.repository);
        Self(Arc::new(Named { destination, repository }))
    }

    /// The target that it lies at, or one of them.
    pub fn target(&self) -> &Target {
        &self.0.destination.target
    }

    /// What `source` is to be found under.
    pub fn destination(&self, source: &Reference) -> Destination {
        Destination { digest: source.digest().cloned(), ..self.0.destination.clone() }
    }

    fn has_tag(&self) -> bool {
        self.0.destination.tag.is_some()
    }

    /// Whether it is said of the same target as an equal one.
    fn is_of_target_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.destination == other.0.destination
    }

    fn place(&self) -> (&str, Option<&str>, Option<&Digest>) {
        let Named { destination: Destination { tag, digest, .. }, repository } = &*self.0;
        (repository, tag.as_deref(), digest.as_ref())
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.place().hash(state);
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.destination.fmt(f)
    }
}

/// All claims on all names.
#[derive(Debug, Default)]
pub struct Claims {
    names: HashMap<Name, Wanted>,
    workloads: HashMap<WorkloadId, Vec<Use>>,
}

/// Who wants one name: a group for each source.
#[derive(Debug, Default)]
struct Wanted {
    groups: BTreeMap<Reference, Group>,
    /// An image of the repository that the target is known to have under this name.
    holder: Option<Reference>,
}

/// What is to be done for one source under a name.
#[derive(Debug, PartialEq, Eq)]
struct Assigned {
    source: Reference,
    target: Option<Arc<Target>>,
    role: Role,
}

/// One claim of a workload.
#[derive(Debug)]
struct Use {
    container: Container,
    image: String,
    name: Name,
    source: Reference,
    claimant: Claimant,
}

/// What a workload's new claims brought about.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Effect {
    /// Names with a new or changed claim, and what it asks for.
    pub wanted: Vec<(Name, Reference)>,
    /// Other names at which something else is to be done than before.
    pub reassigned: Vec<Name>,
    /// Names that nobody wants any more.
    pub forgotten: Vec<Name>,
}

impl Claims {
    /// Replaces what a workload wants: each use with the destinations that were decided for it.
    pub fn set(&mut self, workload: &WorkloadId, wishes: Vec<(ImageUse, Reference, Vec<Destination>)>) -> Effect {
        let old = self.workloads.remove(workload).unwrap_or_default();
        let mut uses = Vec::new();
        let mut claims = Vec::new();
        for (rank, (image_use, source, destinations)) in wishes.into_iter().enumerate() {
            let digest = |running: &Running| Some((running.image.digest()?.clone(), running.since));
            let running: Vec<_> = image_use.running.iter().filter_map(digest).collect();
            let first = uses.len();
            for destination in destinations {
                let name = self.shared(Name::of(&destination));
                // Of two targets that are one place the first is written to.
                if uses.iter().skip(first).any(|one: &Use| one.name == name) {
                    continue;
                }
                claims.push(Claim {
                    image: image_use.image.clone(),
                    name: name.clone(),
                    running: running.clone(),
                    platforms: image_use.platforms.clone(),
                });
                uses.push(Use {
                    container: image_use.container.clone(),
                    image: image_use.image.clone(),
                    name,
                    source: source.clone(),
                    claimant: Claimant { workload: Arc::clone(&image_use.workload), rank },
                });
            }
        }
        let mut before: HashMap<Name, Vec<Assigned>> = HashMap::new();
        for Use { name, .. } in old.iter().chain(&uses) {
            if !before.contains_key(name) {
                before.insert(name.clone(), self.roles(name));
            }
        }
        let mut replaced = HashMap::new();
        for Use { container, image, name, source, claimant } in old {
            if let Some(claim) = self.names.get_mut(&name).and_then(|wanted| wanted.remove(&source, &claimant)) {
                replaced.insert((name, container, image), (source, claim));
            }
        }
        let mut effect = Effect::default();
        for (one, claim) in uses.iter().zip(claims) {
            let key = (one.name.clone(), one.container.clone(), one.image.clone());
            let is_old = replaced
                .get(&key)
                .is_some_and(|(source, replaced)| *source == one.source && replaced.asks_the_same(&claim));
            let asked = (one.name.clone(), one.source.clone());
            if !is_old && !effect.wanted.contains(&asked) {
                effect.wanted.push(asked);
            }
            self.names.entry(one.name.clone()).or_default().insert(&one.source, one.claimant.clone(), claim);
        }
        for (name, before) in before {
            match self.names.get_mut(&name) {
                Some(wanted) if !wanted.groups.is_empty() => {
                    wanted.settle();
                    if self.roles(&name) != before && !effect.wanted.iter().any(|(other, _)| *other == name) {
                        effect.reassigned.push(name);
                    }
                }
                _ => {
                    self.names.remove(&name);
                    effect.forgotten.push(name);
                }
            }
        }
        effect.reassigned.sort_by_cached_key(ToString::to_string);
        effect.forgotten.sort_by_cached_key(ToString::to_string);
        if !uses.is_empty() {
            self.workloads.insert(workload.clone(), uses);
        }
        effect
    }

    /// The same name, in the memory of one that is known, if there is such a one.
    fn shared(&self, name: Name) -> Name {
        match self.names.get_key_value(&name) {
            Some((known, _)) if known.is_of_target_of(&name) => known.clone(),
            _ => name,
        }
    }

    /// What a use wants, as it was decided last: its source, and the names; none where nothing was.
    pub fn names_of(&self, image_use: &ImageUse) -> Vec<Name> {
        self.uses_of(image_use).map(|one| one.name.clone()).collect()
    }

    /// What was decided last for this container and image; none where nothing was.
    pub fn wish_of(&self, image_use: &ImageUse) -> Option<(Reference, Vec<Destination>)> {
        let mut uses = self.uses_of(image_use).peekable();
        let source = uses.peek()?.source.clone();
        Some((source, uses.map(|one| one.name.destination(&one.source)).collect()))
    }

    fn uses_of(&self, image_use: &ImageUse) -> impl Iterator<Item = &Use> {
        let uses = self.workloads.get(&image_use.workload.id).into_iter().flatten();
        uses.filter(|one| one.container == image_use.container && one.image == image_use.image)
    }

    /// Every name that somebody wants.
    pub fn names(&self) -> impl Iterator<Item = &Name> {
        self.names.keys()
    }

    /// The registry that a name's image comes from; where there are several, that of the one that has the name. None
    /// for a name that nobody wants.
    pub fn source_registry(&self, name: &Name) -> Option<&str> {
        let first = self.names.get(name)?.first_group(name)?;
        Some(first.source.registry())
    }

    /// The target is known to have an image of this repository under the name.
    pub fn hold(&mut self, name: &Name, source: &Reference) {
        if let Some(wanted) = self.names.get_mut(name).filter(|_| name.has_tag()) {
            wanted.holder = Some(source.clone());
            wanted.settle();
        }
    }

    /// What is asked for under a name by images of several repositories of which none is known to have it: for each
    /// repository its images, the oldest claim's first. Only the target can tell then whose it is.
    pub fn contenders(&self, name: &Name) -> Option<Vec<Vec<Reference>>> {
        let wanted = self.names.get(name).filter(|wanted| name.has_tag() && wanted.holder.is_none())?;
        let mut repositories: Vec<Vec<Reference>> = Vec::new();
        for group in wanted.by_age() {
            let source = &group.source;
            match repositories.iter_mut().find(|theirs| theirs.iter().any(|other| same_repository(source, other))) {
                Some(theirs) => theirs.push(source.clone()),
                None => repositories.push(vec![source.clone()]),
            }
        }
        (repositories.len() > 1).then_some(repositories)
    }

    /// What is to be done for a name, in this order; empty for one that nobody wants.
    ///
    /// Different sources: the one has the tag that the target is known to have, else the oldest object's. Of one source
    /// those have it that follow the tag; where all ask for a digest, the newest object's. The other digests are kept by
    /// digest, before the tag leaves them.
    pub fn jobs(&self, name: &Name) -> Vec<CopyJob> {
        let Some(wanted) = self.names.get(name) else { return Vec::new() };
        let jobs = wanted.assigned(name).into_iter().filter_map(|(group, role)| {
            let (_, oldest) = group.oldest()?;
            let mut destination = oldest.name.destination(&group.source);
            if role == Role::ByDigest {
                destination.tag = None;
            }
            Some(CopyJob {
                image: oldest.image.clone(),
                source: group.source.clone(),
                destination,
                workloads: group.workloads(),
                running: group.running(),
                platforms: group.platforms(),
                role,
                resolve_tag: false,
                holds_tag: wanted.holder.as_ref().is_some_and(|holder| same_repository(holder, &group.source)),
            })
        });
        jobs.collect()
    }

    fn roles(&self, name: &Name) -> Vec<Assigned> {
        let assigned = self.names.get(name).map(|wanted| wanted.assigned(name)).unwrap_or_default();
        let assigned = assigned.into_iter().map(|(group, role)| {
            let target = group.oldest().map(|(_, claim)| Arc::clone(&claim.name.0.destination.target));
            Assigned { source: group.source.clone(), target, role }
        });
        assigned.collect()
    }
}

impl Wanted {
    fn insert(&mut self, source: &Reference, claimant: Claimant, claim: Claim) {
        let group = self.groups.entry(source.clone()).or_insert_with(|| Group::new(source.clone()));
        group.insert(claimant, claim);
    }

    fn remove(&mut self, source: &Reference, claimant: &Claimant) -> Option<Claim> {
        let group = self.groups.get_mut(source)?;
        let claim = group.remove(claimant);
        if group.is_empty() {
            self.groups.remove(source);
        }
        claim
    }

    /// Who holds the name keeps it while somebody wants it from there.
    fn settle(&mut self) {
        let holder = self.holder.take();
        self.holder = holder.filter(|holder| self.groups.keys().any(|source| same_repository(source, holder)));
    }

    fn by_age(&self) -> Vec<&Group> {
        let mut groups: Vec<&Group> = self.groups.values().collect();
        groups.sort_by_key(|group| group.oldest().map(|(claimant, _)| claimant));
        groups
    }

    fn first_group(&self, name: &Name) -> Option<&Group> {
        let oldest = self.groups.values().min_by_key(|group| group.oldest().map(|(claimant, _)| claimant));
        let holder = self.holder.as_ref().filter(|_| name.has_tag());
        let held = holder.and_then(|holder| self.groups.values().find(|group| same_repository(&group.source, holder)));
        held.or(oldest)
    }

    /// Each group with what it is to get, in the order in which that is to be done.
    fn assigned(&self, name: &Name) -> Vec<(&Group, Role)> {
        if self.groups.len() == 1 || !name.has_tag() {
            // The same bytes by the same digest, wherever they come from.
            return self.by_age().into_iter().map(|group| (group, Role::Holder)).collect();
        }
        let Some(first) = self.first_group(name) else { return Vec::new() };
        let (same, rivals): (Vec<&Group>, Vec<&Group>) =
            self.by_age().into_iter().partition(|group| same_repository(&group.source, &first.source));
        let newest = || same.iter().max_by_key(|group| group.newest().map(Claimant::newness));
        // Who asks for a digest pulls by it: the tag is for those who follow it.
        let following = same.iter().find(|group| group.source.digest().is_none());
        let Some(holder) = following.or_else(newest).copied() else { return Vec::new() };
        let others = same.iter().filter(|group| group.source != holder.source);
        let whose = holder.oldest().or(first.oldest());
        let whose =
            whose.map_or_else(String::new, |(claimant, claim)| format!("{} of {}", claim.image, claimant.workload.id));
        let mut assigned: Vec<(&Group, Role)> = others.map(|group| (*group, Role::ByDigest)).collect();
        assigned.push((holder, Role::Holder));
        assigned.extend(rivals.into_iter().map(|group| (group, Role::Rival { holder: whose.clone() })));
        assigned
    }
}

fn same_repository(one: &Reference, other: &Reference) -> bool {
    one.registry() == other.registry() && one.repository() == other.repository()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        mirror::testing::target,
        model::{ContainerKind, Workload, WorkloadKind},
    };

    fn id(name: &str) -> WorkloadId {
        WorkloadId { kind: WorkloadKind::Deployment, namespace: "ns".into(), name: name.into() }
    }

    fn wish(workload: &str, created: i64, image: &str) -> (ImageUse, Reference, Vec<Destination>) {
        let source: Reference = image.parse().unwrap();
        let destination = Destination {
            target: target("r.io"),
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
            let effect = claims.set(&id(workload), vec![wish(workload, *created, image)]);
            names.extend(effect.wanted.into_iter().map(|(name, _)| name));
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
        let name = claims.set(&id("web"), vec![template, left_over]).wanted.remove(0).0;
        let jobs = claims.jobs(&name);
        let roles: Vec<_> = jobs.iter().map(|job| (&job.role, job.source.digest().unwrap().to_string())).collect();
        assert_eq!(roles, [(&Role::ByDigest, digest("1")), (&Role::Holder, digest("2"))]);
    }

    #[test]
    fn a_template_that_moved_to_another_registry_has_the_name() {
        let mut claims = Claims::default();
        let template = wish("web", 5, "ghcr.io/team/app:1");
        let left_over = wish("web", 5, "quay.io/team/app:1");
        let name = claims.set(&id("web"), vec![template, left_over]).wanted.remove(0).0;
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
        let name = claims.set(&id("old"), vec![old]).wanted.remove(0).0;
        claims.set(&id("young"), vec![young]);
        assert_eq!(claims.jobs(&name)[0].running[0].to_string(), digest("2"));
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
        let jobs = claims.jobs(&name);
        assert_eq!(jobs.iter().map(|job| job.source.registry()).collect::<Vec<_>>(), ["quay.io", "ghcr.io"]);
        assert!(
            jobs.iter().all(|job| job.role == Role::Holder),
            "one that can't be reached does not keep the other back"
        );
    }

    #[test]
    fn only_what_is_new_or_changed_is_wanted() {
        let mut claims = Claims::default();
        let first = claims.set(&id("w"), vec![wish("w", 1, "app:1")]);
        assert_eq!(first.wanted.len(), 1);
        assert_eq!(claims.set(&id("w"), vec![wish("w", 1, "app:1")]), Effect::default(), "nothing changed");
        let moved = claims.set(&id("w"), vec![wish("w", 1, "app:2")]);
        assert_eq!(moved.forgotten, [first.wanted[0].0.clone()]);
        assert_eq!(moved.wanted.len(), 1);
        assert!(claims.jobs(&first.wanted[0].0).is_empty());
    }

    #[test]
    fn a_name_that_a_rival_gave_up_is_looked_at_again() {
        let (mut claims, name) = claims(&[("old", 5, "ghcr.io/team/app:1"), ("young", 9, "quay.io/team/app:1")]);
        let effect = claims.set(&id("old"), Vec::new());
        assert_eq!(effect.reassigned, std::slice::from_ref(&name));
        assert_eq!(claims.jobs(&name)[0].source.registry(), "quay.io");
    }

    #[test]
    fn a_tag_stays_with_those_who_follow_it_however_new_one_is_that_pins_a_digest() {
        let pinned = format!("app:1@{}", digest("1"));
        for (follower, pinning) in [(5, 9), (9, 5)] {
            let (claims, name) = claims(&[("follows", follower, "app:1"), ("pins", pinning, &pinned)]);
            let jobs = claims.jobs(&name);
            let roles: Vec<_> = jobs.iter().map(|job| (&job.role, job.source.digest().is_some())).collect();
            assert_eq!(roles, [(&Role::ByDigest, true), (&Role::Holder, false)]);
            assert_eq!(jobs[0].destination.to_string(), format!("r.io/library/app@{}", digest("1")));
        }
    }

    #[test]
    fn who_holds_a_name_keeps_it_from_an_older_object() {
        let (mut claims, name) = claims(&[("good", 9, "good.io/team/app:1")]);
        claims.hold(&name, &"good.io/team/app:1".parse().unwrap());
        claims.set(&id("evil"), vec![wish("evil", 1, "evil.io/team/app:1")]);
        let jobs = claims.jobs(&name);
        assert_eq!((jobs[0].source.registry(), &jobs[0].role), ("good.io", &Role::Holder));
        assert!(jobs[0].holds_tag && !jobs[1].holds_tag);
        assert_eq!(jobs[1].role, Role::Rival { holder: "good.io/team/app:1 of deployment ns/good".into() });
        assert_eq!(claims.contenders(&name), None);
        let effect = claims.set(&id("good"), Vec::new());
        assert_eq!(effect.reassigned, std::slice::from_ref(&name));
        let jobs = claims.jobs(&name);
        assert_eq!((jobs[0].source.registry(), jobs[0].holds_tag), ("evil.io", false), "nobody else wants it");
    }

    #[test]
    fn where_nothing_is_remembered_the_target_is_asked_whose_a_name_is() {
        let pinned = format!("good.io/team/app:1@{}", digest("1"));
        let (mut claims, name) =
            claims(&[("good", 9, "good.io/team/app:1"), ("evil", 1, "evil.io/team/app:1"), ("pins", 10, &pinned)]);
        let image = |text: &str| text.parse::<Reference>().unwrap();
        let good = [image("good.io/team/app:1"), image(&pinned)];
        assert_eq!(claims.contenders(&name), Some(vec![vec![image("evil.io/team/app:1")], good.to_vec()]));
        claims.hold(&name, &good[0]);
        assert_eq!(claims.contenders(&name), None);
        assert_eq!(claims.source_registry(&name), Some("good.io"));
    }

    /// A wish for the image at each of these targets: a name and a registry.
    fn wish_at(
        workload: &str,
        created: i64,
        image: &str,
        at: &[(&str, &str, &str)],
    ) -> (ImageUse, Reference, Vec<Destination>) {
        let (image_use, source, destinations) = wish(workload, created, image);
        let [plain] = destinations.as_slice() else { panic!("one target") };
        let destinations = at.iter().map(|(name, registry, repository)| Destination {
            target: Arc::new(Target { name: (*name).into(), ..Target::clone(&target(registry)) }),
            repository: (*repository).into(),
            ..plain.clone()
        });
        (image_use, source, destinations.collect())
    }

    #[test]
    fn two_targets_that_are_one_place_are_one_name() {
        let mut claims = Claims::default();
        let both = [("first", "r.io", "mirror/app"), ("second", "R.io/mirror", "app")];
        let wished = wish_at("web", 5, "app:1", &both);
        let effect = claims.set(&id("web"), vec![wished.clone()]);
        let [(name, _)] = effect.wanted.as_slice() else { panic!("one name: {effect:?}") };
        let jobs = claims.jobs(name);
        assert_eq!(jobs.len(), 1);
        assert_eq!(jobs[0].destination.to_string(), "r.io/mirror/app:1");
        assert_eq!(claims.set(&id("web"), vec![wished]), Effect::default(), "nothing changed");
        assert_eq!(claims.set(&id("web"), Vec::new()).forgotten, std::slice::from_ref(name));
    }

    #[test]
    fn different_images_for_one_place_are_rivals_whatever_the_targets_are_called() {
        let mut claims = Claims::default();
        let old = wish_at("old", 5, "quay.io/team/app:1", &[("first", "r.io", "team/app")]);
        let young = wish_at("young", 9, "ghcr.io/team/app:1", &[("second", "r.io/team", "app")]);
        let name = claims.set(&id("old"), vec![old]).wanted.remove(0).0;
        assert_eq!(claims.set(&id("young"), vec![young]).wanted[0].0, name);
        let jobs = claims.jobs(&name);
        let roles: Vec<_> = jobs.iter().map(|job| (job.destination.target.name.as_str(), &job.role)).collect();
        let rival = Role::Rival { holder: "quay.io/team/app:1 of deployment ns/old".into() };
        assert_eq!(roles, [("first", &Role::Holder), ("second", &rival)]);
    }

    #[test]
    fn what_only_one_of_two_targets_is_still_wanted_for_goes_there() {
        let mut claims = Claims::default();
        let old = wish_at("old", 5, "app:1", &[("first", "r.io", "team/app")]);
        let young = wish_at("young", 9, "app:1", &[("second", "r.io/team", "app")]);
        let name = claims.set(&id("old"), vec![old]).wanted.remove(0).0;
        claims.set(&id("young"), vec![young]);
        assert_eq!(claims.jobs(&name)[0].destination.target.name, "first");
        assert_eq!(claims.set(&id("old"), Vec::new()).reassigned, std::slice::from_ref(&name));
        assert_eq!(claims.jobs(&name)[0].destination.target.name, "second");
    }

    #[test]
    fn what_a_job_says_of_its_users_has_a_bound() {
        let mut claims = Claims::default();
        for number in 0..100 {
            claims.set(&id(&format!("w{number}")), vec![wish(&format!("w{number}"), number, "app:1")]);
        }
        let name = claims.names().next().unwrap().clone();
        let oldest: Vec<_> = (0..10).map(|number| id(&format!("w{number}"))).collect();
        assert_eq!(claims.jobs(&name)[0].workloads, oldest);
        for number in 0..100 {
            let effect = claims.set(&id(&format!("w{number}")), Vec::new());
            assert_eq!(effect.reassigned, [], "the others want the same as before");
            assert_eq!(effect.forgotten.len(), usize::from(number == 99));
        }
        assert!(claims.names.is_empty() && claims.workloads.is_empty());
    }
}
