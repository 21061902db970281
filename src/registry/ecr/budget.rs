//! How often a registry's calls are made: below what AWS allows an account in a region, and slower where it still says
//! no.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use http::Method;

/// The first pause after a refusal without `Retry-After`; it doubles with each that follows.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// So many times slower than allowed it gets at most.
const SLOWEST: f64 = 32.0;

/// What is left of the slowness after each call that went well.
const RECOVERY: f64 = 0.95;

/// Calls a second, from "Amazon ECR service quotas". A blob in one request is an UploadLayerPart (500) and a
/// CompleteLayerUpload.
const BATCH_GET_IMAGE: f64 = 2000.0;
const PUT_IMAGE: f64 = 10.0;
const BATCH_CHECK_LAYER_AVAILABILITY: f64 = 1000.0;
const GET_DOWNLOAD_URL_FOR_LAYER: f64 = 3000.0;
const INITIATE_LAYER_UPLOAD: f64 = 100.0;
const COMPLETE_LAYER_UPLOAD: f64 = 100.0;

/// The budgets of the registry of one account and region.
pub(in crate::registry) struct Budgets {
    read_manifest: Arc<Budget>,
    write_manifest: Arc<Budget>,
    check_blob: Arc<Budget>,
    read_blob: Arc<Budget>,
    start_upload: Arc<Budget>,
    upload: Arc<Budget>,
}

impl Default for Budgets {
    fn default() -> Self {
        let allowed = |each_second| Arc::new(Budget::new(each_second));
        Self {
            read_manifest: allowed(BATCH_GET_IMAGE),
            write_manifest: allowed(PUT_IMAGE),
            check_blob: allowed(BATCH_CHECK_LAYER_AVAILABILITY),
            read_blob: allowed(GET_DOWNLOAD_URL_FOR_LAYER),
            start_upload: allowed(INITIATE_LAYER_UPLOAD),
            upload: allowed(COMPLETE_LAYER_UPLOAD),
        }
    }
}

impl Budgets {
    /// What a request counts against.
    pub fn of(&self, method: &Method, path: &str) -> Option<&Arc<Budget>> {
        let reads = *method == Method::GET || *method == Method::HEAD;
        if path.contains("/manifests/") {
            Some(if reads { &self.read_manifest } else { &self.write_manifest })
        } else if *method == Method::POST {
            Some(&self.start_upload)
        } else if path.contains("/blobs/uploads/") || *method == Method::PUT {
            Some(&self.upload)
        } else if path.contains("/blobs/") {
            Some(if *method == Method::HEAD { &self.check_blob } else { &self.read_blob })
        } else {
            None
        }
    }
}

/// How often one call may be made.
pub(in crate::registry) struct Budget {
    interval: Duration,
    burst: Duration,
    pace: Mutex<Pace>,
}

struct Pace {
    next: Instant,
    /// 1 at full speed.
    slowness: f64,
    slowed: Option<Instant>,
}

impl Budget {
    /// Four fifths of what is allowed, and a burst of the fifth that is left, so that no second has more than that.
    fn new(allowed_each_second: f64) -> Self {
        let interval = Duration::from_secs_f64(1.25 / allowed_each_second);
        let burst = interval.mul_f64((allowed_each_second / 5.0 - 1.0).max(0.0));
        Self { interval, burst, pace: Mutex::new(Pace { next: Instant::now(), slowness: 1.0, slowed: None }) }
    }

    /// Waits for its turn.
    pub async fn turn(&self) {
        tokio::time::sleep_until(self.next_turn(Instant::now()).into()).await;
    }

    fn next_turn(&self, now: Instant) -> Instant {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let earliest = now.checked_sub(self.burst).unwrap_or(now);
        let turn = pace.next.max(earliest);
        pace.next = turn + self.interval.mul_f64(pace.slowness);
        turn
    }

    /// A call went well.
    pub fn went_well(&self) {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        pace.slowness = (pace.slowness * RECOVERY).max(1.0);
    }

    /// A call was refused for coming too soon: everybody waits, and is slower from then on. `asked` is what the
    /// registry wants us to wait.
    pub fn too_fast(&self, now: Instant, asked: Option<Duration>) {
        let mut pace = self.pace.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that were under way together are one refusal.
        let told = pace.slowed.is_some_and(|slowed| now < slowed + FIRST_PAUSE);
        if !told {
            pace.slowness = (pace.slowness * 2.0).min(SLOWEST);
            pace.slowed = Some(now);
        }
        let pause = asked.unwrap_or_else(|| FIRST_PAUSE.mul_f64(pace.slowness / 2.0));
        pace.next = pace.next.max(now + pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each of so many turns comes, all asked for at `now`, after `now`.
    fn turns(budget: &Budget, now: Instant, count: usize) -> Vec<Duration> {
        (0..count).map(|_| budget.next_turn(now).saturating_duration_since(now)).collect()
    }

    #[test]
    fn no_second_has_more_calls_than_are_allowed() {
        let budget = Budget::new(PUT_IMAGE);
        let times = turns(&budget, Instant::now() + Duration::from_secs(10), 40);
        for window in times.windows(11) {
            assert!(window[10] - window[0] >= Duration::from_secs(1), "{window:?}");
        }
        assert!(times[39] < Duration::from_secs(6), "and not far fewer: {:?}", times[39]);
    }

    #[test]
    fn refusals_slow_everybody_down_and_are_got_over() {
        let budget = Budget::new(INITIATE_LAYER_UPLOAD);
        let mut now = Instant::now();
        let fast = turns(&budget, now, 100)[99];
        for _ in 0..5 {
            now += Duration::from_secs(60);
            budget.too_fast(now, None);
            // Of the same burst.
            budget.too_fast(now, None);
        }
        let slow = turns(&budget, now, 100)[99];
        assert!(slow > fast * 20 && slow < fast * 60, "{slow:?} after {fast:?}");
        for _ in 0..100 {
            budget.went_well();
        }
        assert!(turns(&budget, now + Duration::from_secs(3600), 100)[99] < fast * 2);
    }

    #[test]
    fn the_registry_says_how_long_to_wait() {
        let budget = Budget::new(PUT_IMAGE);
        let now = Instant::now();
        budget.too_fast(now, Some(Duration::from_secs(7)));
        assert!(turns(&budget, now, 1)[0] >= Duration::from_secs(7));
    }

    #[test]
    fn requests_are_known_by_what_they_do() {
        let budgets = Budgets::default();
        for (method, path, budget) in [
            (Method::GET, "/v2/a/manifests/1", &budgets.read_manifest),
            (Method::HEAD, "/v2/a/manifests/1", &budgets.read_manifest),
            (Method::PUT, "/v2/a/manifests/1", &budgets.write_manifest),
            (Method::HEAD, "/v2/a/blobs/sha256:0", &budgets.check_blob),
            (Method::GET, "/v2/a/blobs/sha256:0", &budgets.read_blob),
            (Method::POST, "/v2/a/blobs/uploads/", &budgets.start_upload),
            (Method::PUT, "/v2/a/blobs/uploads/7", &budgets.upload),
            (Method::PUT, "/upload/7", &budgets.upload),
        ] {
            let found = budgets.of(&method, path).unwrap();
            assert!(Arc::ptr_eq(found, budget), "{method} {path}");
        }
        assert!(budgets.of(&Method::GET, "/v2/").is_none());
    }
}
