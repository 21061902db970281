//! A file for each subcommand, and the wiring of all the rooms.

mod args;
mod assemble;
mod error;
mod files;
mod gather;
mod identity;
mod leading;
mod modules;
mod plan;
mod plugin;
mod progress;
mod quiet;
mod reload;
mod run;
mod signals;
mod start;
mod stores;
mod sync;

use error::CommandError;

pub use start::main;
