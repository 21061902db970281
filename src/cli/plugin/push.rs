//! `plugin push`: pushes a plugin to a registry, for `oci:` in the configuration.

use std::{io, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use crate::{
    cli::{CommandError, env},
    config,
    model::{Credential, Login, Reference, RegistryAccess},
    registry::{
        Aws, Backoff, CloudEnvironment, CloudIdentities, ComponentInterfaces, Registries, Settings, push_component,
    },
};

use super::{files, output};

/// The defaults of `run`.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(120);
const BACKOFF: Backoff = Backoff { attempts: 5, cap: Duration::from_secs(10) };
const CONNECTIONS: usize = 4;

/// The arguments of `plugin push`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Args {
    /// The plugin, uncompressed or compressed with gzip
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The reference to push to, with a tag: `ghcr.io/acme/teams:1.2`
    #[arg(value_name = "REFERENCE")]
    reference: String,
    /// User name at the registry; not needed after `docker login`, nor for Amazon ECR
    #[arg(long, value_name = "NAME", requires = "password_stdin")]
    username: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
    /// Use HTTP without TLS
    #[arg(long)]
    plain_http: bool,
}

/// Checks that the file is a plugin, pushes it, and prints its reference.
pub async fn push(args: &Args) -> Result<ExitCode, CommandError> {
    let invalid = |fault: String| CommandError::PushReference { reference: args.reference.clone(), fault };
    let reference: Reference = args.reference.parse().map_err(|error| invalid(format!("{error}")))?;
    // Unlike elsewhere, there is no default tag `latest`: published plugins have versions.
    let is_tagged = args.reference.rsplit('/').next().is_some_and(|last| last.contains(':'));
    let tag = match (reference.tag(), reference.digest()) {
        (Some(tag), None) if is_tagged => tag,
        _ => return Err(invalid("use a tag and no digest, as in ghcr.io/acme/teams:1.2".to_owned())),
    };
    let plugin = files::plugin(&args.file)?;
    let facts = ComponentInterfaces { exports: plugin.exports(), imports: plugin.imports() };
    let repository = registries(args, reference.registry())?.repository(reference.registry(), reference.repository());
    let name = reference.repository().rsplit('/').next().unwrap_or_default();
    let (component, title) = (plugin.bytes().to_vec().into(), format!("{name}.wasm"));
    let digest = push_component(&repository, tag, (component, &title), &facts, BACKOFF).await?;
    output::write(|out| writeln!(out, "{}@{digest}", args.reference))?;
    Ok(ExitCode::SUCCESS)
}

fn registries(args: &Args, host: &str) -> Result<Registries, CommandError> {
    let access = RegistryAccess { registry: host.to_owned(), plain_http: args.plain_http, ..RegistryAccess::default() };
    let settings = Settings {
        request_timeout: Some(REQUEST_TIMEOUT),
        min_transfer_rate: None,
        private_redirects: Vec::new(),
        credentials: credential(args, host)?.into_iter().collect(),
        docker_logins: config::user_docker_logins(&env::variable)?,
        aws: Aws::new(Some(REQUEST_TIMEOUT)),
        clouds: CloudIdentities::new(CloudEnvironment::read(&env::variable)),
        observer: Arc::new(()),
        insecure: Vec::new(),
        backoff: BACKOFF,
    };
    Ok(Registries::new(settings, &[access], CONNECTIONS)?)
}

fn credential(args: &Args, host: &str) -> Result<Option<Credential>, CommandError> {
    let Some(username) = args.username.clone() else { return Ok(None) };
    let mut line = String::new();
    let read = io::stdin().read_line(&mut line);
    read.map_err(|source| CommandError::Read { file: "standard input".into(), source })?;
    let line = line.trim_end_matches(['\r', '\n']);
    if line.is_empty() {
        return Err(CommandError::NoPassword);
    }
    let password = line.to_owned().into();
    let login = Login::Password { username, password };
    Ok(Some(Credential { registry: host.to_owned(), aliases: Vec::new(), login }))
}
