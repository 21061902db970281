//! The subcommands, and the wiring of all other rooms.

mod args;
mod build;
mod collect;
mod compile_child;
mod dispatch;
mod env;
mod error;
mod file_states;
mod identity;
mod plan;
mod plugin;
mod progress;
mod reload;
mod run;
mod signals;
mod sync;
mod tasks;

use error::CommandError;

pub use dispatch::main;
