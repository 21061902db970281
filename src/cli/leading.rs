//! Mirroring only while this replica holds the Lease.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::watch;
use tracing::{info, warn};

use crate::{
    mirror::{Mirror, Stopped},
    report::Metrics,
    workload::Hold,
};

/// Whether this replica leads at the moment, for whoever asks; a clone tells the same.
#[derive(Clone, Default)]
pub struct Leading(Arc<AtomicBool>);

impl Leading {
    /// Whether it does.
    pub fn is_so(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// It does from now on, or does not.
    pub fn set(&self, leads: bool, metrics: &Metrics) {
        self.0.store(leads, Ordering::Release);
        metrics.set_leader(leads);
    }
}

/// Pauses the mirror while the Lease can't be renewed. Ends when another replica holds it, with the mirror paused; never
/// where there is no Lease.
///
/// # Errors
/// When the mirror has stopped.
pub async fn follow_lease(
    hold: Option<watch::Receiver<Hold>>,
    mirror: &Mirror,
    metrics: &Metrics,
    leading: &Leading,
) -> Result<(), Stopped> {
    let Some(mut hold) = hold else { return pending().await };
    // A Lease that nobody renews any more, without a word, is as good as lost.
    while hold.changed().await.is_ok() {
        let now = *hold.borrow_and_update();
        match now {
            Hold::Held => {
                leading.set(true, metrics);
                mirror.begin().await?;
                info!("the Lease is renewed again, and nobody else has held it: going on");
            }
            Hold::Overdue => {
                leading.set(false, metrics);
                let active = mirror.pause().await?;
                warn!(
                    active,
                    "the Lease could not be renewed for 10 s and another replica may take it: nothing new begins until \
                     it is renewed; copies under way may end"
                );
            }
            Hold::Lost => break,
        }
    }
    leading.set(false, metrics);
    mirror.pause().await?;
    Ok(())
}
