//! `/plugins`: the active plugins as JSON.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use jiff::Timestamp;
use serde::Serialize;

use crate::model::PluginStatus;

/// The state of the plugins and of reloading.
#[derive(Clone, Debug, Default)]
pub struct PluginsReport {
    /// In the order in which they are called.
    pub plugins: Vec<PluginStatus>,
    /// Why the changed configuration was rejected; none if it is active.
    pub reload_error: Option<String>,
    /// Changed settings that take effect only after a restart.
    pub needs_restart: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page<'a> {
    plugins: Vec<Plugin<'a>>,
    reload_refused: Option<&'a str>,
    needs_restart: &'a [&'static str],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Plugin<'a> {
    name: &'a str,
    module: &'a str,
    digest: Option<String>,
    contract: &'a str,
    hooks: Vec<&'static str>,
    loaded: Option<String>,
    calls: u64,
    failures: &'a BTreeMap<&'static str, u64>,
    instances: usize,
    memory_bytes: usize,
    /// In seconds; none while it is called.
    given_up_for: Option<u64>,
}

impl<'a> From<&'a PluginsReport> for Page<'a> {
    fn from(report: &'a PluginsReport) -> Self {
        let plugins = report.plugins.iter().map(|plugin| Plugin {
            name: &plugin.name,
            module: &plugin.module,
            digest: plugin.digest.as_ref().map(ToString::to_string),
            contract: &plugin.contract,
            hooks: plugin.hooks.iter().map(|hook| hook.name()).collect(),
            loaded: rfc3339(plugin.loaded),
            calls: plugin.calls,
            failures: &plugin.failures,
            instances: plugin.instances,
            memory_bytes: plugin.memory,
            given_up_for: plugin.given_up_for.as_ref().map(Duration::as_secs),
        });
        Self {
            plugins: plugins.collect(),
            reload_refused: report.reload_error.as_deref(),
            needs_restart: &report.needs_restart,
        }
    }
}

/// With whole seconds; none for a time out of range.
fn rfc3339(time: SystemTime) -> Option<String> {
    let time = Timestamp::try_from(time).ok()?;
    Timestamp::from_second(time.as_second()).ok().map(|seconds| seconds.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{Digest, Hook};

    #[test]
    fn the_page_has_all_fields() {
        let digest = Digest::sha256(b"teams");
        let report = PluginsReport {
            plugins: vec![PluginStatus {
                name: "teams".to_owned(),
                module: "/plugins/teams.wasm".to_owned(),
                digest: Some(digest.clone()),
                contract: "1.0.0".to_owned(),
                hooks: vec![Hook::Skip, Hook::RepositoryPrefix],
                loaded: SystemTime::UNIX_EPOCH + Duration::from_millis(1_500),
                calls: 7,
                failures: BTreeMap::from([("trap", 2)]),
                instances: 1,
                memory: 65536,
                given_up_for: Some(Duration::from_secs(12)),
            }],
            reload_error: Some("config.yaml: broken".to_owned()),
            needs_restart: vec!["watchResources"],
        };
        let page = serde_json::to_value(Page::from(&report)).unwrap();
        let plugin = json!({
            "name": "teams", "module": "/plugins/teams.wasm", "digest": digest.to_string(), "contract": "1.0.0",
            "hooks": ["skip", "repository-prefix"], "loaded": "1970-01-01T00:00:01Z", "calls": 7,
            "failures": { "trap": 2 }, "instances": 1, "memoryBytes": 65536, "givenUpFor": 12,
        });
        let expected =
            json!({ "plugins": [plugin], "reloadRefused": "config.yaml: broken", "needsRestart": ["watchResources"] });
        assert_eq!(page, expected);
    }
}
