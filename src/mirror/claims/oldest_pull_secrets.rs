//! The different pull secrets of all claims for one source, ordered by the oldest claim that has them: the first few are
//! found without a look at thousands of claims.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::model::PullSecretRefs;

use super::claimant::Claimant;

/// The place of a list of pull secrets in a claim.
type Place = (Claimant, usize);

/// Pull secrets, and which claims have them.
#[derive(Debug, Default)]
pub(super) struct OldestPullSecrets {
    places: BTreeMap<Arc<PullSecretRefs>, BTreeMap<Place, usize>>,
    /// The first place of each.
    first: BTreeSet<(Place, Arc<PullSecretRefs>)>,
}

impl OldestPullSecrets {
    pub fn add(&mut self, claimant: &Claimant, all: &[Arc<PullSecretRefs>]) {
        for (index, refs) in all.iter().enumerate() {
            // While a claim is replaced, it is here twice.
            self.change(refs, |places| *places.entry((claimant.clone(), index)).or_default() += 1);
        }
    }

    pub fn subtract(&mut self, claimant: &Claimant, all: &[Arc<PullSecretRefs>]) {
        for (index, refs) in all.iter().enumerate() {
            let place = (claimant.clone(), index);
            self.change(refs, |places| {
                let Some(count) = places.get_mut(&place) else { return };
                *count -= 1;
                if *count == 0 {
                    places.remove(&place);
                }
            });
        }
    }

    fn change(&mut self, refs: &Arc<PullSecretRefs>, change: impl FnOnce(&mut BTreeMap<Place, usize>)) {
        let places = self.places.entry(Arc::clone(refs)).or_default();
        let before = places.first_key_value().map(|(place, _)| place.clone());
        change(places);
        let after = places.first_key_value().map(|(place, _)| place.clone());
        if places.is_empty() {
            self.places.remove(refs);
        }
        if before != after {
            if let Some(before) = before {
                self.first.remove(&(before, Arc::clone(refs)));
            }
            if let Some(after) = after {
                self.first.insert((after, Arc::clone(refs)));
            }
        }
    }

    /// The oldest claims' first, at most `max`.
    pub fn first(&self, max: usize) -> Vec<Arc<PullSecretRefs>> {
        self.first.iter().take(max).map(|(_, refs)| Arc::clone(refs)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::{Workload, WorkloadId, WorkloadKind};

    fn claimant(number: i64) -> Claimant {
        let id =
            WorkloadId { kind: WorkloadKind::Deployment, namespace: "ns".to_owned(), name: format!("web-{number}") };
        let workload = Workload {
            id,
            uid: String::new(),
            owners: Vec::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            namespace_labels: Arc::default(),
            created: number,
        };
        Claimant { workload: Arc::new(workload), rank: 0 }
    }

    fn refs(secret: &str) -> Arc<PullSecretRefs> {
        let secrets = vec![secret.to_owned()];
        Arc::new(PullSecretRefs { namespace: "ns".to_owned(), service_account: None, secrets })
    }

    fn first(all: &OldestPullSecrets, max: usize) -> Vec<String> {
        all.first(max).iter().map(|refs| refs.secrets.concat()).collect()
    }

    #[test]
    fn the_oldest_claims_come_first_and_each_list_once() {
        let mut all = OldestPullSecrets::default();
        all.add(&claimant(3), &[refs("c"), refs("a")]);
        all.add(&claimant(1), &[refs("b"), refs("a")]);
        all.add(&claimant(2), &[refs("a"), refs("d")]);
        assert_eq!(first(&all, 9), ["b", "a", "d", "c"]);
        assert_eq!(first(&all, 2), ["b", "a"], "their number is bounded");
        all.subtract(&claimant(1), &[refs("b"), refs("a")]);
        assert_eq!(first(&all, 9), ["a", "d", "c"]);
    }

    #[test]
    fn a_replaced_claim_leaves_nothing_behind() {
        let mut all = OldestPullSecrets::default();
        all.add(&claimant(1), &[refs("a")]);
        // The new claim is added before the old one is subtracted.
        all.add(&claimant(1), &[refs("a")]);
        all.subtract(&claimant(1), &[refs("a")]);
        assert_eq!(first(&all, 9), ["a"]);
        all.subtract(&claimant(1), &[refs("a")]);
        assert!(all.places.is_empty() && all.first.is_empty());
    }
}
