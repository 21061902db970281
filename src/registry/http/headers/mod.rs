//! Response headers.

pub(in crate::registry) mod location;
pub(in crate::registry) mod quota;
pub(in crate::registry) mod retry_after;
