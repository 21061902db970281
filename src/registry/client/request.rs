//! Requests to a registry.

use http::{HeaderMap, Method};

use crate::registry::http::request::{Endpoint, Payload};

/// A request to a registry.
pub(in crate::registry) struct Request<'a> {
    pub method: Method,
    pub target: Target<'a>,
    pub headers: HeaderMap,
    /// The scopes that a token needs.
    pub scopes: &'a [String],
    pub permit: Permit,
    pub payload: Payload,
}

pub(in crate::registry) enum Target<'a> {
    /// Path and query on the registry.
    Path(&'a str, Option<&'a str>),
    /// A URL from the registry.
    Endpoint(Endpoint),
}

/// How a request counts as one of the registry's concurrent requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::registry) enum Permit {
    /// It waits for a permit of its own.
    Acquire,
    /// The caller holds a permit.
    Held,
}
