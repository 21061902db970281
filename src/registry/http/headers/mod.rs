//! Response headers.

pub(in crate::registry) mod location;
pub(in crate::registry) mod quota;
