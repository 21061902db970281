//! From the command line to a subcommand, and from its end to an exit code.

use std::{
    error::Error,
    ffi::OsString,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use tokio::runtime::Runtime;
use tracing::{level_filters::LevelFilter, warn};

use crate::{
    config::{self, Config, Loaded},
    policy,
    report::{LogFormat, init_logging},
};

use super::{
    CommandError,
    args::{self, Args, Command},
    assemble,
    files::Snapshot,
    plan, plugin, process, run, sync,
};

/// How long what can't be broken off (a read that waits) may go on after the end.
const LONGEST_LEFT: Duration = Duration::from_secs(1);

/// Does what the command line says; the program's name comes first in it.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    if let Some(code) = process::compiled_as_child(&arguments) {
        return code;
    }
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            let _ = writeln!(io::stderr(), "no threads can be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(ended(arguments.into_iter()));
    // Nobody waits for an answer of a plugin any more.
    policy::stop();
    runtime.shutdown_timeout(LONGEST_LEFT);
    code
}

async fn ended(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let args = match args::parse(arguments) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    match obey(&args).await {
        Ok(code) => code,
        Err(error) => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(source) = cause {
                if !text.contains(&source.to_string()) {
                    text = format!("{text}: {source}");
                }
                cause = source.source();
            }
            // Nobody is left to tell when even standard error is closed.
            let _ = writeln!(io::stderr(), "{text}");
            error.code()
        }
    }
}

async fn obey(args: &Args) -> Result<ExitCode, CommandError> {
    match &args.command {
        Command::Run => {
            let (config, files) = settings(args)?;
            run::run(&args.flags, config, files).await
        }
        Command::Sync { files } => sync::sync(&settings(args)?.0, files).await,
        Command::Plan { files, output } => plan::plan(&settings(args)?.0, files, *output).await,
        Command::Plugin { command } => plugin::plugin(command).await,
    }
}

/// The settings, and the files that they came from, as these were then. From here on there is a log.
fn settings(args: &Args) -> Result<(Config, Snapshot), CommandError> {
    let Loaded { config, files, warnings } = config::load(&args.flags, &variable)
        .map_err(|settings| CommandError::Configuration { plugins: assemble::broken(settings.plugins()), settings })?;
    // Before anything else is read: what changes from now on is a change.
    let files = Snapshot::take(files);
    log(&args.command, &config)?;
    for warning in warnings {
        warn!("{warning}");
    }
    Ok((config, files))
}

/// What is no Unicode is told as well as can be: it is set, so leaving it out in silence would be worse.
pub fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

/// `run` logs to standard output, as the original. The others have their own to say there, and tell each outcome: their
/// log goes to standard error, and holds what is out of the ordinary unless more is asked for.
fn log(command: &Command, config: &Config) -> Result<(), CommandError> {
    let level = config.process.log_level;
    if *command == Command::Run {
        Ok(init_logging(level, format(config, io::stdout().is_terminal()), io::stdout)?)
    } else {
        let level = if level == LevelFilter::INFO { LevelFilter::WARN } else { level };
        Ok(init_logging(level, format(config, io::stderr().is_terminal()), io::stderr)?)
    }
}

fn format(config: &Config, terminal: bool) -> LogFormat {
    match config.process.log_format {
        Some(config::LogFormat::Json) => LogFormat::Json,
        None if !terminal => LogFormat::Json,
        Some(config::LogFormat::Text) | None => LogFormat::Text { color: terminal },
    }
}
