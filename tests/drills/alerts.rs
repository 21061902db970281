//! Each alert fires and clears, in promtool's own evaluation; each has a page.

use std::{collections::BTreeSet, fmt::Write as _, fs, path::Path, process::Command};

use serde_json::{Value, json};

use super::helm::{chart, chart_file};

/// When an alert fires, with series of one replica that has the labels `OF`.
struct Case {
    alert: &'static str,
    /// Minutes between samples.
    interval: u32,
    /// Names with further labels, and samples.
    series: &'static [(&'static str, &'static str)],
    /// In minutes: when it fires, and when it does no more.
    fires: u32,
    clears: u32,
    /// Labels beside `cluster`, `namespace` and `severity`.
    labels: &'static [(&'static str, &'static str)],
    summary: &'static str,
}

const OF: &str = r#"cluster="c",namespace="n",pod="p",instance="i",job="j""#;

const CASES: [Case; 21] = [
    Case {
        alert: "K8sCopycatAbsent",
        interval: 1,
        series: &[(r#"k8s_copycat_build_info{version="1""#, "_x20 1x20")],
        fires: 15,
        clears: 30,
        labels: &[],
        summary: "Nothing is mirrored, because no k8s-copycat runs",
    },
    Case {
        alert: "K8sCopycatNotOneLeader",
        interval: 1,
        series: &[("k8s_copycat_leader{", "0x20 1x20")],
        fires: 10,
        clears: 30,
        labels: &[],
        summary: "0 replicas in n mirror instead of one",
    },
    Case {
        alert: "K8sCopycatRestarts",
        interval: 1,
        series: &[
            ("process_start_time_seconds{", "100 200 300 400 400x60"),
            (r#"k8s_copycat_build_info{version="1""#, "1x70"),
        ],
        fires: 10,
        clears: 50,
        labels: &[("pod", "p")],
        summary: "k8s-copycat in n has restarted 3 times in half an hour",
    },
    Case {
        alert: "K8sCopycatImagesNotMirrored",
        interval: 1,
        series: &[("k8s_copycat_oldest_not_mirrored_timestamp_seconds{", "60x60 0x20")],
        fires: 40,
        clears: 65,
        labels: &[],
        summary: "Images have not been in the mirror, or outdated there, for 39m 0s",
    },
    Case {
        alert: "K8sCopycatTargetNotAsked",
        interval: 1,
        series: &[(r#"k8s_copycat_destinations{state="unknown""#, "2x60 0x10")],
        fires: 35,
        clears: 65,
        labels: &[],
        summary: "Whether 2 images are in the mirror has not been known for half an hour",
    },
    Case {
        alert: "K8sCopycatImagesUnverified",
        interval: 1,
        series: &[(r#"k8s_copycat_destinations{state="unverified""#, "3x400 0x10")],
        fires: 365,
        clears: 405,
        labels: &[],
        summary: "3 images are in the mirror, but their sources can not be asked whether they have changed",
    },
    Case {
        alert: "K8sCopycatMirrorDamaged",
        interval: 1,
        series: &[(r#"k8s_copycat_verified_images{result="incomplete""#, "2x60 0x10")],
        fires: 35,
        clears: 65,
        labels: &[],
        summary: "2 images have lost parts at their targets, and copying them again has not mended them",
    },
    Case {
        alert: "K8sCopycatVerificationsLate",
        interval: 5,
        series: &[("k8s_copycat_verifications_late{", "1x40 0x10")],
        fires: 150,
        clears: 240,
        labels: &[],
        summary: "Images at the targets have not been verified for more than twice verifyHours",
    },
    Case {
        alert: "K8sCopycatReferrersMissing",
        interval: 5,
        series: &[("k8s_copycat_images_lacking_referrers{", "2x40 0x10")],
        fires: 150,
        clears: 240,
        labels: &[],
        summary: "Signatures or other referrers of 2 images are not in the mirror",
    },
    Case {
        alert: "K8sCopycatNameConflict",
        interval: 1,
        series: &[(r#"k8s_copycat_destinations{state="conflict""#, "1x30 0x10")],
        fires: 20,
        clears: 35,
        labels: &[],
        summary: "1 images are not mirrored, because other images have their destinations",
    },
    Case {
        alert: "K8sCopycatImagesUndecided",
        interval: 1,
        series: &[("k8s_copycat_undecided{", "4x30 0x10")],
        fires: 20,
        clears: 35,
        labels: &[],
        summary: "The policy can not decide 4 image uses, so they are not mirrored",
    },
    Case {
        alert: "K8sCopycatPassFails",
        interval: 4,
        series: &[
            ("k8s_copycat_last_pass_timestamp_seconds{", "60+240x500"),
            ("k8s_copycat_last_successful_pass_timestamp_seconds{", "60x400 100000x50"),
        ],
        fires: 1500,
        clears: 1650,
        labels: &[],
        summary: "Passes have ended, but none with success for a day",
    },
    Case {
        alert: "K8sCopycatQueueDoesNotDrain",
        interval: 1,
        series: &[(r#"k8s_copycat_queue_length{state="waiting""#, "3x60 0x10")],
        fires: 10,
        clears: 65,
        labels: &[],
        summary: "At least 3 images have been waiting to be copied for half an hour without a pause",
    },
    Case {
        alert: "K8sCopycatCopiesStandStill",
        interval: 1,
        series: &[
            (r#"k8s_copycat_queue_length{state="active""#, "1x60"),
            ("k8s_copycat_copied_bytes_total{", "100x39 100+50x30"),
        ],
        fires: 20,
        clears: 45,
        labels: &[],
        summary: "Copies are in progress, but no byte has been copied for a quarter of an hour",
    },
    Case {
        alert: "K8sCopycatPluginFails",
        interval: 1,
        series: &[(r#"k8s_copycat_plugin_failures_total{plugin="tenants",hook="skip",kind="trap""#, "0+1x30 30x30")],
        fires: 15,
        clears: 50,
        labels: &[("plugin", "tenants"), ("hook", "skip"), ("kind", "trap")],
        summary: "The plugin tenants fails at skip: trap",
    },
    Case {
        alert: "K8sCopycatReloadRefused",
        interval: 1,
        series: &[("k8s_copycat_config_last_reload_successful{", "0x10 1x10")],
        fires: 8,
        clears: 15,
        labels: &[("pod", "p")],
        summary: "A changed configuration or plugin can not be used, and the previous one stays active",
    },
    Case {
        alert: "K8sCopycatQuotaUsedUp",
        interval: 1,
        series: &[(r#"k8s_copycat_registry_pulls_left{registry="docker.io""#, "0x40 80x10")],
        fires: 35,
        clears: 45,
        labels: &[("registry", "docker.io")],
        summary: "docker.io allows no more pulls for now",
    },
    Case {
        alert: "K8sCopycatRegistryThrottled",
        interval: 1,
        series: &[(r#"k8s_copycat_registry_throttled_total{registry="docker.io""#, "0+1x120 120x200")],
        fires: 110,
        clears: 190,
        labels: &[("registry", "docker.io")],
        summary: "docker.io has asked 60 times in an hour for fewer requests",
    },
    Case {
        alert: "K8sCopycatRegistryErrors",
        interval: 1,
        series: &[
            (r#"k8s_copycat_registry_requests_total{registry="quay.io",method="GET",status="200""#, "0+2x120"),
            (r#"k8s_copycat_registry_requests_total{registry="quay.io",method="GET",status="503""#, "0+3x40 120x60"),
            (r#"k8s_copycat_registry_requests_total{registry="quay.io",method="HEAD",status="error""#, "0+3x40 120x60"),
        ],
        fires: 35,
        clears: 75,
        labels: &[("registry", "quay.io")],
        summary: "75% of the requests to quay.io fail",
    },
    Case {
        alert: "K8sCopycatWatchFails",
        interval: 1,
        series: &[(r#"k8s_copycat_watch_restarts_total{resource="pods""#, "0+1x40 40x60")],
        fires: 35,
        clears: 80,
        labels: &[("resource", "pods")],
        summary: "The watch of pods breaks again and again",
    },
    Case {
        alert: "K8sCopycatEventsLost",
        interval: 1,
        series: &[(r#"k8s_copycat_lost_events_total{reason="refused""#, "0 5x100")],
        fires: 20,
        clears: 75,
        labels: &[("reason", "refused")],
        summary: "Kubernetes events of k8s-copycat were not written: refused",
    },
];

/// The rules of all groups.
pub fn rules() -> Vec<Value> {
    let file: Value = serde_yaml::from_str(&chart_file("files/rules.yaml")).unwrap();
    let groups = file["groups"].as_array().unwrap().iter();
    groups.flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

fn alerts() -> Vec<Value> {
    rules().into_iter().filter(|rule| rule.get("alert").is_some()).collect()
}

#[track_caller]
fn promtool(arguments: &[&str]) -> String {
    let output = Command::new("promtool").args(arguments).output().expect("apt-get install prometheus");
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).join("");
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn promtool_accepts_the_rules() {
    let rules = chart().join("files/rules.yaml").display().to_string();
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", &rules]);
}

fn unit_test(case: &Case) -> Value {
    let alert = alerts().into_iter().find(|alert| alert["alert"] == case.alert).unwrap();
    let series = case.series.iter().map(|(name, values)| {
        let separator = if name.ends_with('{') { "" } else { "," };
        json!({ "series": format!("{name}{separator}{OF}}}"), "values": values })
    });
    let mut labels = json!({ "severity": alert["labels"]["severity"] });
    if case.alert != "K8sCopycatAbsent" {
        labels["cluster"] = "c".into();
        labels["namespace"] = "n".into();
    }
    for (name, value) in case.labels {
        labels[*name] = (*value).into();
    }
    let mut annotations = alert["annotations"].clone();
    annotations["summary"] = case.summary.into();
    let at = |minutes: u32, expected: Value| json!({ "eval_time": format!("{minutes}m"), "alertname": case.alert, "exp_alerts": expected });
    json!({
        "interval": format!("{}m", case.interval),
        "input_series": series.collect::<Vec<_>>(),
        "alert_rule_test": [
            at(case.fires, json!([{ "exp_labels": labels, "exp_annotations": annotations }])),
            at(case.clears, json!([])),
        ],
    })
}

#[test]
fn each_alert_fires_and_clears() {
    let tested: BTreeSet<_> = CASES.iter().map(|case| case.alert.to_owned()).collect();
    let shipped: BTreeSet<_> = alerts().iter().map(|alert| alert["alert"].as_str().unwrap().to_owned()).collect();
    assert_eq!(tested, shipped);
    let mirrored = |state: &str, count: u32| json!({ "series": format!("k8s_copycat_destinations{{state=\"{state}\",{OF}}}"), "values": format!("{count}x5") });
    let recorded = json!({
        "interval": "1m",
        "input_series": [mirrored("mirrored", 5), mirrored("unverified", 1), mirrored("missing", 2), mirrored("conflict", 0)],
        "promql_expr_test": [{
            "expr": "cluster_namespace:k8s_copycat_mirrored:ratio",
            "eval_time": "3m",
            "exp_samples": [{
                "labels": r#"cluster_namespace:k8s_copycat_mirrored:ratio{cluster="c",namespace="n"}"#,
                "value": 0.75,
            }],
        }],
    });
    let tests: Vec<_> = CASES.iter().map(unit_test).chain([recorded]).collect();
    let file = json!({ "rule_files": [chart().join("files/rules.yaml")], "evaluation_interval": "1m", "tests": tests });
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tests.yaml");
    fs::write(&path, file.to_string()).unwrap();
    promtool(&["test", "rules", &path.display().to_string()]);
}

#[test]
fn each_alert_says_what_it_is_and_has_a_page() {
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/alerts");
    let mut expected = BTreeSet::from(["README.md".to_owned()]);
    let mut listed = String::new();
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
        for annotation in ["summary", "description"] {
            assert!(
                alert["annotations"][annotation].as_str().is_some_and(|text| text.len() > 20),
                "{name}: {annotation}"
            );
        }
        let url = format!("{}/blob/main/docs/alerts/{name}.md", env!("CARGO_PKG_REPOSITORY"));
        assert_eq!(alert["annotations"]["runbook_url"], url, "{name}");
        let page =
            fs::read_to_string(pages.join(format!("{name}.md"))).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(page.starts_with(&format!("# {name}\n")), "{name}");
        for section in ["\n## Meaning\n", "\n## Impact\n", "\n## Diagnosis\n", "\n## Mitigation\n", "```sh\n"] {
            assert!(page.contains(section), "{name}: {section:?}");
        }
        expected.insert(format!("{name}.md"));
        writeln!(listed, "| [{name}]({name}.md) | {severity} |").unwrap();
    }
    let found = fs::read_dir(&pages).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(found.collect::<BTreeSet<_>>(), expected, "a page without an alert, or an alert without a page");
    let index = fs::read_to_string(pages.join("README.md")).unwrap();
    for line in listed.lines() {
        assert!(index.contains(line), "{line}");
    }
}
