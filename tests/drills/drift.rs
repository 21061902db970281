//! The chart and `manifests/k8s.yaml` install the same.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::helm::{Helm, chart, object};

const MANIFEST: &str = include_str!("../../manifests/k8s.yaml");

fn both() -> [Vec<Value>; 2] {
    let values = chart().join("ci/dry-run-values.yaml").display().to_string();
    [Helm::new().template(&["--values", &values]).unwrap(), serde_yaml::from_multiple(MANIFEST).unwrap()]
}

#[test]
fn chart_and_manifest_have_the_same_objects() {
    let [chart, manifest] = both().map(|objects| {
        let kinds = objects.iter().filter_map(|object| {
            let name = object["metadata"]["name"].as_str().unwrap();
            // The manifest leaves the operations open, and brings its namespace along.
            let own = name.ends_with("-authorizer") || name.ends_with("-operations") || object["kind"] == "Namespace";
            (!own).then(|| object["kind"].as_str().unwrap().to_owned())
        });
        let mut kinds: Vec<_> = kinds.collect();
        kinds.sort();
        kinds
    });
    assert_eq!(chart, manifest);
}

#[test]
fn chart_and_manifest_grant_the_same_rights() {
    let [chart, manifest] = both();
    for (kind, name) in [("ClusterRole", "-reader"), ("Role", "-leader")] {
        let [chart, manifest] = [&chart, &manifest].map(|objects| object(objects, kind, name));
        assert_eq!(chart["rules"], manifest["rules"], "{kind} {name}");
    }
    let bindings = |objects: &[Value]| -> BTreeSet<String> {
        let bindings = objects.iter().filter(|object| object["kind"].as_str().unwrap().ends_with("Binding"));
        bindings
            .filter(|binding| !binding["metadata"]["name"].as_str().unwrap().contains("authorizer"))
            .map(|binding| {
                let subjects = binding["subjects"].as_array().unwrap();
                assert_eq!(subjects.len(), 1, "{binding}");
                let of = [&binding["kind"], &binding["roleRef"], &subjects[0]["kind"], &subjects[0]["namespace"]];
                json!(of).to_string()
            })
            .collect()
    };
    assert_eq!(bindings(&chart), bindings(&manifest));
}

#[test]
fn chart_and_manifest_run_the_same_pod() {
    let [chart, manifest] = both();
    for path in ["/spec/ports", "/metadata/annotations", "/spec/type"] {
        let [chart, manifest] = [&chart, &manifest].map(|objects| object(objects, "Service", "k8s-copycat"));
        assert_eq!(chart.pointer(path), manifest.pointer(path), "{path}");
    }
    let [chart, manifest] = [&chart, &manifest].map(|objects| object(objects, "Deployment", "k8s-copycat"));
    assert_eq!(chart["spec"]["replicas"], manifest["spec"]["replicas"]);
    let [chart, manifest] = [chart, manifest].map(|deployment| deployment["spec"]["template"]["spec"].clone());
    for part in ["securityContext", "volumes", "hostNetwork", "initContainers", "automountServiceAccountToken"] {
        assert_eq!(chart[part], manifest[part], "{part}");
    }
    let [chart, manifest] = [chart, manifest].map(|pod| {
        assert_eq!(pod["containers"].as_array().unwrap().len(), 1);
        pod["containers"][0].clone()
    });
    // Everything: what one of them sets, the other has to set as well.
    let keys: BTreeSet<&String> =
        [&chart, &manifest].iter().flat_map(|part| part.as_object().unwrap().keys()).collect();
    for key in keys {
        assert_eq!(chart[key], manifest[key], "{key}");
    }
}
