//! Starts the program.

use std::process::ExitCode;

fn main() -> ExitCode {
    k8s_copycat::cli::main(std::env::args_os())
}
