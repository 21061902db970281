//! Wrong values are named before anything is installed.

use std::collections::BTreeSet;

use serde_json::Value;

use super::helm::{Helm, chart, chart_file};
use crate::support::Program;

/// Values that can be installed.
const MINIMAL: [&str; 6] = [
    "--set",
    "image.repository=registry.example.com/k8s-copycat",
    "--set",
    "config.targetKind=docker",
    "--set",
    "config.docker.registry=registry.example.com/mirror",
];

#[track_caller]
fn assert_refused(arguments: &[&str], texts: &[&str]) {
    let error = Helm::new().template(&[&MINIMAL, arguments].concat()).expect_err(&arguments.join(" "));
    for text in texts {
        assert!(error.contains(text), "{text} is not in the answer to {arguments:?}: {error}");
    }
}

#[test]
fn unknown_values_are_named() {
    for (value, unknown) in [
        ("replicas=2", "'replicas'"),
        ("image.name=a", "'name'"),
        ("config.dryrun=true", "'dryrun'"),
        ("config.docker.registy=a", "'registy'"),
        ("config.skipNames.deployment=a", "'deployment'"),
        ("config.registries[0].registry=a,config.registries[0].insecure=true", "'insecure'"),
        ("config.targets[0].name=a,config.targets[0].kind=docker,config.targets[0].host=a", "'host'"),
        ("sourceCredentials[0].registry=a,sourceCredentials[0].existingSecret=b,sourceCredentials[0].user=c", "'user'"),
        ("plugins.inline[0].name=a,plugins.inline[0].module=H4sI,plugins.inline[0].config.a=b", "'config'"),
        ("serviceMonitor.labels.a=b", "'labels'"),
        ("podDisruptionBudget.minAvailabel=1", "'minAvailabel'"),
        ("openshift.adapt=auto", "'adapt'"),
    ] {
        assert_refused(&["--set", value], &[unknown, "not allowed"]);
    }
}

#[test]
fn invalid_values_are_named() {
    for (value, place) in [
        ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
        ("image.digest=latest", "/image/digest"),
        ("image.repository=a@sha256:b", "/image/repository"),
        ("image.tag=12", "/image/tag"),
        // Helm would write 1.23456789012e+11 into the file.
        ("config.ecr.accountID=123456789012", "/config/ecr/accountID"),
        ("config.targetKind=harbor", "/config/targetKind"),
        ("config.watchResources[0]=replicasets", "/config/watchResources/0"),
        ("config.requestTimeout=2m", "/config/requestTimeout"),
        ("operationsAuthorization=basic", "/operationsAuthorization"),
        ("scopedNamespaces[0]=team-*", "/scopedNamespaces/0"),
        ("plugins.oci[0].oci=ghcr.io/acme/teams:1.2", "/plugins/oci/0/oci"),
        ("openshift.adaptSecurityContext=yes", "/openshift/adaptSecurityContext"),
        ("rbac.pullSecrets[0].namespace=team-*", "/rbac/pullSecrets/0/namespace"),
        ("config.pullSecrets=some", "/config/pullSecrets"),
        ("service.port=0", "/service/port"),
        ("existingSecret.name=a", "/existingSecret"),
    ] {
        assert_refused(&["--set", value], &[place]);
    }
}

#[test]
fn contradicting_values_are_explained() {
    let large = "H4sI".repeat(400_000);
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("module");
    std::fs::write(&file, large).unwrap();
    let module = format!("plugins.inline[0].module={}", file.display());
    for (arguments, text) in [
        (&["--set", "config.targetKind="][..], "config/targetKind"),
        (
            &["--set", "scopedNamespaces={a},config.includeNamespaces={b}"],
            "either scopedNamespaces or config.includeNamespaces",
        ),
        (&["--set", "scopedNamespaces={a},operationsAuthorization=kubernetes"], "needs a ClusterRole"),
        (&["--set", "scopedNamespaces={a},config.checkNodePlatform=true"], "use config.mirrorPlatforms"),
        (&["--set", "config.operationsAuthorization=none"], "set operationsAuthorization beside config"),
        (
            &["--set", "dockerConfigSecret=a,config.dockerConfigFile=/a"],
            "either dockerConfigSecret or config.dockerConfigFile",
        ),
        (&["--set", "plugins.inline[0].name=a", "--set-file", &module], "a ConfigMap holds 1 MiB"),
        (
            &["--set", "plugins.inline[0].name=a,plugins.inline[0].module=aGVsbG8K"],
            "is not base64 of a .wasm or .wasm.gz",
        ),
        (&["--set", "scopedNamespaces={a},rbac.pullSecrets[0].namespace=*"], "the namespace \"*\" needs a ClusterRole"),
        (
            &["--set", "prometheusRule.enabled=true,prometheusRule.disabled={ImagesNotMirrored}"],
            "there is no alert ImagesNotMirrored; there are: K8sCopycat",
        ),
    ] {
        assert_refused(arguments, &[text]);
    }
    let error = Helm::new().template(&MINIMAL[..2]).unwrap_err();
    assert!(error.contains("config has no target") && error.contains("config.docker.registry"), "{error}");
}

#[test]
fn the_default_values_satisfy_the_schema() {
    let values = chart().join("values.yaml").display().to_string();
    Helm::new().template(&[&["--values", &values], &MINIMAL[..]].concat()).unwrap();
}

/// The keys that the program knows in the part of the configuration where `text` has an unknown one.
async fn known_keys(text: &str) -> BTreeSet<String> {
    let program = Program::new(&["plan", "-f", "-"]).config(text);
    let finished = program.run().await.assert_code(2);
    let line = finished.stderr.lines().find_map(|line| line.split_once("known keys: ")).expect(&finished.stderr).1;
    line.split(", ").map(str::to_owned).collect()
}

#[tokio::test]
async fn the_schema_has_exactly_the_keys_that_the_program_knows() {
    const UNKNOWN: &str = "zzzzzzzzzzzz";
    let schema: Value = serde_json::from_str(&chart_file("values.schema.json")).unwrap();
    let config = &schema["properties"]["config"];
    let keys = |schema: &Value| -> BTreeSet<String> {
        assert_eq!(schema["additionalProperties"], false, "{schema}");
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(config), known_keys(&format!("{UNKNOWN}: 1")).await);
    for section in ["docker", "ecr", "ociLayout", "skipNames"] {
        let known = known_keys(&format!("{section}: {{ {UNKNOWN}: 1 }}")).await;
        assert_eq!(keys(&config["properties"][section]), known, "{section}");
    }
    let known = known_keys(&format!("pullSecrets: {{ {UNKNOWN}: 1 }}")).await;
    assert_eq!(keys(&config["properties"]["pullSecrets"]["anyOf"][1]), known);
    for list in ["registries", "registryCredentials", "plugins", "pathMap", "sources"] {
        let known = known_keys(&format!("{list}: [{{ {UNKNOWN}: 1 }}]")).await;
        assert_eq!(keys(&config["properties"][list]["items"]), known, "{list}");
    }
    let mut targets = BTreeSet::new();
    for kind in ["docker", "ecr", "oci-layout"] {
        targets.extend(known_keys(&format!("targets: [{{ name: a, kind: {kind}, {UNKNOWN}: 1 }}]")).await);
    }
    assert_eq!(keys(&config["properties"]["targets"]["items"]), targets);
    let [plugin, oci] =
        [&config["properties"]["plugins"]["items"], &schema["properties"]["plugins"]["properties"]["oci"]["items"]];
    let without = |names: &[&str]| keys(plugin).into_iter().filter(|key| !names.contains(&key.as_str())).collect();
    let settings: BTreeSet<String> = without(&["module", "oci"]);
    assert_eq!(keys(oci), without(&["module"]));
    assert_eq!(
        keys(&schema["properties"]["plugins"]["properties"]["inline"]["items"]["properties"]["settings"]),
        settings
    );
}
