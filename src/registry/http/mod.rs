//! HTTP: sending requests, redirects, timeouts, responses and their headers. Knows nothing of credentials or tokens.

pub(super) mod addresses;
pub(super) mod clients;
pub(super) mod headers;
pub(super) mod host_names;
pub(super) mod hosts;
pub(super) mod reach;
pub(super) mod request;
pub(super) mod response;
pub(super) mod retry;
pub(super) mod stall;
pub(super) mod tls;
pub(super) mod transfer_rate;
pub(super) mod transport;
