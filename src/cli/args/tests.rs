use tracing::level_filters::LevelFilter;

use super::*;
use crate::config::LogFormat;

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
    let Command::Plan { fail_on, .. } = parsed(&["plan", "--fail-on", "conflict,undecided"]).command else { panic!() };
    assert_eq!(fail_on, [FailOn::Conflict, FailOn::Undecided]);
}

#[test]
fn flags_may_precede_or_follow_the_command() {
    for args in [&["--config", "c.yaml", "plan"][..], &["plan", "--config=c.yaml"], &["plan", "-config", "c.yaml"]] {
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
