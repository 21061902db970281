//! Targets, registries, plugins and passes: what stands beside the images.

use super::{
    links,
    moment::{Moment, Now},
    numbers::{about, bytes, count, counted, duration},
    state_label::{StateLabel, Tone},
};
use crate::{
    model::PluginStatus,
    report::status::{
        Snapshot,
        document::{Pass, Status},
    },
};

/// The plugins at this moment.
#[derive(Clone, Copy, Debug)]
pub struct PluginsNow<'a> {
    /// In the order of their calls.
    pub plugins: &'a [PluginStatus],
    /// Why the changed configuration was refused; none if it is active.
    pub reload_refused: Option<&'a str>,
    /// Changed settings that need a restart.
    pub needs_restart: &'a [&'static str],
}

pub struct Side {
    pub targets: Vec<TargetItem>,
    pub registries: Vec<RegistryItem>,
    pub plugins: Vec<PluginItem>,
    pub passes: Passes,
}

pub struct TargetItem {
    pub name: String,
    pub kind: String,
    pub address: String,
    pub href: String,
    pub counts: Vec<TargetCount>,
}

pub struct TargetCount {
    pub count: String,
    pub label: StateLabel,
}

pub struct RegistryItem {
    pub name: String,
    /// Its images, if it is a source.
    pub href: Option<String>,
    pub tone: Tone,
    pub requests: String,
    pub since: Option<Moment>,
    pub last_failure: Option<(Moment, String)>,
    pub pulls_left: Option<(String, Option<Moment>)>,
    pub throttled: Option<String>,
    pub images_failing: Option<String>,
}

pub struct PluginItem {
    pub name: String,
    pub module: String,
    pub hooks: String,
    pub is_suspended: bool,
    pub state: String,
    pub calls: String,
    pub failures: String,
    pub memory: String,
}

pub struct Passes {
    pub running_since: Option<Moment>,
    pub last: Option<LastPass>,
    pub next: Option<Moment>,
}

pub struct LastPass {
    pub ended: Moment,
    pub took: String,
    pub text: String,
}

impl Side {
    pub fn new(snapshot: &Snapshot, status: &Status, plugins: &PluginsNow<'_>, now: Now) -> Self {
        Self {
            targets: targets(status),
            registries: registries(snapshot, status, now),
            plugins: plugins.plugins.iter().map(plugin).collect(),
            passes: Passes {
                running_since: now.optional(status.summary.passes.running_since.as_ref()),
                last: status.summary.passes.last.as_ref().map(|pass| last_pass(pass, now)),
                next: now.optional(status.summary.passes.next.as_ref()),
            },
        }
    }
}

fn targets(status: &Status) -> Vec<TargetItem> {
    let targets = status.targets.iter().map(|target| TargetItem {
        name: target.name.clone(),
        kind: target.kind.clone(),
        address: target.address.clone(),
        href: links::of_target(&target.name),
        counts: ["mirrored", "missing", "stale", "conflict", "unknown", "unverified", "dry_run"]
            .into_iter()
            .filter_map(|state| Some((state, *target.images.get(state)?)))
            .filter(|(_, number)| *number > 0)
            .map(|(state, number)| TargetCount { count: count(number), label: StateLabel::new(state) })
            .collect(),
    });
    targets.collect()
}

fn registries(snapshot: &Snapshot, status: &Status, now: Now) -> Vec<RegistryItem> {
    let registries = status.registries.iter().map(|registry| {
        let (requests, failed) = (registry.requests, registry.failed);
        RegistryItem {
            name: registry.registry.clone(),
            href: snapshot
                .source_registries()
                .contains(&registry.registry)
                .then(|| links::of_registry(&registry.registry)),
            tone: match (failed, registry.images_failing) {
                // Requests that are refused, as with a wrong password, are answered.
                (0, 0) => Tone::Good,
                (1.., _) if failed == requests => Tone::Bad,
                _ => Tone::Warn,
            },
            requests: match (requests, failed) {
                (0, _) => "no request within the last 10 minutes".to_owned(),
                (1, 0) => "1 request, not failed".to_owned(),
                (_, 0) => format!("{} requests, none failed", count(requests)),
                _ => format!("{} of {} requests failed", count(failed), count(requests)),
            },
            since: now.optional(registry.since.as_ref()),
            last_failure: registry.last_failure.as_ref().map(|failure| {
                let how = match failure.status {
                    Some(status) => format!("status {status}"),
                    None => "no response".to_owned(),
                };
                (now.moment(&failure.time), how)
            }),
            pulls_left: registry
                .pulls_left
                .map(|left| (pulls_left(left, registry.pulls_limit), now.optional(registry.pulls_left_at.as_ref()))),
            images_failing: match registry.images_failing {
                0 => None,
                1 => Some("1 image fails".to_owned()),
                images => Some(format!("{} images fail", count(images))),
            },
            throttled: match registry.throttled {
                0 => None,
                1 => Some("once".to_owned()),
                times => Some(format!("{} times", count(times))),
            },
        }
    });
    registries.collect()
}

/// `1 pull left`, `76 of 100 pulls left`
pub fn pulls_left(left: u64, limit: Option<u64>) -> String {
    match limit {
        Some(limit) => format!("{} of {} pulls left", count(left), count(limit)),
        None => format!("{} {} left", count(left), if left == 1 { "pull" } else { "pulls" }),
    }
}

fn plugin(plugin: &PluginStatus) -> PluginItem {
    let failures = plugin.failures.values().fold(0_u64, |sum, number| sum.saturating_add(*number));
    let kinds: Vec<_> = plugin.failures.iter().map(|(kind, number)| format!("{} {kind}", count(*number))).collect();
    PluginItem {
        name: plugin.name.clone(),
        module: plugin.module.clone(),
        hooks: plugin.hooks.iter().map(|hook| hook.name()).collect::<Vec<_>>().join(", "),
        is_suspended: plugin.given_up_for.is_some(),
        state: match plugin.given_up_for {
            Some(rest) => format!("suspended: not called for another {}", duration(rest)),
            None => "active".to_owned(),
        },
        calls: format!("{} {}", count(plugin.calls), if plugin.calls == 1 { "call" } else { "calls" }),
        failures: match failures {
            0 => "none failed".to_owned(),
            _ => format!("{} failed ({})", count(failures), kinds.join(", ")),
        },
        memory: bytes(plugin.memory as u64),
    }
}

fn last_pass(pass: &Pass, now: Now) -> LastPass {
    let took = Now::seconds_between(&pass.began, &pass.ended).unwrap_or_default();
    LastPass {
        ended: now.moment(&pass.ended),
        took: about(took),
        text: format!(
            "{}, images of {} in place, {}",
            counted(pass.workloads, "workload", "workloads"),
            counted(pass.images, "container", "containers"),
            counted(pass.failures, "failure", "failures"),
        ),
    }
}
