//! What the transport has to be told.

use std::{sync::Arc, time::Duration};

use super::{Aws, Backoff, LeastRate};
use crate::model::{Credential, Observer};

/// How registries are reached.
#[derive(Clone)]
pub struct Settings {
    /// How long to wait for the head of an answer, and for a transfer in which no byte moves; none: no bound but the
    /// 30 s that a TCP connection may take.
    pub request_timeout: Option<Duration>,
    /// How slow a transfer may be; none: as slow as it likes.
    pub least_rate: Option<LeastRate>,
    /// Hosts (`host[:port]`, globs allowed) that somebody on the Internet may send us on to although their addresses are
    /// private.
    pub private_redirects: Vec<String>,
    /// Who we are; the exact name beats a glob, and among equals the later entry wins.
    pub credentials: Vec<Credential>,
    /// Who we are at registries of Amazon's, where `credentials` says nothing of them.
    pub aws: Aws,
    /// Who is told of registries that limit us.
    pub observer: Arc<dyn Observer>,
    /// Registries (`host[:port]`) whose certificates are not checked, and that may be spoken to over plain HTTP.
    pub insecure: Vec<String>,
    /// How often a request that can pass on another try is sent, and after which pauses.
    pub backoff: Backoff,
}
