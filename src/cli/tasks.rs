//! Waits for background tasks at the end.

use std::time::Duration;

use tokio::{
    runtime::Handle,
    time::{sleep, timeout},
};

const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Waits until no task is left, or for `deadline`: an aborted copy cancels its uploads at the target in background tasks,
/// which end with the process.
pub async fn wait_for_background_tasks(deadline: Duration) {
    let metrics = Handle::current().metrics();
    let all_ended = async {
        while metrics.num_alive_tasks() > 0 {
            sleep(POLL_INTERVAL).await;
        }
    };
    if timeout(deadline, all_ended).await.is_err() {
        tracing::debug!(tasks = metrics.num_alive_tasks(), "exiting with running tasks");
    }
}
