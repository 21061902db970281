//! What `--help` shows: of each subcommand its own flags, and its exit codes.

use clap::Command;

/// A subcommand, the flags of the whole program that it reads, and its exit codes.
struct Help {
    command: &'static str,
    flags: &'static [&'static str],
    exit_codes: &'static str,
}

/// Flags that set what is logged.
const LOGS: [&str; 4] = ["log_format", "zap_devel", "zap_encoder", "zap_log_level"];

const HELP: [Help; 13] = [
    Help {
        command: "sync",
        flags: &["config", "dry_run", "dry_pull", "kubeconfig"],
        exit_codes: "
  0         all images are at their targets (in a dry run: would be copied)
  1         an image failed, has a conflict or is undecided; or another error
  2         unusable flags, configuration or plugins
  130, 143  interrupted by Ctrl-C, by SIGTERM",
    },
    Help {
        command: "load",
        flags: &["config", "dry_run", "dry_pull"],
        exit_codes: "
  0         all names of the layout are at the target (in a dry run: would be copied)
  1         a name was not loaded, or the layout can't be read; or another error
  2         unusable flags or configuration
  130, 143  interrupted by Ctrl-C, by SIGTERM",
    },
    Help {
        command: "plan",
        flags: &["config", "kubeconfig"],
        exit_codes: "
  0  the plan was printed, also with conflicts or undecided image uses
  1  --fail-on found a problem; or another error
  2  unusable flags, configuration or plugins",
    },
    Help {
        command: "verify",
        flags: &["config", "kubeconfig"],
        exit_codes: "
  0  everything is whole, or not in --fail-on
  1  something is in --fail-on (by default missing, incomplete, corrupt or unknown), or undecided; or another error
  2  unusable flags, configuration or plugins",
    },
    Help {
        command: "restore",
        flags: &["config", "kubeconfig"],
        exit_codes: "
  0  the files were written, also if images are not covered
  1  --strict, and an image is not covered; or another error
  2  unusable flags, configuration or plugins",
    },
    Help {
        command: "drill",
        flags: &[],
        exit_codes: "
  0         every image that the restore covers came up
  1         one did not, or one came up that is not covered; with --strict also if one is not covered
  2         nothing could be pulled with, or unusable flags
  130, 143  interrupted by Ctrl-C, by SIGTERM",
    },
    Help {
        command: "status",
        flags: &["kubeconfig"],
        exit_codes: "
  0  everything is mirrored, or skipped by policy
  1  something is missing, stale, in conflict, unknown or undecided; or no leader was found
  2  the program can't be asked, or unusable flags",
    },
    Help {
        command: "check",
        flags: &["config", "kubeconfig"],
        exit_codes: "
  0  nothing failed; there may be warnings
  1  something failed
  2  unusable flags, configuration or plugins",
    },
    Help {
        command: "rbac",
        flags: &["config", "kubeconfig"],
        exit_codes: "
  0  all roles were printed
  1  a ServiceAccount could not be read, so that rights are missing; or another error
  2  unusable flags, configuration or plugins",
    },
    Help {
        command: "config",
        flags: &[],
        exit_codes: "
  0  done
  2  unusable flags",
    },
    Help {
        command: "plugin",
        flags: &[],
        exit_codes: "
  0  done
  1  failed: not a plugin, unexpected answers in a test, or another error
  2  unusable flags or case file",
    },
    Help {
        command: "version",
        flags: &[],
        exit_codes: "
  0  done",
    },
    Help {
        command: "completion",
        flags: &[],
        exit_codes: "
  0  done
  2  unusable flags",
    },
];

/// The exit codes of `run`, which the program without a subcommand has too.
const RUN_EXIT_CODES: &str = "
  0    stopped by SIGTERM or Ctrl-C
  1    leadership lost, or another error
  2    unusable flags, configuration or plugins
  130  a second signal, Ctrl-C";

/// Hides, in the help of each subcommand, the flags that it accepts and ignores, and adds the exit codes. The flags stay valid
/// everywhere, before and after the subcommand.
pub fn with_own_help(mut command: Command) -> Command {
    let global: Vec<_> = command.get_arguments().filter(|flag| flag.is_global_set()).cloned().collect();
    for Help { command: name, flags, exit_codes } in &HELP {
        if command.find_subcommand(name).is_none() {
            continue;
        }
        let reads_settings = !flags.is_empty();
        let ignored = global.iter().filter(|flag| {
            let id = flag.get_id().as_str();
            !(flags.contains(&id) || reads_settings && LOGS.contains(&id))
        });
        // clap gives a subcommand no flag of the program that it has already.
        let ignored: Vec<_> = ignored.map(|flag| flag.clone().hide(true)).collect();
        command = command
            .mut_subcommand(name, |subcommand| subcommand.args(ignored).after_help(format!("Exit codes:{exit_codes}")));
    }
    if command.find_subcommand("run").is_some() {
        command =
            command.mut_subcommand("run", |subcommand| subcommand.after_help(format!("Exit codes:{RUN_EXIT_CODES}")));
    }
    command.after_help(format!("Exit codes of run (`COMMAND --help` has those of the others):{RUN_EXIT_CODES}"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    #[command(name = "test")]
    struct Cli {
        #[command(subcommand)]
        command: Option<Sub>,
        #[arg(long, global = true)]
        config: Option<String>,
        #[arg(long, global = true)]
        leader_elect: Option<String>,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Sub {
        Run,
        Plan,
    }

    #[test]
    fn a_flag_that_is_ignored_is_not_shown_but_accepted_in_both_places() {
        let command = with_own_help(Cli::command());
        let help = |name: &str| {
            let mut command = command.clone();
            command.build();
            command.find_subcommand_mut(name).unwrap().render_help().to_string()
        };
        assert!(help("plan").contains("--config") && !help("plan").contains("--leader-elect"), "{}", help("plan"));
        assert!(help("run").contains("--config") && help("run").contains("--leader-elect"), "{}", help("run"));
        for arguments in [["test", "--leader-elect=no", "plan"], ["test", "plan", "--leader-elect=no"]] {
            let matches = command.clone().try_get_matches_from(arguments).unwrap();
            assert_eq!(matches.get_one::<String>("leader_elect").map(String::as_str), Some("no"), "{arguments:?}");
        }
        assert!(help("plan").contains("Exit codes:\n  0 "));
    }
}
