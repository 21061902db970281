//! The status as text: a summary, registries, and a table of images that fits the terminal.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use jiff::Timestamp;

use crate::{
    cli::terminal::{Row, Table, bytes, duration, fold},
    model::printable,
    report::status::document::{Image, Registry, Status},
};

/// Without a width nothing is folded.
pub fn write(out: &mut dyn Write, status: &Status, width: Option<usize>) -> io::Result<()> {
    let now = status.time.parse().ok();
    for line in summary(status).into_iter().chain(watches(status)).chain(registries(status)) {
        for line in fold(&printable(&line), width.unwrap_or(usize::MAX)) {
            writeln!(out, "{line}")?;
        }
    }
    if status.images.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let rows = status.images.iter().map(|image| row(image, now)).collect();
    Table::new(["STATE", "NOW", "SINCE", "IMAGE"], rows).write(out, width)?;
    let left = status.page.total.saturating_sub(status.page.offset + status.images.len());
    if left > 0 {
        writeln!(out, "{left} more; use --limit, or a filter such as --namespace or --text")?;
    }
    Ok(())
}

/// A standby does not; one that has paused still does.
pub fn knows_images(status: &Status) -> bool {
    status.leader.is_leader || status.phase == "paused"
}

fn summary(status: &Status) -> Vec<String> {
    let leader = match (&status.leader.identity, status.leader.is_leader) {
        (Some(identity), true) => format!(", leader {identity}"),
        // It can't ask who leads now, and is mostly itself the last one that did.
        (Some(identity), false) if knows_images(status) => format!(", last known leader {identity}"),
        (Some(identity), false) => format!("; {identity} leads and knows the images"),
        (None, true) => String::new(),
        (None, false) => "; no replica is known to lead".to_owned(),
    };
    let dry_run = match (status.dry_run, status.dry_pull) {
        (false, false) => "",
        (_, true) => ", dry run (contacts no registry)",
        (true, false) => ", dry run (writes to no target)",
    };
    let mut lines = vec![format!("k8s-copycat {}: {}{dry_run}{leader}", status.version, status.phase)];
    if !knows_images(status) {
        return lines;
    }
    if status.phase == "paused" {
        lines.push(
            "the Lease can't be renewed, as while the API server is away: no copy is started until it is; running ones continue"
                .to_owned(),
        );
    }
    let summary = &status.summary;
    let total: usize = summary.images.values().sum();
    let mirrored = summary.images.get("mirrored").copied().unwrap_or_default();
    let others = counted(&summary.images, &["missing", "stale", "conflict", "unknown", "dry_run"]);
    let uses = counted(&summary.image_uses, &["undecided", "skipped"]);
    let details: Vec<String> = [others, uses].into_iter().filter(|part| !part.is_empty()).collect();
    let details = if details.is_empty() { String::new() } else { format!("; {}", details.join("; ")) };
    let unverified = match summary.images.get("unverified") {
        Some(0) | None => String::new(),
        Some(count) => format!(", {count} at the target but unverified"),
    };
    lines.push(format!(
        "{mirrored} of {total} images mirrored{unverified}, for {} workloads{details}",
        summary.workloads
    ));
    let queue = counted(&summary.queue, &["copying", "waiting", "cooldown"]);
    let queue = if queue.is_empty() { "nothing to do".to_owned() } else { queue };
    lines.push(format!("now: {queue}; {} copied today", bytes(summary.bytes_today)));
    let mut passes = Vec::new();
    if let Some(since) = &summary.passes.running_since {
        passes.push(format!("running since {since}"));
    }
    if let Some(last) = &summary.passes.last {
        passes.push(format!("last ended {} with {} failures", last.ended, last.failures));
    }
    if let Some(next) = &summary.passes.next {
        passes.push(format!("next at {next}"));
    }
    if !passes.is_empty() {
        lines.push(format!("pass: {}", passes.join("; ")));
    }
    lines
}

fn counted(counts: &BTreeMap<String, usize>, names: &[&str]) -> String {
    let present = names.iter().filter_map(|name| Some((counts.get(*name).filter(|count| **count > 0)?, name)));
    present.map(|(count, name)| format!("{count} {}", name.replace('_', " "))).collect::<Vec<_>>().join(", ")
}

/// Several watches fail together if the API server is away.
fn watches(status: &Status) -> Option<String> {
    let watches: Vec<_> = status.watches.iter().map(|watch| &*watch.resource).collect();
    let since = status.watches.iter().map(|watch| &watch.since).min()?;
    let last = status.watches.iter().map(|watch| &watch.last).max()?;
    let watches = watches.join(", ");
    Some(format!("watches interrupted from {since} to {last}, so that changes are noticed late: {watches}"))
}

/// Registries with something to tell.
fn registries(status: &Status) -> Vec<String> {
    status.registries.iter().filter_map(registry).collect()
}

fn registry(registry: &Registry) -> Option<String> {
    let mut facts = Vec::new();
    match registry.images_failing {
        0 => {}
        1 => facts.push("1 image fails".to_owned()),
        images => facts.push(format!("{images} images fail")),
    }
    if registry.failed > 0 {
        let since = registry.since.as_deref().unwrap_or_default();
        let last = match registry.last_failure.as_ref().map(|failure| failure.status) {
            Some(Some(status)) => format!(", last with status {status}"),
            Some(None) => ", last without a response".to_owned(),
            None => String::new(),
        };
        facts.push(format!("{} of {} requests failed since {since}{last}", registry.failed, registry.requests));
    }
    if let Some(left) = registry.pulls_left {
        let of_all = registry.pulls_limit.map_or_else(String::new, |limit| format!(" of {limit}"));
        facts.push(format!("{left}{of_all} pulls left"));
    }
    (!facts.is_empty()).then(|| format!("{}: {}", registry.registry, facts.join("; ")))
}

fn row(image: &Image, now: Option<Timestamp>) -> Row<4> {
    let since = image.failing_since.as_ref().unwrap_or(&image.first_seen);
    let name = image.destination.as_ref().unwrap_or(&image.image);
    let activity = if image.activity == "idle" { "-" } else { &image.activity };
    let cells = [image.state.replace('_', " "), activity.to_owned(), ago(since, now), name.clone()];
    let mut notes = Vec::new();
    if image.activity == "copying" {
        notes.push(progress(image, now).unwrap_or_else(|| "source and target are being inspected".to_owned()));
    }
    if let Some(reason) = &image.reason {
        let tries = if image.failures > 1 { format!(" ({} failed attempts)", image.failures) } else { String::new() };
        notes.push(format!("{reason}{tries}"));
    }
    if let Some(referrers) = image.referrers.as_ref().filter(|referrers| referrers.failed > 0) {
        let first = referrers.failures.first().map(|failure| format!(": {}: {}", failure.referrer, failure.reason));
        let noun = if referrers.failed == 1 { "referrer was" } else { "referrers were" };
        notes.push(format!("{} {noun} not copied{}", referrers.failed, first.unwrap_or_default()));
    }
    // The reason of a conflict names the owner.
    if let Some(owner) =
        image.owner.as_ref().filter(|owner| !image.reason.as_ref().is_some_and(|reason| reason.contains(*owner)))
    {
        notes.push(format!("the destination belongs to {owner}"));
    }
    if let Some(next) = &image.next_try {
        let wait = |now: Timestamp| {
            let seconds = next.parse::<Timestamp>().ok()?.as_second().checked_sub(now.as_second())?;
            u64::try_from(seconds).ok().map(|seconds| format!(", in {}", whole_seconds(seconds)))
        };
        notes.push(format!("next attempt at {next}{}", now.and_then(wait).unwrap_or_default()));
    }
    if let Some(when) = image.tried_again() {
        notes.push(format!("next attempt {when}"));
    }
    notes.push(format!("{}used by {}", source(image), workloads(image)));
    Row {
        cells: cells.map(|cell| printable(&cell).into_owned()),
        notes: notes.iter().map(|note| printable(note).into_owned()).collect(),
    }
}

fn source(image: &Image) -> String {
    image.source.as_ref().map_or_else(String::new, |source| format!("from {source}, "))
}

fn workloads(image: &Image) -> String {
    let named = image.workloads.iter().take(3);
    let names: Vec<String> = named
        .map(|workload| format!("{} {}/{}", workload.kind.to_ascii_lowercase(), workload.namespace, workload.name))
        .collect();
    let others = image.workload_count.saturating_sub(names.len());
    let more = if others > 0 { format!(" and {others} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}

/// What was copied, of how much, how fast, and how long the rest takes at that pace.
fn progress(image: &Image, now: Option<Timestamp>) -> Option<String> {
    let progress = image.progress.as_ref()?;
    let amount = format!("{} of {}", bytes(progress.bytes), bytes(progress.total_bytes));
    let started: Timestamp = progress.started.parse().ok()?;
    let seconds = u64::try_from(now?.as_second() - started.as_second()).ok().filter(|seconds| *seconds > 0);
    let Some(rate) = seconds.map(|seconds| progress.bytes / seconds).filter(|rate| *rate > 0) else {
        return Some(amount);
    };
    let left = std::time::Duration::from_secs(progress.total_bytes.saturating_sub(progress.bytes) / rate);
    Some(format!("{amount}, {}/s, {} left at this rate", bytes(rate), duration(left)))
}

fn ago(time: &str, now: Option<Timestamp>) -> String {
    let seconds = || {
        let time: Timestamp = time.parse().ok()?;
        u64::try_from(now?.as_second() - time.as_second()).ok()
    };
    seconds().map_or_else(|| time.to_owned(), whole_seconds)
}

fn whole_seconds(seconds: u64) -> String {
    // Times in a status have no fractions.
    if seconds < 10 { format!("{seconds} s") } else { duration(std::time::Duration::from_secs(seconds)) }
}

#[cfg(test)]
mod tests;
