//! Starts the program.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    k8s_copycat::cli::main(std::env::args_os()).await
}
