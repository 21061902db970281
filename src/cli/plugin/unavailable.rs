//! Takes the place of the subcommands that only the feature `authoring` has.

use std::ffi::OsString;

/// Whatever follows the subcommand.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    arguments: Vec<OsString>,
}
