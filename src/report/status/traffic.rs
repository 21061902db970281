//! Requests to registries and bytes copied, as counted facts.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use crate::model::{Event, Observer, PassSummary};

/// The most registries that are counted: anyone who deploys can name new ones.
const MAX_REGISTRIES: usize = 200;
/// How far back requests are counted, in minutes.
const WINDOW_MINUTES: u64 = 10;

/// What happened lately. An observer.
#[derive(Debug, Default)]
pub struct Traffic(Mutex<Counted>);

/// What was counted.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// By host.
    pub registries: BTreeMap<String, RegistryTraffic>,
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
    /// Pulls that the quota has left, and when the registry said so.
    pub pulls_left: Option<(u64, SystemTime)>,
    /// Rate limit responses.
    pub throttled: u64,
    /// The oldest first, at most one for each minute.
    minutes: VecDeque<Minute>,
}

#[derive(Clone, Copy, Debug)]
struct Minute {
    /// Since 1970.
    number: u64,
    first: SystemTime,
    requests: u64,
    failed: u64,
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

    fn registry(&mut self, host: &str) -> Option<&mut RegistryTraffic> {
        if !self.registries.contains_key(host) {
            if self.registries.len() >= MAX_REGISTRIES {
                return None;
            }
            self.registries.insert(host.to_owned(), RegistryTraffic::default());
        }
        self.registries.get_mut(host)
    }
}

impl RegistryTraffic {
    /// Requests within the last 10 minutes, failed ones, and the time of the first of them.
    pub fn recent(&self, now: SystemTime) -> (u64, u64, Option<SystemTime>) {
        let oldest = minutes_since_1970(now).saturating_sub(WINDOW_MINUTES);
        let recent = || self.minutes.iter().filter(|minute| minute.number > oldest);
        let sum = |count: fn(&Minute) -> u64| recent().map(count).sum();
        (sum(|minute| minute.requests), sum(|minute| minute.failed), recent().map(|minute| minute.first).next())
    }

    fn requested(&mut self, status: Option<u16>, now: SystemTime) {
        let is_failure = status.is_none_or(|status| status == 403 || status == 429 || status >= 500);
        if is_failure {
            self.last_failure = Some((now, status));
        }
        let number = minutes_since_1970(now);
        if self.minutes.back().is_none_or(|minute| minute.number != number) {
            self.minutes.push_back(Minute { number, first: now, requests: 0, failed: 0 });
            while self.minutes.len() as u64 > WINDOW_MINUTES {
                self.minutes.pop_front();
            }
        }
        if let Some(minute) = self.minutes.back_mut() {
            minute.requests += 1;
            minute.failed += u64::from(is_failure);
        }
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
            Event::PullsLeft { registry, left } => {
                if let Some(traffic) = self.lock().registry(registry) {
                    traffic.pulls_left = Some((left, now));
                }
            }
            Event::Throttled { registry } => {
                if let Some(traffic) = self.lock().registry(registry) {
                    traffic.throttled += 1;
                }
            }
            _ => {}
        }
    }
}

fn minutes_since_1970(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs() / 60
}

#[cfg(test)]
mod tests {
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
        for minute in 0..1000 {
            traffic.requested(Some(200), at(60 * minute));
        }
        assert_eq!(traffic.minutes.len(), 10);
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
    fn registries_are_bounded() {
        let traffic = Traffic::default();
        for number in 0..2 * MAX_REGISTRIES {
            let registry = format!("r{number}.example");
            traffic.observe(&Event::Requested { registry: &registry, method: "GET", status: Some(200) });
        }
        assert_eq!(traffic.counted().registries.len(), MAX_REGISTRIES);
    }
}
