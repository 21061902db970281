//! Asks a credential helper of Docker for a login: a program `docker-credential-…`, which reads the registry's name and
//! writes JSON.

use std::{io, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    time::timeout,
};

use crate::{
    model::Login,
    registry::{auth::obtained_login::LoginError, text::one_line},
};

/// Some ask their user for a password.
const DEADLINE: Duration = Duration::from_secs(20);

/// In bytes.
const MAX_ANSWER: u64 = 64 * 1024;

/// In bytes.
const MAX_ERROR: u64 = 4 * 1024;

/// What helpers print if they have no login for a registry.
const NOT_FOUND: &str = "credentials not found";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// Asks `docker-credential-NAME` for the login at `server`; None: it has none.
pub(in crate::registry) async fn ask(name: &str, server: &str) -> Result<Option<Login>, LoginError> {
    ask_within(DEADLINE, name, server).await
}

async fn ask_within(deadline: Duration, name: &str, server: &str) -> Result<Option<Login>, LoginError> {
    let program = format!("docker-credential-{name}");
    let failed = |problem: String, remedy: &str| LoginError {
        operation: format!("asking {program} for the login at {}", one_line(server)),
        problem,
        remedy: remedy.to_owned(),
    };
    let run = timeout(deadline, run(&program, server)).await;
    let again = "log in to the registry again, or correct Docker's configuration";
    let finished = match run {
        Ok(Ok(finished)) => finished,
        Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
            let remedy = "install it, or remove it from Docker's configuration";
            return Err(failed("there is no such program in PATH".to_owned(), remedy));
        }
        Ok(Err(error)) => return Err(failed(error.to_string(), again)),
        Err(_) => {
            let problem = format!("no answer within {} s, so it was killed", deadline.as_secs());
            return Err(failed(problem, "run it by hand: it may wait for a password"));
        }
    };
    let Finished { succeeded, stdout, stderr } = finished;
    if succeeded {
        // The answer is a secret: no error quotes it.
        let answer: Answer = serde_json::from_slice(&stdout)
            .map_err(|_| failed("its answer is no JSON with Username and Secret".to_owned(), again))?;
        let is_complete = !answer.username.is_empty() && !answer.secret.is_empty();
        return Ok(is_complete.then(|| Login::Password { username: answer.username, password: answer.secret.into() }));
    }
    let [stdout, stderr] = [stdout, stderr].map(|text| String::from_utf8_lossy(&text).trim().to_owned());
    if stdout.contains(NOT_FOUND) || stderr.contains(NOT_FOUND) {
        return Ok(None);
    }
    // Helpers write their errors to either.
    let cause = if stderr.is_empty() { stdout } else { stderr };
    let cause = cause.lines().next().filter(|line| is_message(line)).map(|line| format!(" ({})", one_line(line)));
    Err(failed(format!("it failed{}", cause.unwrap_or_default()), again))
}

/// What looks like an answer may be one, with a secret.
fn is_message(line: &str) -> bool {
    !line.contains(['{', '}']) && !line.contains(char::is_control)
}

struct Finished {
    succeeded: bool,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

async fn run(program: &str, server: &str) -> io::Result<Finished> {
    let mut command = Command::new(program);
    command.arg("get").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = ProcessGroup::new(command.process_group(0).kill_on_drop(true).spawn()?);
    let child = &mut group.child;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let write = async {
        if let Some(mut stdin) = stdin {
            // One that knows its registry may not read it.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
    };
    let ((), stdout, stderr) = tokio::join!(write, read(stdout, MAX_ANSWER), read(stderr, MAX_ERROR));
    let status = group.child.wait().await?;
    group.has_ended = true;
    Ok(Finished { succeeded: status.success(), stdout: stdout?, stderr: stderr? })
}

async fn read(from: Option<impl AsyncRead + Unpin>, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        from.take(max).read_to_end(&mut bytes).await?;
    }
    Ok(bytes)
}

/// A helper and the processes that it has started, which are killed with it.
struct ProcessGroup {
    child: Child,
    id: Option<Pid>,
    has_ended: bool,
}

impl ProcessGroup {
    fn new(child: Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        Self { child, id, has_ended: false }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        // Once it has been waited for, its number may be another process's.
        if let (Some(id), false) = (self.id, self.has_ended) {
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}
