//! The subcommands, and the wiring of all other rooms.

mod args;
mod build;
mod collect;
mod compile_child;
mod env;
mod error;
mod identity;
mod plan;
mod plugin;
mod progress;
mod reload;
mod run;
mod signals;
mod snapshot;
mod start;
mod sync;
mod tasks;

use error::CommandError;

pub use start::main;
