//! HTTP: clients, hosts, redirects, responses and their headers. Knows nothing of tokens or credentials.

pub(super) mod addresses;
pub(super) mod clients;
pub(super) mod headers;
pub(super) mod hosts;
pub(super) mod naming;
pub(super) mod response;
pub(super) mod retry;
pub(super) mod stall;
pub(super) mod transfer_rate;
