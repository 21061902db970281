//! When a request is sent again. Here because oci-client 0.18 tries nothing again, and hides `Retry-After`.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header::RETRY_AFTER};

use crate::model::Retry;
use crate::registry::error::Fault;

/// The first pause; it doubles from there.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// A longer `Retry-After` is handed to the caller, who has other things to do meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What is believed of a longer `Retry-After`: clocks can't hold any number.
pub(in crate::registry) const LONGEST_BELIEVED: Duration = Duration::from_secs(24 * 60 * 60);

/// How often, and after which pauses.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// Tries in all; 0 counts as 1.
    pub attempts: u32,
    /// The longest pause that is not the registry's own wish.
    pub cap: Duration,
}

impl Backoff {
    /// The first success, or the last failure.
    pub(in crate::registry) async fn run<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, Fault>
    where
        F: Future<Output = Result<T, Fault>>,
    {
        let mut failures = 0;
        loop {
            let fault = match attempt().await {
                Ok(value) => return Ok(value),
                Err(fault) => fault,
            };
            failures += 1;
            let Some(pause) = self.pause(failures, fault.retry()) else { return Err(fault) };
            tracing::debug!(failures, ?pause, "trying again: {fault}");
            tokio::time::sleep(pause).await;
        }
    }

    /// How long to wait after that many failures in a row; none: give up.
    pub fn pause(&self, failures: u32, retry: Retry) -> Option<Duration> {
        if failures >= self.attempts {
            return None;
        }
        match retry {
            Retry::Later => None,
            Retry::After(wait) => (wait <= LONGEST_WAIT).then_some(wait),
            Retry::Soon => {
                let doubled =
                    FIRST_PAUSE.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
                // Between a half and the whole, so that those who failed together do not come back together.
                Some(doubled.min(self.cap).mul_f64(0.5 + fastrand::f64() / 2.0))
            }
        }
    }
}

/// `Retry-After`, in seconds or as a date (RFC 9110, section 10.2.3).
pub(in crate::registry) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds).min(LONGEST_BELIEVED));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(SystemTime::from(date).duration_since(now).unwrap_or_default().min(LONGEST_BELIEVED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, expected) in [
            ("7", Some(7)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:27 GMT", Some(0)),
            ("18446744073709551615", Some(86_400)),
            ("Sun, 06 Nov 9994 08:49:47 GMT", Some(86_400)),
            ("soon", None),
            ("-1", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn pauses_double_up_to_the_cap_and_end() {
        let backoff = Backoff { attempts: 40, cap: Duration::from_secs(1) };
        for (failures, most) in [(1, 200), (2, 400), (3, 800), (4, 1000), (39, 1000)] {
            let pause = backoff.pause(failures, Retry::Soon).unwrap();
            let most = Duration::from_millis(most);
            assert!(most / 2 <= pause && pause <= most, "{failures}: {pause:?}");
        }
        assert_eq!(backoff.pause(40, Retry::Soon), None);
        assert_eq!(backoff.pause(1, Retry::Later), None);
        assert_eq!(backoff.pause(1, Retry::After(LONGEST_WAIT)), Some(LONGEST_WAIT));
        assert_eq!(backoff.pause(1, Retry::After(LONGEST_WAIT * 2)), None);
    }
}
