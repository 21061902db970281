//! Shares one snapshot among requests, so that they cost the mirror no more than one request each second.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::{sync::Mutex, task::spawn_blocking, time::timeout};

use super::{
    snapshot::{ReplicaStatus, Snapshot},
    traffic::Traffic,
};

/// How long a snapshot is used.
const MAX_AGE: Duration = Duration::from_secs(1);
/// How long the mirror may take to report its state.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The newest snapshot.
pub struct Snapshots {
    traffic: Arc<Traffic>,
    newest: Mutex<Option<(Instant, Arc<Snapshot>)>>,
}

impl Snapshots {
    /// With the requests that `traffic` observed.
    pub fn new(traffic: Arc<Traffic>) -> Self {
        Self { traffic, newest: Mutex::default() }
    }

    /// A snapshot that is at most a second old; concurrent callers wait for the same one. None if `replica` reports nothing
    /// within ten seconds, or none.
    pub async fn get(&self, replica: impl Future<Output = Option<ReplicaStatus>>) -> Option<Arc<Snapshot>> {
        let mut newest = self.newest.lock().await;
        if let Some((taken, snapshot)) = newest.as_ref()
            && taken.elapsed() < MAX_AGE
        {
            return Some(Arc::clone(snapshot));
        }
        let replica = timeout(TIMEOUT, replica).await.ok().flatten()?;
        let counted = self.traffic.counted();
        let snapshot = spawn_blocking(move || Snapshot::new(replica, counted, SystemTime::now())).await.ok()?;
        let snapshot = Arc::new(snapshot);
        *newest = Some((Instant::now(), Arc::clone(&snapshot)));
        Some(snapshot)
    }
}
