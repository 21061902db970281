//! What the actor does at present.

use std::time::Duration;

use tokio::time::Instant;

/// The longest wait of the first copies for the first decisions.
const LONGEST_DECIDING: Duration = Duration::from_secs(10);

/// Whether the actor decides, and whether it copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// This replica has not led yet. It decides nothing: it would report the leader's failures a second time.
    Standby { inventory_complete: bool },
    /// Existing workloads are still being listed: decides, but copies nothing.
    Listing,
    /// Decides all workloads, but copies nothing before that is done or the time is up: equal images become one copy, and
    /// after a change of the configuration nothing is copied by the old one.
    Deciding { until: Instant },
    /// Decides and copies.
    Copying,
}

impl Phase {
    fn deciding(now: Instant) -> Self {
        Self::Deciding { until: now + LONGEST_DECIDING }
    }

    /// This replica leads.
    pub fn begin(self, now: Instant) -> Self {
        match self {
            Self::Standby { inventory_complete: true } => Self::deciding(now),
            Self::Standby { inventory_complete: false } => Self::Listing,
            Self::Listing | Self::Deciding { .. } | Self::Copying => self,
        }
    }

    /// Every workload that existed at the start is known.
    pub fn complete_inventory(self, now: Instant) -> Self {
        match self {
            Self::Standby { .. } => Self::Standby { inventory_complete: true },
            Self::Listing => Self::deciding(now),
            Self::Deciding { .. } | Self::Copying => self,
        }
    }

    /// All workloads have to be decided again before anything is copied.
    pub fn decide_again(self, now: Instant) -> Self {
        match self {
            Self::Deciding { .. } | Self::Copying => Self::deciding(now),
            Self::Standby { .. } | Self::Listing => self,
        }
    }

    /// `is_decided`: whether all workloads are.
    pub fn advance(self, is_decided: bool, now: Instant) -> Self {
        match self {
            Self::Deciding { until } if is_decided || now >= until => Self::Copying,
            _ => self,
        }
    }

    pub fn decides(self) -> bool {
        !matches!(self, Self::Standby { .. })
    }

    pub fn copies(self) -> bool {
        self == Self::Copying
    }

    /// When it ends by itself.
    pub fn deadline(self) -> Option<Instant> {
        match self {
            Self::Deciding { until } => Some(until),
            Self::Standby { .. } | Self::Listing | Self::Copying => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn copies_only_once_it_leads_and_all_workloads_are_decided() {
        let now = Instant::now();
        let standby = Phase::Standby { inventory_complete: false };
        for phase in [standby.begin(now).complete_inventory(now), standby.complete_inventory(now).begin(now)] {
            assert_eq!(phase.deadline(), Some(now + LONGEST_DECIDING));
            assert!(phase.decides() && !phase.copies() && !phase.advance(false, now).copies());
            assert!(phase.advance(true, now).copies() && phase.advance(false, now + LONGEST_DECIDING).copies());
        }
        assert!(!standby.complete_inventory(now).advance(true, now).decides());
        assert!(!standby.begin(now).advance(true, now).copies());
    }

    #[tokio::test]
    async fn a_changed_configuration_is_decided_before_anything_is_copied() {
        let now = Instant::now();
        let standby = Phase::Standby { inventory_complete: true };
        let copying = standby.begin(now).advance(true, now);
        assert_eq!(copying.decide_again(now), standby.begin(now));
        assert_eq!(standby.decide_again(now), standby);
    }
}
