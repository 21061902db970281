//! From the command line to a subcommand, and from its end to an exit code.

use std::{
    ffi::OsString,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use tokio::{runtime::Runtime, task::spawn_blocking};
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
    plan, plugin, process, run,
    signals::Signals,
    sync,
};

/// How long what can't be broken off (a read that waits) may go on after the end.
const LONGEST_LEFT: Duration = Duration::from_secs(1);

/// Does what the command line says; the program's name comes first in it.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    if let Some(code) = process::compiled_as_child(&arguments) {
        return code;
    }
    let args = match args::parse(arguments) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    match started(&args) {
        Ok(code) => code,
        Err(error) => {
            for line in error.lines() {
                // Nobody is left to tell when even standard error is closed.
                let _ = writeln!(io::stderr(), "{line}");
            }
            error.code()
        }
    }
}

fn started(args: &Args) -> Result<ExitCode, CommandError> {
    let runtime = Runtime::new().map_err(CommandError::Runtime)?;
    // Before anything that takes time, so that no signal comes too early to be obeyed. Of the others nothing has to be put
    // in order: a signal ends them at once.
    let signals = || Signals::listen().map_err(CommandError::Signals);
    let ended = match &args.command {
        Command::Run => runtime.block_on(run_until(args, &signals()?)),
        Command::Sync { files } => runtime.block_on(sync_until(args, files, &signals()?)),
        Command::Plan { files, output, fail_on } => {
            runtime.block_on(async { plan::plan(&settings(args)?.0, files, *output, fail_on).await })
        }
        Command::Plugin { command } => runtime.block_on(plugin::plugin(command)),
    };
    // Nobody waits for an answer of a plugin any more.
    policy::stop();
    runtime.shutdown_timeout(LONGEST_LEFT);
    ended
}

async fn run_until(args: &Args, signals: &Signals) -> Result<ExitCode, CommandError> {
    match signals.or(settings_read(args)).await {
        Ok(read) => {
            let (config, files) = read?;
            run::run(&args.flags, config, files, signals).await
        }
        Err(_) => Ok(ExitCode::SUCCESS),
    }
}

async fn sync_until(args: &Args, files: &[PathBuf], signals: &Signals) -> Result<ExitCode, CommandError> {
    match signals.or(settings_read(args)).await {
        Ok(read) => sync::sync(&read?.0, files, signals).await,
        Err(signal) => Ok(sync::interrupted(signal, None)),
    }
}

/// As [`settings`], in a thread that may wait.
async fn settings_read(args: &Args) -> Result<(Config, Snapshot), CommandError> {
    let args = args.clone();
    let read = spawn_blocking(move || settings(&args)).await;
    read.map_err(|source| CommandError::Broken { what: "reading the settings", source })?
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
