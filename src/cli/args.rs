//! The command line.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;

use super::{
    check::CheckFormat,
    config_schema::ConfigCommand,
    drill::DrillArgs,
    flags::CliFlags,
    help::with_own_help,
    load::LoadArgs,
    plan::{FailOn, PlanFormat},
    plugin::PluginCommand,
    rbac::RbacArgs,
    restore::RestoreArgs,
    status::StatusArgs,
    sync::SyncFormat,
    verify::VerifyArgs,
    version::{self, VersionFormat},
};
use crate::config::Flags;

/// The parsed command line.
#[derive(Clone, Debug)]
pub struct Args {
    /// The subcommand; without one, [`Command::Run`].
    pub command: Command,
    /// The flags that are settings.
    pub flags: Flags,
    /// How the program was called.
    pub name: ProgramName,
}

/// How the program was called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramName {
    /// The name of the executable, for shells.
    pub file: String,
    /// In usage lines.
    usage: String,
}

impl ProgramName {
    /// Under the name `kubectl-copycat` the program is a plugin of kubectl, called as `kubectl copycat`.
    fn of(first: Option<&OsString>) -> Self {
        let stem = first.and_then(|name| Path::new(name).file_stem()).and_then(OsStr::to_str);
        match stem {
            Some(stem @ "kubectl-copycat") => Self { file: stem.to_owned(), usage: stem.replacen('-', " ", 1) },
            _ => Self { file: "k8s-copycat".to_owned(), usage: "k8s-copycat".to_owned() },
        }
    }
}

/// The subcommands.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Watch the cluster and mirror until stopped (the default)
    Run,
    /// Mirror everything once, then exit
    Sync {
        /// Read workloads from these instead of the cluster: files, folders, `-` for standard input
        #[arg(short = 'f', long = "filename", value_name = "FILE", num_args = 1..)]
        files: Vec<PathBuf>,
        /// The format of the outcomes
        #[arg(short, long, value_name = "FORMAT", default_value = "text")]
        output: SyncFormat,
    },
    /// Copy everything of an OCI image layout into a target
    ///
    /// Each name goes to its own repository and tag, with its signatures and other referrers; only what is missing is sent. The
    /// names in the layout are final: `repoPrefix` and plugins are not applied.
    Load(LoadArgs),
    /// Show where each image would go and why; contacts no registry
    Plan {
        /// Read workloads from these instead of the cluster: files, folders, `-` for standard input
        #[arg(short = 'f', long = "filename", value_name = "FILE", num_args = 1..)]
        files: Vec<PathBuf>,
        /// The format of the plan
        #[arg(short, long, value_name = "FORMAT", default_value = "text")]
        output: PlanFormat,
        /// Show how long each plugin took to answer
        #[arg(long)]
        timings: bool,
        /// Exit with code 1 if there is one of these problems, separated by commas
        #[arg(long, value_name = "PROBLEM", value_delimiter = ',')]
        fail_on: Vec<FailOn>,
    },
    /// Look whether the targets have everything of every image; changes nothing
    ///
    /// Tag, digest, every manifest and every blob; with --deep also the bytes.
    Verify(VerifyArgs),
    /// Write files that make nodes pull from the mirror, and tell what they cover; contacts no registry
    ///
    /// Made from the decisions for this cluster, as `plan` shows them. No file gives a name another image: what a runtime can't
    /// express is left out, and reported with the reason.
    Restore(RestoreArgs),
    /// Pull every image of a restore by its own name, with nothing but the mirror in reach
    ///
    /// With containerd, podman or skopeo, in a store of its own that it removes. Changes nothing on the machine.
    Drill(DrillArgs),
    /// Show what a running program mirrors, what it does not, and why
    ///
    /// Asks the program through the cluster's API server, or at --url.
    Status(StatusArgs),
    /// Check configuration, plugins, rights in the cluster, targets and sources; changes nothing
    ///
    /// One line for each check: ok, warning or failed, what was found, and what to do.
    Check {
        /// Read workloads from these instead of the cluster: files, folders, `-` for standard input
        #[arg(short = 'f', long = "filename", value_name = "FILE", num_args = 1.., conflicts_with = "offline")]
        files: Vec<PathBuf>,
        /// Check configuration and plugins alone: contact neither cluster nor registries
        #[arg(long)]
        offline: bool,
        /// The format of the result
        #[arg(short, long, value_name = "FORMAT", default_value = "text")]
        output: CheckFormat,
    },
    /// Print the Roles and RoleBindings that the program needs for what the cluster uses now
    ///
    /// Among them, with pullSecrets, those to read the pull secrets by name. Reads no Secret.
    Rbac(RbacArgs),
    /// Print the JSON schema of the configuration file; `check --offline` validates a file
    Config {
        /// The subcommand
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Create, inspect, test and benchmark plugins
    Plugin {
        /// The subcommand
        #[command(subcommand)]
        command: PluginCommand,
    },
    /// Print a script that completes commands and flags, for your shell
    Completion {
        /// The shell
        shell: Shell,
    },
    /// Show the version, the commit and the version of the plugin contract
    Version {
        /// The format
        #[arg(short, long, value_name = "FORMAT", default_value = "text")]
        output: VersionFormat,
    },
}

impl Command {
    /// Whether a user runs it for themselves, with their own logins at registries. `run` is a service.
    fn uses_user_logins(&self) -> bool {
        matches!(self, Self::Sync { .. } | Self::Load(_) | Self::Plan { .. } | Self::Check { offline: false, .. })
    }
}

/// Parses a command line, the program's name first. Flags in Go's style are accepted too: `-leader-elect=false`.
///
/// # Errors
///
/// clap's error; its `exit` prints it and ends the process, with 2 for an invalid command line, with 0 for `--help` and
/// `--version`.
pub fn parse<I, T>(args: I) -> Result<Args, clap::Error>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString>,
{
    let args = with_two_dashes(args.into_iter().map(Into::into));
    let name = ProgramName::of(args.first());
    let matches = command(&name).try_get_matches_from(args)?;
    let cli = Cli::from_arg_matches(&matches)?;
    let command = cli.command.unwrap_or(Command::Run);
    let flags = Flags { user_logins: command.uses_user_logins(), ..cli.flags.into_flags() };
    Ok(Args { command, flags, name })
}

/// The definition of the command line.
pub fn command(name: &ProgramName) -> clap::Command {
    with_own_help(Cli::command()).bin_name(name.usage.clone())
}

/// Mirrors the images of a Kubernetes cluster to your own registry
#[derive(Debug, Parser)]
#[command(name = "k8s-copycat", version = version::LINE, args_override_self = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    flags: CliFlags,
}

/// Go reads `-name` as `--name`; clap would read several short flags. Only existing names are rewritten, and nothing after
/// `--`.
fn with_two_dashes(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let command = Cli::command();
    let subcommands = command.get_subcommands().flat_map(clap::Command::get_arguments);
    let flags: Vec<_> = command.get_arguments().chain(subcommands).filter_map(clap::Arg::get_long).collect();
    let mut ended = false;
    let rewrite = |arg: OsString| {
        ended |= arg == "--";
        let name =
            arg.to_str().and_then(|text| text.strip_prefix('-')).map(|text| text.split('=').next().unwrap_or(text));
        if ended || !name.is_some_and(|name| flags.contains(&name)) {
            return arg;
        }
        let mut two = OsString::from("-");
        two.push(arg);
        two
    };
    args.map(rewrite).collect()
}

#[cfg(test)]
mod tests;
