//! The dashboard is one that Grafana reads.

use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Command, Stdio},
};

use serde_json::Value;

use super::helm::chart_file;
use crate::support::program;

/// The dashboard's JSON.
pub fn dashboard() -> Value {
    serde_json::from_str(&chart_file("files/dashboard.json")).unwrap()
}

/// Title and query of each target of each panel.
pub fn queries(dashboard: &Value) -> Vec<(String, String)> {
    let panels = dashboard["panels"].as_array().unwrap().iter();
    panels
        .flat_map(|panel| {
            let targets = panel["targets"].as_array().unwrap().iter();
            targets.map(|target| {
                (panel["title"].as_str().unwrap().to_owned(), target["expr"].as_str().unwrap().to_owned())
            })
        })
        .collect()
}

/// What Grafana's own schema says about it.
fn complaints(text: &str) -> String {
    let mut check =
        Command::new(program("check-dashboard")).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    check.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = check.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.success(), text.is_empty(), "{text}");
    text
}

#[test]
fn grafanas_schema_has_every_field() {
    let text = chart_file("files/dashboard.json");
    assert_eq!(complaints(&text), "");
    for (field, complaint) in [
        (r#""refresh": "#, "unexpected field 'wrong'"),
        (r#""expr": "#, "targets[0].expr: required field is missing"),
        (r#""steps": "#, "thresholds.steps: required field is missing"),
        (r#""reduceOptions": "#, "options.reduceOptions: required field is missing"),
    ] {
        let wrong = text.replacen(field, r#""wrong": "#, 1);
        assert_ne!(wrong, text, "{field}");
        assert!(complaints(&wrong).contains(complaint), "{}", complaints(&wrong));
    }
}

#[test]
fn the_dashboard_is_for_any_data_source_cluster_and_namespace() {
    let dashboard = dashboard();
    let variables: Vec<_> =
        dashboard["templating"]["list"].as_array().unwrap().iter().map(|variable| &variable["name"]).collect();
    assert_eq!(variables, ["datasource", "cluster", "namespace"]);
    for (title, query) in queries(&dashboard) {
        let selectors = query.matches('{').count();
        assert!(selectors > 0, "{title}: {query}");
        let both = query.matches(r#"cluster=~"$cluster", namespace=~"$namespace"}"#).count();
        assert_eq!(both, selectors, "{title}: {query}");
    }
    for panel in dashboard["panels"].as_array().unwrap() {
        for source in panel["targets"].as_array().unwrap().iter().chain([panel]) {
            assert_eq!(source["datasource"]["uid"], "${datasource}", "{panel}");
        }
    }
}

#[test]
fn the_panels_fill_one_screen_without_gaps() {
    const WIDTH: u64 = 24;
    let mut cells = BTreeSet::new();
    let mut area = 0;
    for panel in dashboard()["panels"].as_array().unwrap() {
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(x + w <= WIDTH, "{panel}");
        area += w * h;
        cells.extend((x..x + w).flat_map(|x| (y..y + h).map(move |y| (y, x))));
    }
    let height = cells.last().unwrap().0 + 1;
    assert_eq!(area, WIDTH * height, "panels overlap or leave gaps");
    assert_eq!(cells.len() as u64, area);
    assert!(height <= 32, "{height}");
}
