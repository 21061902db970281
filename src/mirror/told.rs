//! What observers were told of each name, so that they can be told when it is no longer so.

use std::collections::HashMap;

use crate::model::{Destination, Outcome, Reference};

use super::claims::Name;

/// An image and where it was to be.
pub type Entry = (Destination, Reference);

/// The outcomes that were told last, by name.
#[derive(Debug, Default)]
pub struct Told(HashMap<Name, Vec<Entry>>);

impl Told {
    /// These outcomes are what is to be known of a name from now on; answers what was told before and is no longer so.
    pub fn replace(&mut self, name: &Name, outcomes: &[Outcome]) -> Vec<Entry> {
        let now: Vec<Entry> =
            outcomes.iter().map(|outcome| (outcome.destination.clone(), outcome.source.clone())).collect();
        let before = match now.is_empty() {
            true => self.0.remove(name),
            false => self.0.insert(name.clone(), now.clone()),
        };
        before.into_iter().flatten().filter(|entry| !now.contains(entry)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::model::{Status, Target, TargetKind};

    fn outcome(image: &str) -> Outcome {
        let source: Reference = image.parse().unwrap();
        let target = Target {
            name: "default".into(),
            kind: TargetKind::Docker,
            registry: "r.io".into(),
            repo_prefix: String::new(),
        };
        let destination = Destination {
            target: Arc::new(target),
            repository: source.repository().to_owned(),
            tag: source.tag().map(str::to_owned),
            digest: source.digest().cloned(),
        };
        let image = image.to_owned();
        let (workloads, took) = (Vec::new(), Duration::ZERO);
        Outcome { image, source, destination, workloads, status: Status::WouldPull, bytes: 0, took }
    }

    #[test]
    fn what_is_no_longer_so_is_known() {
        let pinned = |letter: &str| outcome(&format!("app:1@sha256:{}", letter.repeat(64)));
        let (a, b) = (pinned("a"), pinned("b"));
        let name = Name::of(&a.destination);
        assert_eq!(name, Name::of(&b.destination));
        let mut told = Told::default();
        let entry = |outcome: &Outcome| (outcome.destination.clone(), outcome.source.clone());
        assert_eq!(told.replace(&name, std::slice::from_ref(&a)), []);
        assert_eq!(told.replace(&name, std::slice::from_ref(&a)), []);
        assert_eq!(told.replace(&name, std::slice::from_ref(&b)), [entry(&a)], "a digest was bumped");
        assert_eq!(told.replace(&name, &[]), [entry(&b)], "nobody wants it");
        assert_eq!(told.replace(&name, &[]), []);
    }
}
