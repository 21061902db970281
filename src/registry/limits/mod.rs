//! Limits on requests to one registry: how many at once, and how fast.

pub(super) mod connections;
pub(super) mod pace;
