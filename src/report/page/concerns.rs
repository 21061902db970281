//! What is wrong, as counted facts, the worst first.

use super::{
    links,
    moment::{Moment, Now},
    numbers::{count, duration},
    side::{PluginsNow, pulls_left},
    state_label::{Tone, meaning, meaning_of_one, word},
};
use crate::report::status::{
    LACKS_REFERRERS,
    document::{Registry, Status},
};

/// States that somebody should look at, the worst first.
pub const NOT_MIRRORED: [&str; 5] = ["missing", "undecided", "stale", "conflict", "unknown"];

/// A quota of which less than one in so many pulls is left ends soon.
const LITTLE_OF_A_QUOTA: u64 = 10;
/// What a registry told longer ago says little of its quota, in seconds.
const QUOTA_TOLD_RECENTLY: u64 = 3600;

/// Something that is wrong.
pub struct Concern {
    pub tone: Tone,
    pub fact: String,
    pub meaning: String,
    pub since: Option<Moment>,
    /// Where to see more, and what that shows.
    pub link: Option<(String, String)>,
}

pub fn concerns(status: &Status, plugins: &PluginsNow<'_>, now: Now) -> Vec<Concern> {
    let mut concerns = Vec::new();
    for state in NOT_MIRRORED.into_iter().chain(["unverified"]) {
        let number = number_of(status, state);
        if number > 0 {
            let noun = match (state, number) {
                ("undecided", 1) => "image use is",
                ("undecided", _) => "image uses are",
                (_, 1) => "image is",
                _ => "images are",
            };
            let state_word = if state == "conflict" { "in conflict".to_owned() } else { word(state) };
            let fact = format!("{} {noun} {state_word}", count(number));
            concerns.push(Concern {
                tone: Tone::of(state),
                fact,
                meaning: if number == 1 { meaning_of_one(state) } else { meaning(state) }.to_owned(),
                since: None,
                link: Some((links::states([state]), format!("show {}", word(state)))),
            });
        }
    }
    let lacking = status.summary.lacking_referrers;
    if lacking > 0 {
        concerns.push(Concern {
            tone: Tone::of(LACKS_REFERRERS),
            fact: format!(
                "{} {}",
                count(lacking),
                if lacking == 1 { "image lacks referrers" } else { "images lack referrers" }
            ),
            meaning: meaning(LACKS_REFERRERS).to_owned(),
            since: None,
            link: Some((links::states([LACKS_REFERRERS]), "show lacking referrers".to_owned())),
        });
    }
    if let Some(reason) = plugins.reload_refused {
        concerns.push(Concern {
            tone: Tone::Bad,
            fact: "A changed configuration was refused".to_owned(),
            meaning: format!("the previous one is active: {reason}"),
            since: None,
            link: None,
        });
    }
    for plugin in plugins.plugins {
        if let Some(rest) = plugin.given_up_for {
            concerns.push(Concern {
                tone: Tone::Bad,
                fact: format!("Plugin {} is suspended", plugin.name),
                meaning: format!("it kept failing, and is not called for another {}", duration(rest)),
                since: None,
                link: None,
            });
        }
    }
    concerns.extend(
        status.registries.iter().filter(|registry| registry.failed > 0).map(|registry| of_registry(registry, now)),
    );
    concerns.extend(status.registries.iter().filter_map(|registry| quota(registry, status)));
    concerns.extend(watches(status, now));
    if !plugins.needs_restart.is_empty() {
        concerns.push(Concern {
            tone: Tone::Warn,
            fact: "Changed settings need a restart".to_owned(),
            meaning: plugins.needs_restart.join(", "),
            since: None,
            link: None,
        });
    }
    // Stable: within a tone they keep their order.
    concerns.sort_by_key(|concern| concern.tone);
    concerns
}

/// The number of images, or of image uses, in a state.
pub fn number_of(status: &Status, state: &str) -> usize {
    let summary = &status.summary;
    summary.images.get(state).or_else(|| summary.image_uses.get(state)).copied().unwrap_or_default()
}

fn of_registry(registry: &Registry, now: Now) -> Concern {
    let Registry { registry: host, requests, failed, since, last_failure, .. } = registry;
    let last = last_failure.as_ref().map(|failure| {
        let how = match failure.status {
            Some(status) => format!("with status {status}"),
            None => "without a response".to_owned(),
        };
        format!("the last at {} {how}", now.moment(&failure.time).clock)
    });
    Concern {
        tone: if failed == requests { Tone::Bad } else { Tone::Warn },
        fact: format!("{} of {} requests to {host} failed", count(*failed), count(*requests)),
        meaning: last.unwrap_or_default(),
        since: now.optional(since.as_ref()),
        link: None,
    }
}

/// A quota that is used up, or soon will be.
fn quota(registry: &Registry, status: &Status) -> Option<Concern> {
    let (left, limit) = (registry.pulls_left?, registry.pulls_limit);
    let age = Now::seconds_between(registry.pulls_left_at.as_ref()?, &status.time)?;
    let is_little = left == 0 || limit.is_some_and(|limit| left < limit / LITTLE_OF_A_QUOTA);
    (is_little && age < QUOTA_TOLD_RECENTLY).then(|| Concern {
        tone: if left == 0 { Tone::Bad } else { Tone::Warn },
        fact: format!("{} at {}", pulls_left(left, limit), registry.registry),
        meaning: "with none left its images wait until it allows more; a login with a larger quota helps".to_owned(),
        since: None,
        link: Some((links::of_registry(&registry.registry), "show its images".to_owned())),
    })
}

/// One concern for all watches, which fail together if the API server is away.
fn watches(status: &Status, now: Now) -> Option<Concern> {
    let watches: Vec<_> = status.watches.iter().map(|watch| watch.resource.as_str()).collect();
    let since = status.watches.iter().map(|watch| &watch.since).min()?;
    let last = status.watches.iter().map(|watch| &watch.last).max()?;
    Some(Concern {
        tone: Tone::Warn,
        fact: format!("The watch of {} was interrupted", watches.join(", ")),
        meaning: format!("the last time at {}; changes in the cluster are noticed late", now.moment(last).clock),
        since: now.optional(Some(since)),
        link: None,
    })
}
