//! A file for each subcommand, and the wiring of all the rooms.

pub mod args;
