//! Authentication at registries.

pub(super) mod account;
pub(super) mod cache;
pub(super) mod challenge;
pub(super) mod clouds;
mod credential_helper;
pub(super) mod credentials;
pub(super) mod docker_login;
pub(super) mod header;
pub(super) mod host_auth;
pub(super) mod login_sources;
mod obtained_login;
pub(super) mod scheme;
pub(super) mod token;
