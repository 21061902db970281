//! Requests to registries and bytes copied, as counted facts.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use super::recent::{Recent, minutes_since_1970};
use crate::model::{Event, Observer, PassSummary, canonical_registry};

/// The most registries that are counted: anyone who deploys can name new ones.
const MAX_REGISTRIES: usize = 200;

/// What happened lately. An observer.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<Counted>);

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// By host.
    pub registries: BTreeMap<String, RegistryTraffic>,
    /// Interrupted watches of the cluster, by the plural of their kind.
    pub watches: BTreeMap<&'static str, WatchInterruptions>,
    /// The last pass that ended.
    pub last_pass: Option<PassSummary>,
    bytes: u64,
    /// Days since 1970 on which `bytes` were copied.
    day: u64,
}

/// Requests to one registry.
#[derive(Clone, Debug, Default)]
pub struct RegistryTraffic {
    /// The last failed request, and its status; none without a response.
    pub last_failure: Option<(SystemTime, Option<u16>)>,
    /// What the quota has left.
    pub pulls_left: Option<PullsLeft>,
    /// Rate limit responses.
    pub throttled: u64,
    requests: Recent,
}

/// Interruptions of the watch of one kind of objects.
#[derive(Clone, Debug)]
pub struct WatchInterruptions {
    pub recent: Recent,
    pub last: SystemTime,
}

/// What a registry's quota has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullsLeft {
    /// Pulls.
    pub left: u64,
    /// Of so many in all; none if the registry does not say.
    pub limit: Option<u64>,
    /// When the registry said so.
    pub at: SystemTime,
}

impl Traffic {
    /// A copy of what was counted.
    pub fn counted(&self) -> Counted {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counted {
    /// Bytes copied on the day of `now`, in UTC.
    pub fn bytes_today(&self, now: SystemTime) -> u64 {
        if self.day == minutes_since_1970(now) / (24 * 60) { self.bytes } else { 0 }
    }

    fn copied(&mut self, bytes: u64, now: SystemTime) {
        self.bytes = self.bytes_today(now).saturating_add(bytes);
        self.day = minutes_since_1970(now) / (24 * 60);
    }

    fn interrupted(&mut self, resource: &'static str, now: SystemTime) {
        let watch =
            self.watches.entry(resource).or_insert_with(|| WatchInterruptions { recent: Recent::default(), last: now });
        watch.recent.count(true, now);
        watch.last = now;
    }

    /// Under the name that image references use.
    fn registry(&mut self, host: &str) -> Option<&mut RegistryTraffic> {
        let name = canonical_registry(host);
        if !self.registries.contains_key(&name) && self.registries.len() >= MAX_REGISTRIES {
            return None;
        }
        Some(self.registries.entry(name).or_default())
    }
}

impl RegistryTraffic {
    /// Requests within the last 10 minutes, failed ones, and the time of the first of them.
    pub fn recent(&self, now: SystemTime) -> (u64, u64, Option<SystemTime>) {
        self.requests.within(now)
    }

    fn requested(&mut self, status: Option<u16>, now: SystemTime) {
        let is_failure = status.is_none_or(|status| status == 403 || status == 429 || status >= 500);
        if is_failure {
            self.last_failure = Some((now, status));
        }
        self.requests.count(is_failure, now);
    }
}

impl Observer for Traffic {
    fn observe(&self, event: &Event<'_>) {
        let now = SystemTime::now();
        match *event {
            Event::BytesCopied(bytes) => self.lock().copied(bytes, now),
            Event::PassEnded(pass) => self.lock().last_pass = Some(pass),
            Event::Requested { registry, status, .. } => {
                if let Some(traffic) = self.lock().registry(registry) {
                    traffic.requested(status, now);
                }
            }
            Event::PullsLeft { registry, left, limit } => {
                if let Some(traffic) = self.lock().registry(registry) {
                    traffic.pulls_left = Some(PullsLeft { left, limit, at: now });
                }
            }
            Event::Throttled { registry } => {
                if let Some(traffic) = self.lock().registry(registry) {
                    traffic.throttled += 1;
                }
            }
            Event::WatchRestarted(resource) => self.lock().interrupted(resource, now),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(86_400 * 20_000 + seconds)
    }

    #[test]
    fn requests_are_counted_for_ten_minutes() {
        let mut traffic = RegistryTraffic::default();
        for (second, status) in [(0, Some(200)), (30, Some(404)), (90, None), (95, Some(503)), (400, Some(401))] {
            traffic.requested(status, at(second));
        }
        assert_eq!(traffic.recent(at(401)), (5, 2, Some(at(0))));
        assert_eq!(traffic.recent(at(600)), (3, 2, Some(at(90))));
        assert_eq!(traffic.recent(at(3600)), (0, 0, None));
        assert_eq!(traffic.last_failure, Some((at(95), Some(503))));
    }

    #[test]
    fn bytes_are_counted_by_day() {
        let mut counted = Counted::default();
        counted.copied(5, at(1));
        counted.copied(7, at(86_399));
        assert_eq!(counted.bytes_today(at(86_399)), 12);
        assert_eq!(counted.bytes_today(at(86_400)), 0);
        counted.copied(1, at(86_400));
        assert_eq!(counted.bytes_today(at(86_400)), 1);
    }

    #[test]
    fn a_registry_has_the_name_that_images_use() {
        let traffic = Traffic::default();
        traffic.observe(&Event::Requested { registry: "registry-1.docker.io", method: "GET", status: Some(200) });
        assert_eq!(traffic.counted().registries.into_keys().collect::<Vec<_>>(), ["docker.io"]);
    }

    #[test]
    fn registries_are_bounded() {
        let traffic = Traffic::default();
        for number in 0..2 * MAX_REGISTRIES {
            let registry = format!("r{number}.example");
            traffic.observe(&Event::Requested { registry: &registry, method: "GET", status: Some(200) });
        }
        assert_eq!(traffic.counted().registries.len(), MAX_REGISTRIES);
    }
}
