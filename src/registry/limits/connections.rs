//! The maximum number of concurrent requests to one registry.
//!
//! A request acquires its permit when only the registry's response is left to wait for, so that every permit is released
//! again. The transfer of a blob, two requests of which one waits for the other, acquires both permits first: see
//! [`TransferPermit`](crate::registry::TransferPermit).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::registry::shared_cache::SharedCache;

/// Far more than any machine has connections.
const MAX_LIMIT: u32 = 1 << 20;

/// When this many registries are known, those without permits in use are removed.
const MAX_HOSTS: usize = 4096;

/// The limits of all registries.
pub(in crate::registry) struct ConnectionLimits {
    default: usize,
    hosts: SharedCache<String, RequestLimit>,
}

/// The limit of one registry.
pub(in crate::registry) struct RequestLimit {
    host: String,
    max: u32,
    semaphore: Arc<Semaphore>,
}

/// Permission for one request, or for several; released when dropped.
pub(in crate::registry) struct RequestPermit {
    _permit: Option<OwnedSemaphorePermit>,
}

impl ConnectionLimits {
    /// `default` is the maximum for each registry; 0 counts as 1.
    pub(in crate::registry) fn new(default: usize) -> Self {
        Self { default, hosts: SharedCache::new(MAX_HOSTS) }
    }

    /// The limit of `host`, the same one while it is in use. `max` overrides the default.
    pub(in crate::registry) fn for_host(&self, host: &str, max: Option<usize>) -> Arc<RequestLimit> {
        self.hosts.get(host, || {
            let max = u32::try_from(max.unwrap_or(self.default)).unwrap_or(u32::MAX).clamp(1, MAX_LIMIT);
            RequestLimit { host: host.to_owned(), max, semaphore: Arc::new(Semaphore::new(max as usize)) }
        })
    }
}

impl RequestLimit {
    pub(in crate::registry) fn host(&self) -> &str {
        &self.host
    }

    pub(in crate::registry) async fn acquire(&self) -> RequestPermit {
        self.acquire_many(1).await
    }

    /// Acquires `count` permits at once, or all if there are fewer.
    pub(in crate::registry) async fn acquire_many(&self, count: u32) -> RequestPermit {
        RequestPermit { _permit: Arc::clone(&self.semaphore).acquire_many_owned(count.min(self.max)).await.ok() }
    }
}
