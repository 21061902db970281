//! Syntax of settings that the program checks and the default plugins apply: name globs and prefix tokens. There is one
//! implementation of each, so that a plugin never rejects what the program has accepted.

mod glob;
mod prefix;

pub use glob::{Glob, GlobError, NamePattern};
pub use prefix::{PrefixToken, UnknownToken, expand_prefix};
