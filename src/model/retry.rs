//! Whether a failure passes by itself.

use std::time::Duration;

/// When a retry can help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Soon, without anybody's action: network failures, timeouts, 429, 5xx.
    Soon,
    /// Not before this time has passed, as the registry said (`Retry-After`).
    After(Duration),
    /// After somebody has changed something: not found, denied, rejected.
    Later,
}
