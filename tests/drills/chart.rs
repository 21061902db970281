//! What is in the chart's files.

use serde_json::Value;

use super::helm::{Helm, chart, chart_file};

fn yaml(path: &str) -> Value {
    serde_yaml::from_str(&chart_file(path)).unwrap()
}

#[test]
fn helm_finds_nothing_to_complain_about() {
    let helm = Helm::new();
    let chart = chart().display().to_string();
    for entry in std::fs::read_dir(super::helm::chart().join("ci")).unwrap() {
        let values = entry.unwrap().path().display().to_string();
        let report = helm.run(&["lint", "--strict", "--values", &values, &chart]).unwrap();
        assert!(!report.contains("[WARNING]") && !report.contains("[ERROR]"), "{values}: {report}");
    }
}

#[test]
fn the_chart_has_the_programs_version_and_the_data_that_artifact_hub_reads() {
    let chart = yaml("Chart.yaml");
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["home"], env!("CARGO_PKG_REPOSITORY"));
    for annotation in ["category", "license", "links", "changes"] {
        let text = chart["annotations"][format!("artifacthub.io/{annotation}")].as_str();
        assert!(text.is_some_and(|text| !text.is_empty()), "{annotation}");
    }
    for annotation in ["links", "changes"] {
        let text = chart["annotations"][format!("artifacthub.io/{annotation}")].as_str().unwrap();
        assert!(serde_yaml::from_str::<Value>(text).unwrap().is_array(), "{text}");
    }
}

#[test]
fn a_package_has_neither_test_values_nor_other_files_of_the_repository() {
    let helm = Helm::new();
    let directory = tempfile::tempdir().unwrap();
    let destination = directory.path().display().to_string();
    helm.run(&["package", &chart().display().to_string(), "--destination", &destination]).unwrap();
    let package = directory.path().join(format!("k8s-copycat-{}.tgz", yaml("Chart.yaml")["version"].as_str().unwrap()));
    let listed = std::process::Command::new("tar").arg("-tzf").arg(package).output().unwrap();
    let files = String::from_utf8(listed.stdout).unwrap();
    assert!(files.contains("k8s-copycat/files/rules.yaml\n") && files.contains("k8s-copycat/README.md\n"), "{files}");
    assert!(!files.contains("/ci/"), "{files}");
}

/// The paths of all values that are no maps with content.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value.as_object() {
        Some(map) if !map.is_empty() => {
            for (key, value) in map {
                leaves(value, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn the_readme_has_every_value() {
    let readme = chart_file("README.md");
    let mut paths = Vec::new();
    leaves(&yaml("values.yaml"), "", &mut paths);
    // Objects that are passed on as a whole.
    let whole = [
        "resources",
        "podSecurityContext",
        "securityContext",
        "livenessProbe",
        "readinessProbe",
        "nodeSelector",
        "service.annotations",
    ];
    for path in paths {
        let whole = whole.iter().find(|whole| path.starts_with(&format!("{whole}.")));
        let path = whole.map_or(path.as_str(), |whole| whole);
        assert!(readme.contains(&format!("| `{path}` |")), "{path} is missing");
    }
}

#[test]
fn the_readme_has_no_value_that_does_not_exist() {
    let values = yaml("values.yaml");
    let paths = chart_file("README.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` |").map(|(path, _)| path.to_owned()))
        .collect::<Vec<_>>();
    assert!(paths.len() > 50, "{paths:?}");
    for path in paths {
        let pointer = format!("/{}", path.replace('.', "/"));
        assert!(values.pointer(&pointer).is_some(), "{path}");
    }
}

#[test]
fn nothing_that_is_shipped_pulls_an_image_of_somebody_else() {
    assert_eq!(yaml("values.yaml")["image"]["repository"], "", "there is no published image");
    let error = Helm::new().template(&["--set", "config.targetKind=docker"]).unwrap_err();
    assert!(error.contains("image.repository is empty") && error.contains("make image"), "{error}");
}
