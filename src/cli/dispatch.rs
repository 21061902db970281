//! From the command line to a subcommand, and from its result to an exit code.

use std::{
    ffi::OsString,
    io::{self, IsTerminal},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use tokio::{runtime::Runtime, task::spawn_blocking};
use tracing::{level_filters::LevelFilter, warn};

use super::{
    CommandError,
    args::{self, Args, Command},
    build, check, compile_child, completion, config_schema, drill, env,
    file_states::FileStates,
    load, plan, plugin, rbac, restore, run,
    signals::Signals,
    status, sync, verify, version,
};
use crate::{
    config::{self, Config, Loaded},
    policy,
    report::{LogFormat, init_logging},
};

/// How long blocking work that cannot be aborted (such as reading standard input) may continue at the end.
const BLOCKING_DEADLINE: Duration = Duration::from_secs(1);

/// Runs the program with `arguments`, the program's name first.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    if let Some(code) = compile_child::run(&arguments) {
        return code;
    }
    let args = match args::parse(arguments) {
        Ok(args) => args,
        Err(error) => error.exit(),
    };
    match dispatch(&args) {
        Ok(code) => code,
        Err(error) => {
            error.print();
            error.code()
        }
    }
}

fn dispatch(args: &Args) -> Result<ExitCode, CommandError> {
    let runtime = Runtime::new().map_err(CommandError::Runtime)?;
    // Before anything slow, so that no signal comes too early. The other subcommands have nothing to clean up: a signal ends
    // them at once.
    let signals = || Signals::listen().map_err(CommandError::Signals);
    let result = match &args.command {
        Command::Run => runtime.block_on(run(args, &signals()?)),
        Command::Sync { files, output } => runtime.block_on(sync(args, files, *output, &signals()?)),
        Command::Load(load) => runtime.block_on(load_layout(args, load, &signals()?)),
        Command::Plan { files, output, timings, fail_on } => {
            runtime.block_on(async { plan::plan(&load_config(args)?.0, files, *output, *timings, fail_on).await })
        }
        Command::Verify(verify) => {
            runtime.block_on(async { verify::verify(&load_config(args)?.0, verify, &signals()?).await })
        }
        Command::Restore(restore) => runtime.block_on(async { restore::restore(&load_config(args)?.0, restore).await }),
        Command::Drill(drill) => runtime.block_on(drill::drill(drill, &signals()?)),
        Command::Status(status) => runtime.block_on(status::status(&args.flags, status)),
        Command::Check { files, offline, output } => runtime.block_on(check(args, files, *offline, *output)),
        Command::Rbac(rbac) => runtime.block_on(async { rbac::rbac(&load_config(args)?.0, rbac).await }),
        Command::Config { command } => config_schema::config(command),
        Command::Completion { shell } => completion::print(*shell, &args.name),
        Command::Version { output } => version::print(*output),
        Command::Plugin { command } => runtime.block_on(plugin::plugin(command)),
    };
    policy::interrupt_calls();
    runtime.shutdown_timeout(BLOCKING_DEADLINE);
    result
}

async fn run(args: &Args, signals: &Signals) -> Result<ExitCode, CommandError> {
    match signals.interruptible(load_config_in_background(args)).await {
        Ok(loaded) => {
            let (config, files) = loaded?;
            run::run(&args.flags, config, files, signals).await
        }
        Err(_) => Ok(ExitCode::SUCCESS),
    }
}

async fn sync(
    args: &Args,
    files: &[PathBuf],
    output: sync::SyncFormat,
    signals: &Signals,
) -> Result<ExitCode, CommandError> {
    match signals.interruptible(load_config_in_background(args)).await {
        Ok(loaded) => sync::sync(&loaded?.0, files, output, signals).await,
        Err(signal) => Ok(sync::interrupted(output, signal, None)),
    }
}

async fn load_layout(args: &Args, load: &load::LoadArgs, signals: &Signals) -> Result<ExitCode, CommandError> {
    match signals.interruptible(load_config_in_background(args)).await {
        Ok(loaded) => load::load(&loaded?.0, load, signals).await,
        Err(signal) => Ok(load::interrupted(load.output, signal)),
    }
}

async fn check(
    args: &Args,
    files: &[PathBuf],
    offline: bool,
    output: check::CheckFormat,
) -> Result<ExitCode, CommandError> {
    let flags = args.flags.clone();
    let loaded = spawn_blocking(move || config::load(&flags, &env::variable)).await;
    let loaded = loaded.map_err(|source| CommandError::Panicked { task: "reading the configuration", source })?;
    if let Ok(loaded) = &loaded {
        set_up_logging(&args.command, &loaded.config)?;
    }
    check::check(loaded, files, offline, output).await
}

/// [`load_config`] in a thread that may block.
async fn load_config_in_background(args: &Args) -> Result<(Config, FileStates), CommandError> {
    let args = args.clone();
    let loaded = spawn_blocking(move || load_config(&args)).await;
    loaded.map_err(|source| CommandError::Panicked { task: "reading the configuration", source })?
}

/// Reads the configuration, with the state of its files, and initialises logging.
fn load_config(args: &Args) -> Result<(Config, FileStates), CommandError> {
    let Loaded { config, files, warnings } = config::load(&args.flags, &env::variable).map_err(|settings| {
        CommandError::Configuration { plugins: build::invalid_plugins(settings.plugins()), settings }
    })?;
    // First of all: what changes from now on is a change.
    let files = FileStates::take(files);
    set_up_logging(&args.command, &config)?;
    for warning in warnings {
        warn!("{warning}");
    }
    Ok((config, files))
}

/// `run` logs to standard output, like the original. The other subcommands print their results there; they log to standard
/// error, and warnings and errors only, unless `logLevel` asks for more.
fn set_up_logging(command: &Command, config: &Config) -> Result<(), CommandError> {
    let level = config.process.log_level;
    if *command == Command::Run {
        Ok(init_logging(level, log_format(config, io::stdout().is_terminal()), io::stdout)?)
    } else {
        let level = match (level, command) {
            // It reports itself what is worth a warning.
            (LevelFilter::INFO | LevelFilter::WARN, Command::Check { .. }) => LevelFilter::ERROR,
            (LevelFilter::INFO, _) => LevelFilter::WARN,
            (level, _) => level,
        };
        Ok(init_logging(level, log_format(config, io::stderr().is_terminal()), io::stderr)?)
    }
}

fn log_format(config: &Config, is_terminal: bool) -> LogFormat {
    match config.process.log_format {
        Some(config::LogFormat::Json) => LogFormat::Json,
        None if !is_terminal => LogFormat::Json,
        Some(config::LogFormat::Text) | None => LogFormat::Text { color: is_terminal },
    }
}
