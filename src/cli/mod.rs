//! The subcommands, and the wiring of all other rooms.

mod args;
mod aws_identity;
mod build;
mod check;
mod collect;
mod compile_child;
mod completion;
mod config_schema;
mod dispatch;
mod drill;
mod env;
mod error;
mod file_states;
mod flags;
mod help;
mod load;
mod outcome_fields;
mod plan;
mod plugin;
mod rbac;
mod reload;
mod restore;
mod run;
mod signals;
mod status;
mod sync;
mod tasks;
mod terminal;
mod verify;
mod version;

use error::CommandError;

pub use dispatch::main;
