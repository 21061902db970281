//! Limits on requests to one registry: how many at once, and at which rate.

pub(super) mod connections;
pub(super) mod rate_limiter;
