//! The command line.

use std::{
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use clap::{
    Args as ClapArgs, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum,
    builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser},
};
use clap_complete::Shell;
use tracing::level_filters::LevelFilter;

use super::{
    help::with_own_help,
    plugin::PluginCommand,
    version::{self, VersionFormat},
};
use crate::config::{Flags, LogFormat};

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

/// What `status` asks, and how it shows the answer.
#[derive(Clone, Debug, PartialEq, Eq, ClapArgs)]
pub struct StatusArgs {
    /// Ask the program at this address, such as http://localhost:8080, instead of through the API server
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The namespace that the program is installed in
    #[arg(long, value_name = "NAMESPACE", default_value = "k8s-copycat")]
    pub install_namespace: String,
    /// The program's Service
    #[arg(long, value_name = "NAME", default_value = "k8s-copycat")]
    pub service: String,
    /// Only images in these states or activities, separated by commas: missing, stale, conflict, undecided, unknown,
    /// unverified, dry_run, mirrored, skipped, waiting, copying, cooldown
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub state: Vec<String>,
    /// Only images of workloads in this namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Only images of this workload: NAME or NAMESPACE/NAME
    #[arg(long, value_name = "WORKLOAD")]
    pub workload: Option<String>,
    /// Only images from this source registry
    #[arg(long, value_name = "HOST")]
    pub registry: Option<String>,
    /// Only images at the target with this name
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Only images with this text in image, source, destination, reason or workload
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// List mirrored and skipped images too
    #[arg(long)]
    pub all: bool,
    /// The largest number of images in the list
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub limit: usize,
    /// The format of the status
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: StatusFormat,
    /// Show it again every two seconds, until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
}

/// The format of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatusFormat {
    /// A summary and a table that fit the terminal.
    Text,
    /// The same, with long lines.
    Wide,
    /// The JSON of `/status`.
    Json,
}

/// The format of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PlanFormat {
    /// A table that fits the terminal, with the reasons below its rows.
    Text,
    /// A table with one line for each destination, however long it is.
    Wide,
    /// One JSON object per line.
    Json,
}

/// The format of the result of `check`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// Lines for people.
    Text,
    /// One JSON object.
    Json,
}

/// The subcommands of `config`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum ConfigCommand {
    /// Print the JSON schema of the configuration file, for editors
    Schema,
}

/// The format of the outcomes of `sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SyncFormat {
    /// Lines for people, and progress on a terminal.
    Text,
    /// One JSON object for each outcome and one for the summary, one per line.
    Json,
}

/// A problem that a plan can fail on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    /// Different images claim one destination.
    Conflict,
    /// An image cannot be decided.
    Undecided,
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
    Ok(Args { command: cli.command.unwrap_or(Command::Run), flags: cli.flags.into_flags(), name })
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

#[derive(Debug, ClapArgs)]
struct CliFlags {
    /// The configuration file [default: $CONFIG_PATH, else /config/config.yaml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Do everything except writing to the targets
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", value_parser = BoolishValueParser::new())]
    dry_run: Option<bool>,
    /// Contact no registry
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", value_parser = BoolishValueParser::new())]
    dry_pull: Option<bool>,
    /// Listen address for metrics and endpoints; 0 to disable [default: $METRICS_ADDR, else :8080]
    #[arg(long, global = true, value_name = "ADDRESS")]
    metrics_bind_address: Option<String>,
    /// Listen address for health probes; 0 to disable [default: :8081]
    #[arg(long, global = true, value_name = "ADDRESS")]
    health_probe_bind_address: Option<String>,
    /// Use leader election among replicas [default: true]
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", value_parser = BoolishValueParser::new())]
    leader_elect: Option<bool>,
    /// The kubeconfig file [default: $KUBECONFIG, the Pod's ServiceAccount, ~/.kube/config]
    #[arg(long, global = true, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Format of log lines [default: text on a terminal, else json]
    #[arg(long, global = true, value_name = "FORMAT", value_parser = log_format(["json", "text"]))]
    log_format: Option<LogFormat>,
    /// Log as text at level debug, unless other settings say otherwise
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true)]
    #[arg(default_missing_value = "true", value_parser = BoolishValueParser::new())]
    zap_devel: Option<bool>,
    /// Same as --log-format
    #[arg(long, global = true, value_name = "ENCODER", value_parser = log_format(["json", "console"]))]
    zap_encoder: Option<LogFormat>,
    /// Log level: debug, info, error, panic, or a number above 0 for debug; overrides logLevel
    #[arg(long, global = true, value_name = "LEVEL", value_parser = zap_level)]
    zap_log_level: Option<LevelFilter>,
    /// Accepted for compatibility, without effect: there are no stack traces
    #[arg(long, global = true, value_name = "LEVEL", value_parser = ["info", "error", "panic"], ignore_case = true)]
    zap_stacktrace_level: Option<String>,
    /// Accepted for compatibility, without effect: times are in RFC 3339
    #[arg(long, global = true, value_name = "ENCODING", ignore_case = true)]
    #[arg(value_parser = ["epoch", "millis", "nano", "iso8601", "rfc3339", "rfc3339nano"])]
    zap_time_encoding: Option<String>,
}

impl CliFlags {
    fn into_flags(self) -> Flags {
        Flags {
            config: self.config,
            dry_run: self.dry_run,
            dry_pull: self.dry_pull,
            metrics_bind_address: self.metrics_bind_address,
            health_probe_bind_address: self.health_probe_bind_address,
            leader_elect: self.leader_elect,
            kubeconfig: self.kubeconfig,
            log_format: self.log_format,
            zap_devel: self.zap_devel,
            zap_encoder: self.zap_encoder,
            zap_log_level: self.zap_log_level,
        }
    }
}

/// Accepts the names of JSON and text.
fn log_format([json, text]: [&'static str; 2]) -> impl TypedValueParser<Value = LogFormat> {
    PossibleValuesParser::new([json, text])
        .map(move |name| if name == json { LogFormat::Json } else { LogFormat::Text })
}

fn zap_level(text: &str) -> Result<LevelFilter, String> {
    match text.to_ascii_lowercase().as_str() {
        "debug" => Ok(LevelFilter::DEBUG),
        "info" => Ok(LevelFilter::INFO),
        "error" | "panic" => Ok(LevelFilter::ERROR),
        number if number.parse::<u32>().is_ok_and(|number| number > 0) => Ok(LevelFilter::DEBUG),
        _ => Err("allowed are debug, info, error, panic, and numbers above 0".to_owned()),
    }
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
mod tests {
    use super::*;

    fn flags(args: &[&str]) -> Flags {
        parsed(args).flags
    }

    fn parsed(args: &[&str]) -> Args {
        parse(["k8s-copycat"].iter().chain(args)).unwrap_or_else(|error| panic!("{args:?}: {error}"))
    }

    #[test]
    fn the_default_command_is_run() {
        assert_eq!(parsed(&[]).command, Command::Run);
        assert_eq!(parsed(&["--leader-elect=false"]).command, Command::Run);
        assert_eq!(parsed(&["run"]).command, Command::Run);
    }

    #[test]
    fn commands_accept_files() {
        let files = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(parsed(&["sync"]).command, Command::Sync { files: vec![], output: SyncFormat::Text });
        let args = parsed(&["sync", "-f", "a.yaml", "b", "-f", "-", "--dry-run"]);
        assert_eq!(args.command, Command::Sync { files: files(&["a.yaml", "b", "-"]), output: SyncFormat::Text });
        let json = Command::Sync { files: vec![], output: SyncFormat::Json };
        assert_eq!(parsed(&["sync", "-o", "json"]).command, json);
        assert_eq!(args.flags.dry_run, Some(true));
        let plan = |output| Command::Plan { files: files(&["m"]), output, timings: false, fail_on: vec![] };
        assert_eq!(parsed(&["plan", "-f", "m"]).command, plan(PlanFormat::Text));
        assert_eq!(parsed(&["plan", "-f", "m", "--output", "json"]).command, plan(PlanFormat::Json));
        assert_eq!(parsed(&["plan", "-fm", "-output=json"]).command, plan(PlanFormat::Json));
        assert_eq!(parsed(&["plan", "-fm", "-o", "wide"]).command, plan(PlanFormat::Wide));
        assert!(matches!(parsed(&["plan", "-timings"]).command, Command::Plan { timings: true, .. }));
        let Command::Plan { fail_on, .. } = parsed(&["plan", "--fail-on", "conflict,undecided"]).command else {
            panic!()
        };
        assert_eq!(fail_on, [FailOn::Conflict, FailOn::Undecided]);
    }

    #[test]
    fn flags_may_precede_or_follow_the_command() {
        for args in [&["--config", "c.yaml", "plan"][..], &["plan", "--config=c.yaml"], &["plan", "-config", "c.yaml"]]
        {
            assert_eq!(flags(args).config, Some(PathBuf::from("c.yaml")), "{args:?}");
        }
    }

    #[test]
    fn booleans_accept_the_forms_of_go() {
        for (args, value) in [
            (&["--leader-elect"][..], Some(true)),
            (&["-leader-elect"], Some(true)),
            (&["--leader-elect=false"], Some(false)),
            (&["-leader-elect=F"], Some(false)),
            (&["--leader-elect=0"], Some(false)),
            (&["--leader-elect=true", "--leader-elect=false"], Some(false)),
            (&["--"][..0], None),
        ] {
            assert_eq!(flags(args).leader_elect, value, "{args:?}");
        }
        assert_eq!(flags(&["-dry-run=false"]).dry_run, Some(false));
        assert_eq!(flags(&["--dry-pull"]).dry_pull, Some(true));
    }

    #[test]
    fn all_flags_of_the_original_are_accepted() {
        let flags = flags(&[
            "-metrics-bind-address=:9090",
            "--health-probe-bind-address",
            ":9091",
            "--kubeconfig=/k",
            "--zap-devel",
            "--zap-encoder=console",
            "--zap-log-level=5",
            "--zap-stacktrace-level=error",
            "--zap-time-encoding=iso8601",
        ]);
        assert_eq!(flags.metrics_bind_address.as_deref(), Some(":9090"));
        assert_eq!(flags.health_probe_bind_address.as_deref(), Some(":9091"));
        assert_eq!(flags.kubeconfig, Some(PathBuf::from("/k")));
        assert_eq!(flags.zap_devel, Some(true));
        assert_eq!(flags.zap_encoder, Some(LogFormat::Text));
        assert_eq!(flags.zap_log_level, Some(LevelFilter::DEBUG));
    }

    #[test]
    fn log_flags_set_level_and_format() {
        for (text, level) in [
            ("debug", LevelFilter::DEBUG),
            ("info", LevelFilter::INFO),
            ("ERROR", LevelFilter::ERROR),
            ("panic", LevelFilter::ERROR),
            ("1", LevelFilter::DEBUG),
        ] {
            assert_eq!(flags(&["--zap-log-level", text]).zap_log_level, Some(level), "{text}");
        }
        assert_eq!(flags(&["--zap-encoder", "json"]).zap_encoder, Some(LogFormat::Json));
        assert_eq!(flags(&["--log-format", "json"]).log_format, Some(LogFormat::Json));
        assert_eq!(flags(&["--log-format=text"]).log_format, Some(LogFormat::Text));
    }

    #[test]
    fn an_invalid_command_line_exits_with_2() {
        for args in [
            &["--leader-elect=maybe"][..],
            &["--leader-elct"],
            &["-x"],
            &["mirror"],
            &["--zap-log-level=0"],
            &["--zap-log-level=warn"],
            &["--zap-encoder=xml"],
            &["--zap-time-encoding=local"],
            &["--zap-stacktrace-level=loud"],
            &["plan", "--output=xml"],
            &["run", "-f", "x"],
        ] {
            let error = parse(["k8s-copycat"].iter().chain(args)).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{args:?}");
        }
    }

    #[test]
    fn the_definition_is_valid() {
        command(&ProgramName::of(None)).debug_assert();
    }

    fn help(args: &[&str]) -> String {
        parse(args).unwrap_err().to_string()
    }

    #[test]
    fn the_help_of_a_command_has_its_own_flags_and_the_exit_codes() {
        for (command, shown, hidden) in [
            ("run", &["--leader-elect", "--metrics-bind-address", "--dry-run"][..], &["--fail-on"][..]),
            (
                "plan",
                &["--config", "--fail-on", "--timings", "--log-format"],
                &["--leader-elect", "--dry-run", "--zap-time"],
            ),
            ("sync", &["--config", "--dry-run", "--output"], &["--leader-elect", "--health-probe", "--timings"]),
            ("version", &["--output"], &["--config", "--dry-run"]),
            ("completion", &["bash"], &["--config", "--log-format"]),
            ("plugin", &["inspect"], &["--config", "--log-format"]),
        ] {
            for help in [help(&["k8s-copycat", command, "--help"]), help(&["k8s-copycat", "help", command])] {
                let has = |part: &&&str| help.contains(**part);
                assert!(shown.iter().all(|part| has(&part)) && !hidden.iter().any(|part| has(&part)), "{help}");
                assert!(help.contains("Exit codes:\n  0 "), "{help}");
            }
        }
        assert!(!help(&["k8s-copycat", "plugin", "test", "--help"]).contains("--config"));
    }

    #[test]
    fn ignored_flags_stay_valid_before_and_after_the_command() {
        for args in [&["--leader-elect=false", "plan"][..], &["plan", "-leader-elect=false"]] {
            assert_eq!(flags(args).leader_elect, Some(false), "{args:?}");
        }
        assert_eq!(flags(&["plugin", "inspect", "x.wasm", "--config", "c"]).config, Some("c".into()));
    }

    #[test]
    fn a_plugin_of_kubectl_is_used_as_one() {
        let usage = help(&["/usr/local/bin/kubectl-copycat", "plan", "--help"]);
        assert!(usage.contains("Usage: kubectl copycat plan [OPTIONS]"), "{usage}");
        let usage = help(&["kubectl-copycat", "--help"]);
        assert!(usage.contains("Usage: kubectl copycat [OPTIONS] [COMMAND]"), "{usage}");
        let usage = help(&["./anything", "plan", "--help"]);
        assert!(usage.contains("Usage: k8s-copycat plan [OPTIONS]"), "{usage}");
    }
}
