//! Tools for who writes plugins: what a plugin is made with, and how it is tried before a cluster sees it.

mod bindings;
mod contract;
mod wrap;

pub use bindings::{BindingsError, BindingsLanguage, bindings};
pub use contract::ContractError;
pub use wrap::{WrapError, WrapOptions, wrap};
