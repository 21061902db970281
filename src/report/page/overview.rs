//! The first page: is everything mirrored, what is not, and what happens now.

use std::collections::BTreeSet;

use askama::Template;

use super::{
    concerns::{Concern, NOT_MIRRORED, concerns, number_of},
    finish::finish,
    frame::Frame,
    image_row::ImageRow,
    links,
    moment::{Moment, Now},
    numbers::{bytes, count, counted},
    side::{PluginsNow, Side},
    state_label::{Tone, meaning, word},
};
use crate::report::status::{
    Query, STATES, Snapshot,
    document::{Page, Status},
};

/// The most copies that are shown while they run.
const MAX_COPYING: usize = 20;
/// The length of the bar that shows the shares of the states.
const BAR_LENGTH: usize = 1000;
/// The shortest part of it, so that one of 20,000 images can be seen.
const SHORTEST_PART: usize = 6;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage<'a> {
    frame: Frame,
    /// A standby knows nothing of images.
    knows_images: bool,
    headline: String,
    totals: Vec<Total>,
    bar: Vec<BarPart>,
    facts: Facts,
    concerns: Vec<Concern>,
    copying: Vec<ImageRow>,
    copying_count: usize,
    form: Form<'a>,
    images: Vec<ImageRow>,
    found: Found,
    side: Side,
}

struct Total {
    word: String,
    meaning: &'static str,
    count: String,
    href: String,
    tone: Tone,
    is_zero: bool,
    is_selected: bool,
}

/// A part of a bar of [`BAR_LENGTH`].
struct BarPart {
    class: String,
    start: usize,
    length: usize,
}

struct Facts {
    workloads: String,
    waiting: usize,
    copying: usize,
    cooldown: usize,
    oldest: Option<Moment>,
    bytes_today: String,
}

struct Form<'a> {
    text: &'a str,
    namespace: &'a str,
    workload: &'a str,
    registry: &'a str,
    target: &'a str,
    destination: &'a str,
    limit: Option<usize>,
    states: Vec<StateOption>,
    targets: Vec<&'a str>,
    namespaces: &'a BTreeSet<String>,
    registries: &'a BTreeSet<String>,
}

struct StateOption {
    value: String,
    word: String,
    is_selected: bool,
}

struct Found {
    text: String,
    is_filtered: bool,
    previous: Option<String>,
    next: Option<String>,
}

/// The overview, with the images that match `query`.
///
/// # Errors
/// If a template fails.
pub fn overview(snapshot: &Snapshot, query: &Query, plugins: &PluginsNow<'_>) -> askama::Result<String> {
    let status = snapshot.status(query);
    let copying = Query { states: vec!["copying".to_owned()], limit: MAX_COPYING, ..Query::default() };
    let copying = snapshot.status(&copying);
    let now = Now::new(&status.time);
    let knows_images = status.phase != "standby";
    let headline = headline(&status);
    let page = OverviewPage {
        frame: Frame::new(format!("{headline} – k8s-copycat"), Some(&status), links::as_json(query)),
        knows_images,
        totals: totals(&status, query),
        bar: bar(&status),
        facts: Facts {
            workloads: counted(status.summary.workloads, "workload", "workloads"),
            waiting: queued(&status, "waiting"),
            copying: queued(&status, "copying"),
            cooldown: queued(&status, "cooldown"),
            oldest: now.optional(status.summary.oldest_not_mirrored.as_ref()),
            bytes_today: bytes(status.summary.bytes_today),
        },
        concerns: concerns(&status, plugins, now),
        copying: copying.images.iter().map(|image| ImageRow::new(image, now)).collect(),
        copying_count: copying.page.total,
        form: form(snapshot, &status, query),
        images: status.images.iter().map(|image| ImageRow::new(image, now)).collect(),
        found: found(&status.page, query),
        side: Side::new(snapshot, &status, plugins, now),
        headline,
    };
    finish(&page)
}

fn headline(status: &Status) -> String {
    let all: usize = status.summary.images.values().sum();
    let mirrored = number_of(status, "mirrored");
    let unverified = match number_of(status, "unverified") {
        0 => String::new(),
        number => format!(", {} at the target but unverified", count(number)),
    };
    match (&*status.phase, all) {
        ("standby", _) => "On standby".to_owned(),
        (_, 0) => "No image is to be mirrored".to_owned(),
        (_, 1) => format!("{mirrored} of 1 image is mirrored{unverified}"),
        _ => format!("{} of {} images are mirrored{unverified}", count(mirrored), count(all)),
    }
}

fn totals(status: &Status, query: &Query) -> Vec<Total> {
    let mut shown: Vec<&str> = NOT_MIRRORED.into_iter().chain(["unverified", "mirrored", "skipped"]).collect();
    if status.dry_run || status.dry_pull {
        shown.push("dry_run");
    }
    let totals = shown.into_iter().map(|state| Total {
        word: word(state),
        meaning: meaning(state),
        count: count(number_of(status, state)),
        href: links::states([state]),
        tone: Tone::of(state),
        is_zero: number_of(status, state) == 0,
        is_selected: query.states == [state],
    });
    totals.collect()
}

/// The shares of all images that are to be mirrored.
fn bar(status: &Status) -> Vec<BarPart> {
    let order = ["mirrored", "unverified", "dry_run", "unknown", "conflict", "stale", "missing"];
    let numbers = order.map(|state| (state, number_of(status, state)));
    let all: usize = numbers.iter().map(|(_, number)| number).sum();
    let mut parts: Vec<BarPart> = Vec::new();
    for (state, number) in numbers.into_iter().filter(|(_, number)| *number > 0) {
        let length = (number.saturating_mul(BAR_LENGTH) / all.max(1)).max(SHORTEST_PART);
        parts.push(BarPart { class: format!("part {} {state}", Tone::of(state).class()), start: 0, length });
    }
    // What the short parts were given too much is taken from the longest one.
    let sum: usize = parts.iter().map(|part| part.length).sum();
    if let Some(longest) = parts.iter_mut().max_by_key(|part| part.length) {
        longest.length = (longest.length + BAR_LENGTH).saturating_sub(sum);
    }
    let mut start = 0;
    for part in &mut parts {
        part.start = start;
        start += part.length;
    }
    parts
}

fn queued(status: &Status, activity: &str) -> usize {
    status.summary.queue.get(activity).copied().unwrap_or_default()
}

fn form<'a>(snapshot: &'a Snapshot, status: &'a Status, query: &'a Query) -> Form<'a> {
    let mut values: Vec<(String, String)> = vec![(NOT_MIRRORED.join(","), "any that is not mirrored".to_owned())];
    values.extend(STATES.into_iter().map(|state| (state.to_owned(), word(state))));
    let selected = query.states.join(",");
    if !selected.is_empty() && !values.iter().any(|(value, _)| *value == selected) {
        values.push((selected.clone(), query.states.iter().map(|state| word(state)).collect::<Vec<_>>().join(", ")));
    }
    let states = values.into_iter().map(|(value, word)| StateOption { is_selected: value == selected, value, word });
    let text = |value: &'a Option<String>| value.as_deref().unwrap_or_default();
    let mut targets: Vec<&str> = status.targets.iter().map(|target| &*target.name).collect();
    if let Some(target) = &query.target
        && !targets.contains(&&**target)
    {
        targets.push(target);
    }
    Form {
        text: text(&query.text),
        namespace: text(&query.namespace),
        workload: text(&query.workload),
        registry: text(&query.registry),
        target: text(&query.target),
        destination: text(&query.destination),
        limit: (query.limit != Query::default().limit).then_some(query.limit),
        states: states.collect(),
        targets,
        namespaces: snapshot.namespaces(),
        registries: snapshot.source_registries(),
    }
}

fn found(page: &Page, query: &Query) -> Found {
    let is_filtered = Query { offset: 0, limit: 0, ..query.clone() } != Query { limit: 0, ..Query::default() };
    let at = |offset| links::images(&Query { offset, ..query.clone() });
    let which = if is_filtered { " match" } else { "" };
    let last = page.next.unwrap_or(page.total);
    let text = match page.total {
        0 if is_filtered => "No image matches.".to_owned(),
        0 => "There is none.".to_owned(),
        total if page.offset >= total => format!("Only {}{which}.", counted(total, "image", "images")),
        1 => if is_filtered { "1 image matches." } else { "1 image." }.to_owned(),
        total if page.offset == 0 && page.next.is_none() => format!("{} images{which}.", count(total)),
        total => {
            let first = page.offset.saturating_add(1);
            format!(
                "{}–{} of {} images{}.",
                count(first),
                count(last),
                count(total),
                if is_filtered { " that match" } else { "" }
            )
        }
    };
    Found {
        text,
        is_filtered,
        previous: (page.offset > 0).then(|| at(page.offset.min(page.total).saturating_sub(page.limit))),
        next: page.next.map(at),
    }
}

#[cfg(test)]
mod tests;
