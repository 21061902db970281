//! Authentication at registries.

pub(super) mod account;
pub(super) mod cache;
pub(super) mod challenge;
pub(super) mod credentials;
pub(super) mod header;
pub(super) mod host_auth;
pub(super) mod scheme;
pub(super) mod token;
