//! `status`: what a running program mirrors, and what it does not.

mod args;
mod error;
mod table;

use std::{
    io::{self, IsTerminal as _, Write},
    process::ExitCode,
    time::Duration,
};

use tokio::time::sleep;

use super::{CommandError, terminal};
use crate::{
    config::Flags,
    model::printable_json,
    report::status::{Query, QueryError, STATES, document::Status},
    workload::RemoteProgram,
};

pub use args::{StatusArgs, StatusFormat};
pub use error::StatusError;

/// Between two requests with `--watch`.
const INTERVAL: Duration = Duration::from_secs(2);
/// States that mean that an image is not in the mirror as it should be.
const NOT_MIRRORED: [&str; 4] = ["missing", "stale", "conflict", "unknown"];
/// What is not listed unless the command line asks for it.
const NOT_LISTED: [&str; 2] = ["mirrored", "skipped"];

/// Prints the status of a running program, once or again and again. Exit code 0: everything is mirrored; 1: something is not,
/// or is undecided; 2: the program can't be asked.
pub async fn status(flags: &Flags, args: &StatusArgs) -> Result<ExitCode, CommandError> {
    let (query, program) = prepare(flags, args).await?;
    loop {
        let shown = match read(&program, &query).await {
            Ok(status) => print(&status, args).map(|()| code(&status)),
            Err(error) => Err(error.into()),
        };
        if !args.watch {
            return shown;
        }
        if let Err(error) = shown {
            error.print();
        }
        sleep(INTERVAL).await;
    }
}

async fn prepare(flags: &Flags, args: &StatusArgs) -> Result<(Query, RemoteProgram), StatusError> {
    let query = query(args)?;
    let program = match &args.url {
        Some(url) => RemoteProgram::at_url(url)?,
        None => {
            let kubeconfig = flags.kubeconfig.as_deref();
            RemoteProgram::at_service(kubeconfig, &args.install_namespace, &args.service).await?
        }
    };
    Ok((query, program))
}

/// A standby does not know the images: the leader is asked instead, if the API server can reach it.
async fn read(program: &RemoteProgram, query: &Query) -> Result<Status, StatusError> {
    let parse = |text: String| serde_json::from_str::<Status>(&text).map_err(StatusError::Answer);
    let status = parse(program.status(&query.encode()).await?)?;
    let leader = status.leader.identity.as_deref().filter(|_| !table::knows_images(&status));
    let leader = match leader {
        Some(leader) => program.leader(leader).await,
        None => None,
    };
    match leader {
        Some(leader) => parse(leader.status(&query.encode()).await?),
        None => Ok(status),
    }
}

fn query(args: &StatusArgs) -> Result<Query, QueryError> {
    let is_listed = |state: &&str| !NOT_LISTED.contains(state);
    let states = match (args.state.is_empty(), args.all) {
        (false, _) => args.state.clone(),
        (true, true) => Vec::new(),
        (true, false) => STATES.into_iter().filter(is_listed).map(str::to_owned).collect(),
    };
    let query = Query {
        states,
        namespace: args.namespace.clone(),
        workload: args.workload.clone(),
        registry: args.registry.clone(),
        target: args.target.clone(),
        text: args.text.clone(),
        limit: args.limit,
        ..Query::default()
    };
    // The same checks as those of the program that is asked.
    Query::parse(&query.encode())
}

fn print(status: &Status, args: &StatusArgs) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    let written = match args.output {
        StatusFormat::Json => printable_json(status).map_err(io::Error::other).and_then(|json| writeln!(out, "{json}")),
        StatusFormat::Text | StatusFormat::Wide => {
            if args.watch && io::stdout().is_terminal() {
                // Clears the screen.
                write!(out, "\x1b[2J\x1b[H").map_err(CommandError::Output)?;
            }
            let width = terminal::stdout_width().filter(|_| args.output == StatusFormat::Text);
            table::write(&mut out, status, width)
        }
    };
    match written.and_then(|()| out.flush()) {
        // The reader may need only the first lines.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CommandError::Output(error)),
        _ => Ok(()),
    }
}

fn code(status: &Status) -> ExitCode {
    let images: usize = NOT_MIRRORED.iter().filter_map(|state| status.summary.images.get(*state)).sum();
    let undecided = status.summary.image_uses.get("undecided").copied().unwrap_or_default();
    // A standby knows nothing, which is no success.
    if status.leader.is_leader && images + undecided == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
