//! The subcommands, and the wiring of all other rooms.

mod args;
mod aws_identity;
mod build;
mod check;
mod collect;
mod compile_child;
mod config_schema;
mod dispatch;
mod env;
mod error;
mod file_states;
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
