//! `status`: what a running program mirrors, and what it does not.

mod table;

use std::{
    io::{self, IsTerminal as _, Write},
    process::ExitCode,
    time::Duration,
};

use tokio::time::sleep;

use super::{
    CommandError,
    args::{StatusArgs, StatusFormat},
    terminal,
};
use crate::{
    config::Flags,
    report::status::{Query, document::Status},
    workload::{self, RemoteProgram},
};

/// Between two requests with `--watch`.
const INTERVAL: Duration = Duration::from_secs(2);
/// States that mean that an image is not in the mirror as it should be.
const NOT_MIRRORED: [&str; 4] = ["missing", "stale", "conflict", "unknown"];
/// What is listed unless the command line says otherwise: all but what is mirrored or skipped, and what is happening now.
const LISTED: [&str; 10] =
    ["missing", "stale", "conflict", "undecided", "unknown", "unverified", "dry_run", "waiting", "copying", "cooldown"];
/// The exit code if no status could be read.
const UNREACHABLE: u8 = 2;

/// Prints the status of a running program, once or again and again. Exit code 0: everything is mirrored; 1: something is not,
/// or is undecided; 2: the program can't be asked.
pub async fn status(flags: &Flags, args: &StatusArgs) -> Result<ExitCode, CommandError> {
    let query = match query(args) {
        Ok(query) => query,
        Err(error) => return Ok(refuse(&error)),
    };
    let program = match &args.url {
        Some(url) => match RemoteProgram::at_url(url) {
            Ok(program) => program,
            Err(error) => return Ok(refuse(&error)),
        },
        None => {
            let client = workload::client(flags.kubeconfig.as_deref()).await?;
            RemoteProgram::at_service(client, &args.install_namespace, &args.service)
        }
    };
    loop {
        let code = match read(&program, &query).await {
            Ok(status) => {
                print(&status, args)?;
                code(&status)
            }
            Err(error) => refuse(&*error),
        };
        if !args.watch {
            return Ok(code);
        }
        sleep(INTERVAL).await;
    }
}

/// A standby does not know the images: the leader is asked instead, if the API server can reach it.
async fn read(program: &RemoteProgram, query: &Query) -> Result<Status, Box<dyn std::error::Error>> {
    let parse = |text: String| -> Result<Status, Box<dyn std::error::Error>> {
        serde_json::from_str(&text)
            .map_err(|error| format!("the answer is not the status of k8s-copycat ({error})").into())
    };
    let status = parse(program.status(&query.encode()).await?)?;
    let leader = status.leader.identity.as_deref().filter(|_| !status.leader.is_leader);
    match leader.and_then(|leader| program.leader(leader)) {
        Some(leader) => parse(leader.status(&query.encode()).await?),
        None => Ok(status),
    }
}

fn query(args: &StatusArgs) -> Result<Query, crate::report::status::QueryError> {
    let states = match (args.state.is_empty(), args.all) {
        (false, _) => args.state.clone(),
        (true, true) => Vec::new(),
        (true, false) => LISTED.map(str::to_owned).to_vec(),
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
        StatusFormat::Json => writeln!(out, "{}", crate::model::printable_json(status).unwrap_or_default()),
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

fn refuse(error: &dyn std::fmt::Display) -> ExitCode {
    // A closed standard error is not a failure.
    let _ = writeln!(io::stderr(), "{error}");
    ExitCode::from(UNREACHABLE)
}
