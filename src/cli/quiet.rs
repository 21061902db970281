//! The end of what is left to itself.

use std::time::Duration;

use tokio::{
    runtime::Handle,
    time::{sleep, timeout},
};

/// How often is looked.
const PERIOD: Duration = Duration::from_millis(10);

/// Waits until no task is left, or `longest`: a copy that was broken off cancels its uploads at the target in tasks of
/// their own, which end with the process otherwise. Everything else has been ended or dropped before.
pub async fn quiet(longest: Duration) {
    let metrics = Handle::current().metrics();
    let none_left = async {
        while metrics.num_alive_tasks() > 0 {
            sleep(PERIOD).await;
        }
    };
    if timeout(longest, none_left).await.is_err() {
        tracing::debug!(tasks = metrics.num_alive_tasks(), "ending with tasks that had not ended");
    }
}
