//! What a request is made of.

use std::sync::Arc;

use bytes::Bytes;
use url::Url;

use crate::registry::http::{addresses::RedirectScope, stall::StallTimer};

/// A URL, and the addresses its host may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::registry) struct Endpoint {
    pub url: Url,
    pub scope: RedirectScope,
}

impl Endpoint {
    /// A URL from the configuration or an image reference: any address is allowed.
    pub(in crate::registry) fn trusted(url: Url) -> Self {
        Self { url, scope: RedirectScope::Any }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Scheme {
    Https,
    /// On loopback and where the configuration allows it.
    Http,
}

/// The body of a request.
pub(in crate::registry) enum Payload {
    Empty,
    /// Can be sent again.
    Bytes(Bytes),
    /// Can be sent once.
    Stream {
        body: reqwest::Body,
        /// In bytes.
        length: u64,
        stall_timer: Arc<StallTimer>,
    },
    /// A stream that was sent.
    Spent,
}

impl Payload {
    /// What is left for a retry.
    pub(in crate::registry) fn for_retry(&self) -> Self {
        match self {
            Self::Empty => Self::Empty,
            Self::Bytes(bytes) => Self::Bytes(bytes.clone()),
            Self::Stream { .. } | Self::Spent => Self::Spent,
        }
    }
}
