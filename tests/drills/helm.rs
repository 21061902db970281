//! Helm with this repository's chart.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::support::program;

/// The folder of the chart.
pub fn chart() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/k8s-copycat")
}

/// A file of the chart.
pub fn chart_file(path: &str) -> String {
    let file = chart().join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Helm with its files in a folder of its own, and its access to a cluster.
pub struct Helm {
    directory: TempDir,
    kubeconfig: Option<PathBuf>,
}

impl Helm {
    /// Without a cluster.
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap(), kubeconfig: None }
    }

    /// For the cluster of this kubeconfig.
    pub fn for_cluster(kubeconfig: &Path) -> Self {
        Self { kubeconfig: Some(kubeconfig.to_owned()), ..Self::new() }
    }

    /// Its output, or what it complains about.
    pub fn run(&self, arguments: &[&str]) -> Result<String, String> {
        let home = self.directory.path();
        let output = Command::new(program("helm"))
            .args(arguments)
            .env_clear()
            .env("HOME", home)
            .env("HELM_CACHE_HOME", home)
            .env("HELM_CONFIG_HOME", home)
            .env("HELM_DATA_HOME", home)
            .env("KUBECONFIG", self.kubeconfig.as_deref().unwrap_or(&home.join("none")))
            .output()
            .unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        if output.status.success() { Ok(stdout) } else { Err(format!("{stdout}{stderr}")) }
    }

    /// The objects of the release `k8s-copycat` in the namespace `k8s-copycat`.
    pub fn template(&self, arguments: &[&str]) -> Result<Vec<Value>, String> {
        let chart = chart().display().to_string();
        let rendered =
            self.run(&[&["template", "k8s-copycat", &chart, "--namespace", "k8s-copycat"], arguments].concat())?;
        let objects = serde_yaml::from_multiple::<Value>(&rendered).map_err(|error| format!("{error}\n{rendered}"))?;
        Ok(objects.into_iter().filter(|object| !object.is_null()).collect())
    }
}

/// The only object of this kind whose name ends like this.
#[track_caller]
pub fn object<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let matches = |object: &&Value| {
        object["kind"] == kind && object["metadata"]["name"].as_str().is_some_and(|found| found.ends_with(name))
    };
    let found: Vec<_> = objects.iter().filter(matches).collect();
    let [found] = found.as_slice() else { panic!("{} objects {kind} {name}", found.len()) };
    found
}

/// The configuration file in the release's ConfigMap.
pub fn configuration(objects: &[Value]) -> &str {
    object(objects, "ConfigMap", "-config")["data"]["config.yaml"].as_str().unwrap()
}
