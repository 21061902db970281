//! How many image uses the policy could not decide.

use std::collections::HashMap;

use crate::model::WorkloadId;

/// Counts by workload.
#[derive(Debug, Default)]
pub struct UndecidedCounts {
    counts: HashMap<WorkloadId, usize>,
    total: usize,
    reported: usize,
}

impl UndecidedCounts {
    /// Sets a workload's count. Returns whether it is or was above zero.
    pub fn set(&mut self, workload: &WorkloadId, count: usize) -> bool {
        let before = match count {
            0 => self.counts.remove(workload),
            _ => self.counts.insert(workload.clone(), count),
        };
        self.total = self.total + count - before.unwrap_or_default();
        count > 0 || before.is_some()
    }

    /// The total, if it has changed since the last call.
    pub fn change(&mut self) -> Option<usize> {
        (std::mem::replace(&mut self.reported, self.total) != self.total).then_some(self.total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::WorkloadKind;

    #[test]
    fn reports_only_changes() {
        let workload =
            |name: &str| WorkloadId { kind: WorkloadKind::Pod, namespace: "shop".to_owned(), name: name.to_owned() };
        let mut undecided = UndecidedCounts::default();
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
