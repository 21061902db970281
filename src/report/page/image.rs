//! One image's story: what is at the target, what became of the attempts, and what the plugins say.

use std::{sync::Arc, time::Duration};

use askama::Template;

use super::{
    explanations::Explanation,
    finish::finish,
    frame::Frame,
    image_row::{ProgressBar, WorkloadLink, failed_attempts},
    links,
    moment::{Moment, Now},
    numbers::{bytes, count, duration},
    state_label::{StateLabel, Tone, meaning_of_one, word},
};
use crate::{
    model::{ContainerKind, Decision, ImageUse, Verdict},
    report::status::{
        Query,
        document::{Image, Referrers, Status, Unanswered, Verification},
    },
};

#[derive(Template)]
#[template(path = "image.html")]
struct ImagePage {
    frame: Frame,
    /// The destination; the image, if it has none.
    name: String,
    stories: Vec<Story>,
    /// How many more images claim the destination; empty for none.
    more: String,
}

/// One image at the destination. Several if they conflict.
struct Story {
    number: usize,
    /// The element of headings within the story.
    heading: &'static str,
    image: String,
    state: StateLabel,
    meaning: &'static str,
    activity: Option<StateLabel>,
    progress: Option<ProgressBar>,
    reason: Option<String>,
    owner: Option<String>,
    source: Option<String>,
    destination: Option<String>,
    target: Option<(String, String)>,
    digest_at_source: Option<String>,
    digest_at_target: Option<String>,
    digests: &'static str,
    first_seen: Moment,
    last_checked: Option<Moment>,
    last_mirrored: Option<Moment>,
    referrers: Option<ReferrersView>,
    verification: Option<VerificationView>,
    failing_since: Option<Moment>,
    failures: String,
    next_try: Option<Moment>,
    tried_again: Option<&'static str>,
    attempts: Vec<AttemptRow>,
    workloads: Vec<WorkloadLink>,
    workload_count: String,
    more_workloads: String,
    explanation: ExplanationView,
}

/// Whether the target has every part.
struct VerificationView {
    text: String,
    tone: Tone,
    at: Moment,
    reason: Option<String>,
    /// Later it told nothing: when, and why.
    unanswered: Option<(Moment, String)>,
}

/// Signatures and other referrers.
struct ReferrersView {
    text: String,
    looked: Moment,
    /// Referrer and reason.
    failures: Vec<(String, String)>,
}

struct AttemptRow {
    ended: Moment,
    result: String,
    is_failure: bool,
    took: String,
    bytes: String,
    reason: Option<String>,
}

enum ExplanationView {
    Decided(Vec<DecidedUse>),
    /// Why there is none.
    None(&'static str),
}

struct DecidedUse {
    /// `Container` or `Volume`.
    noun: &'static str,
    container: String,
    verdict: &'static str,
    tone: Tone,
    results: Vec<String>,
    answers: Vec<AnswerRow>,
}

struct AnswerRow {
    hook: &'static str,
    plugin: String,
    answer: String,
    took: String,
}

/// The page about what has the destination `name`: the images of `status`, each with what the plugins say about it.
///
/// # Errors
/// If the template fails.
pub fn image(name: &str, status: &Status, explanations: &[Option<Arc<Explanation>>]) -> askama::Result<String> {
    let now = Now::new(&status.time);
    let explanations = explanations.iter().map(Option::as_deref).chain(std::iter::repeat(None));
    let stories = status.images.iter().zip(explanations).enumerate();
    let query = Query { destination: Some(name.to_owned()), ..Query::default() };
    let more = status.page.total.saturating_sub(status.images.len());
    let image = status.images.first().map_or(name, |image| &image.image);
    finish(&ImagePage {
        frame: Frame::new(format!("{image} – k8s-copycat"), Some(status), links::as_json(&query)),
        name: name.to_owned(),
        stories: stories
            .map(|(index, (image, explanation))| Story {
                heading: if status.images.len() > 1 { "h3" } else { "h2" },
                ..story(index + 1, image, explanation, now)
            })
            .collect(),
        more: if more == 0 { String::new() } else { count(more) },
    })
}

fn story(number: usize, image: &Image, explanation: Option<&Explanation>, now: Now) -> Story {
    let more = image.workload_count.saturating_sub(image.workloads.len());
    Story {
        number,
        heading: "h2",
        image: image.image.clone(),
        state: StateLabel::new(&image.state),
        meaning: meaning_of_one(&image.state),
        activity: (image.activity != "idle").then(|| StateLabel::new(&image.activity)),
        progress: image.progress.as_ref().map(|progress| ProgressBar::new(progress, now)),
        reason: image.reason.clone(),
        owner: image.owner.clone(),
        source: image.source.clone(),
        destination: image.destination.clone(),
        target: image.target.as_ref().map(|target| (target.clone(), links::of_target(target))),
        digest_at_source: image.digest_at_source.clone(),
        digest_at_target: image.digest_at_target.clone(),
        digests: match (&image.digest_at_source, &image.digest_at_target) {
            (Some(source), Some(target)) if source == target => "the same",
            (Some(_), Some(_)) => "another one",
            _ => "",
        },
        first_seen: now.moment(&image.first_seen),
        last_checked: now.optional(image.last_checked.as_ref()),
        last_mirrored: now.optional(image.last_mirrored.as_ref()),
        referrers: image.referrers.as_ref().map(|referrers| referrers_view(referrers, now)),
        verification: image.verification.as_ref().map(|verification| verification_view(verification, now)),
        failing_since: now.optional(image.failing_since.as_ref()),
        failures: failed_attempts(image.failures),
        next_try: now.optional(image.next_try.as_ref()),
        tried_again: image.tried_again(),
        attempts: attempts(image, now),
        workloads: image.workloads.iter().map(WorkloadLink::new).collect(),
        workload_count: count(image.workload_count),
        more_workloads: if more == 0 { String::new() } else { count(more) },
        explanation: explanation_view(explanation),
    }
}

fn referrers_view(referrers: &Referrers, now: Now) -> ReferrersView {
    let failed = match referrers.failed {
        0 => String::new(),
        failed => format!(", {} not copied", count(failed)),
    };
    ReferrersView {
        text: format!("{} at the target{failed}", count(referrers.at_target)),
        looked: now.moment(&referrers.looked),
        failures: referrers.failures.iter().map(|failure| (failure.referrer.clone(), failure.reason.clone())).collect(),
    }
}

fn attempts(image: &Image, now: Now) -> Vec<AttemptRow> {
    let last = match (&image.last_result, &image.last_checked) {
        (Some(result), Some(ended)) => Some(AttemptRow {
            ended: now.moment(ended),
            result: word(result),
            is_failure: result == "failed",
            took: took(image.took_milliseconds.unwrap_or_default()),
            bytes: bytes(image.bytes.unwrap_or_default()),
            reason: image.reason.clone().or_else(|| copied_from(&image.copied_from)),
        }),
        _ => None,
    };
    let earlier = image.earlier_attempts.iter().map(|attempt| AttemptRow {
        ended: now.moment(&attempt.ended),
        result: word(&attempt.result),
        is_failure: attempt.result == "failed",
        took: took(attempt.took_milliseconds),
        bytes: bytes(attempt.bytes),
        reason: attempt.reason.clone().or_else(|| copied_from(&attempt.copied_from)),
    });
    last.into_iter().chain(earlier).collect()
}

fn copied_from(further: &[String]) -> Option<String> {
    (!further.is_empty()).then(|| format!("from {}: its registry could not give all of it", further.join(", ")))
}

fn took(milliseconds: u64) -> String {
    duration(Duration::from_millis(milliseconds))
}

fn explanation_view(explanation: Option<&Explanation>) -> ExplanationView {
    match explanation {
        Some(Explanation::Decided(decisions)) => ExplanationView::Decided(
            decisions.iter().map(|(image_use, decision)| decided(image_use, decision)).collect(),
        ),
        Some(Explanation::Late) => ExplanationView::None("The plugins did not answer within 5 seconds."),
        Some(Explanation::Busy) => {
            ExplanationView::None("Others are asking the plugins now. Load this page again in a few seconds.")
        }
        Some(Explanation::Unused) => {
            ExplanationView::None("The workload has changed and does not use this image any more.")
        }
        None => ExplanationView::None("The plugins were not asked about this image."),
    }
}

fn verification_view(verification: &Verification, now: Now) -> VerificationView {
    let Verification { at, result, reason, unanswered } = verification;
    let (text, tone) = match &**result {
        "whole" => ("the target has every part", Tone::Good),
        "missing" => ("the target does not have the image", Tone::Bad),
        "incomplete" => ("parts are missing at the target", Tone::Bad),
        "corrupt" => ("parts are damaged at the target", Tone::Bad),
        "drifted" => ("every part is there, but of another image", Tone::Warn),
        _ => ("not known", Tone::Open),
    };
    let unanswered = unanswered.as_ref();
    let unanswered = unanswered.map(|Unanswered { at, reason }| (now.moment(at), reason.clone().unwrap_or_default()));
    VerificationView { text: text.to_owned(), tone, at: now.moment(at), reason: reason.clone(), unanswered }
}

fn decided(image_use: &ImageUse, Decision { verdict, trace }: &Decision) -> DecidedUse {
    let (verdict, tone, results) = match verdict {
        Verdict::Mirror { destinations, .. } => {
            ("mirror to", Tone::Good, destinations.iter().map(ToString::to_string).collect())
        }
        Verdict::Skip(reason) => ("skip", Tone::Off, vec![reason.clone()]),
        Verdict::Error { reason, .. } => ("undecided", Tone::Bad, vec![reason.clone()]),
    };
    let answers = trace.iter().map(|entry| AnswerRow {
        hook: entry.hook.name(),
        plugin: entry.plugin.clone(),
        answer: entry.answer.clone(),
        took: format!("{} µs", count(u64::try_from(entry.took.as_micros()).unwrap_or(u64::MAX))),
    });
    let name = &image_use.container.name;
    let (noun, container) = match image_use.container.kind {
        ContainerKind::Volume => ("Volume", name.clone()),
        ContainerKind::Regular => ("Container", name.clone()),
        kind @ (ContainerKind::Init | ContainerKind::Ephemeral) => ("Container", format!("{name} ({kind})")),
    };
    DecidedUse { noun, container, verdict, tone, results, answers: answers.collect() }
}

#[cfg(test)]
mod tests;
