//! Image uses that can't be decided as things stand.

use std::collections::HashMap;

use crate::model::WorkloadId;

/// How many there are, by workload.
#[derive(Debug, Default)]
pub struct Undecided {
    counts: HashMap<WorkloadId, usize>,
    all: usize,
    told: usize,
}

impl Undecided {
    /// So many of a workload's can't be decided. Answers whether there are any now, or were before.
    pub fn set(&mut self, workload: &WorkloadId, count: usize) -> bool {
        let before = match count {
            0 => self.counts.remove(workload),
            _ => self.counts.insert(workload.clone(), count),
        };
        self.all = self.all + count - before.unwrap_or_default();
        count > 0 || before.is_some()
    }

    /// The number of all, if it is another than when this was asked last.
    pub fn change(&mut self) -> Option<usize> {
        (std::mem::replace(&mut self.told, self.all) != self.all).then_some(self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WorkloadKind;

    #[test]
    fn only_changes_are_told() {
        let workload =
            |name: &str| WorkloadId { kind: WorkloadKind::Pod, namespace: "shop".to_owned(), name: name.to_owned() };
        let mut undecided = Undecided::default();
        assert_eq!(undecided.change(), None);
        assert!(undecided.set(&workload("a"), 2));
        undecided.set(&workload("b"), 1);
        assert_eq!(undecided.change(), Some(3));
        undecided.set(&workload("a"), 2);
        assert_eq!(undecided.change(), None);
        assert!(undecided.set(&workload("a"), 0));
        assert!(!undecided.set(&workload("c"), 0));
        assert_eq!(undecided.change(), Some(1));
    }
}
