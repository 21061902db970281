//! Outcomes as lines for people.

use super::counts::OutcomeName;
use crate::{
    cli::terminal::{bytes, duration, fold, text_width},
    model::{Outcome, ReferrerOutcome, Status, WorkloadId, printable},
};

/// The columns of the first word.
const WORD: usize = 15;
/// A detail is folded to no less.
const MIN_DETAIL: usize = 20;

/// An outcome: one line, or several if it does not fit the width.
pub fn outcome(outcome: &Outcome, width: Option<usize>) -> String {
    let destination = format!("-> {}", outcome.destination);
    let lacking = outcome.referrers.as_ref().and_then(lacking_referrers);
    let (destination, detail) = match &outcome.status {
        Status::Copied(_) => {
            let (size, time) = (bytes(outcome.bytes), duration(outcome.took));
            let from = (!outcome.copied_from.is_empty()).then(|| format!("from {}", outcome.copied_from.join(", ")));
            let detail: Vec<String> = from.into_iter().chain(lacking).collect();
            (format!("{destination} ({size} in {time})"), detail.join("; "))
        }
        Status::Failed(failure) => (format!("{destination}:"), failure.to_string()),
        Status::AlreadyThere(_) | Status::WouldCopy(_) | Status::WouldPull => {
            (destination, lacking.unwrap_or_default())
        }
    };
    let parts = [outcome.source.to_string(), destination, detail];
    line(&OutcomeName::of(outcome).words(), parts.map(|part| printable(&part).into_owned()), width)
}

/// None if there are all that were looked for.
fn lacking_referrers(referrers: &ReferrerOutcome) -> Option<String> {
    let first = referrers.failures.first()?;
    let count = referrers.failed;
    Some(format!("{count} {} not copied: {first}", if count == 1 { "referrer" } else { "referrers" }))
}

/// An image use that could not be decided.
pub fn undecided(workload: &WorkloadId, image: &str, reason: &str, width: Option<usize>) -> String {
    let image = if image.is_empty() { "(none)" } else { image };
    let parts = [format!("{image} of {workload}:"), reason.to_owned(), String::new()];
    line("undecided", parts.map(|part| printable(&part).into_owned()), width)
}

/// What is under way.
pub fn under_way(text: &str) -> String {
    format!("{:WORD$}{text}", "under way")
}

/// The parts behind the word on one line, or each on lines of its own. The parts must be printable.
pub fn line(word: &str, parts: [String; 3], width: Option<usize>) -> String {
    let parts: Vec<&str> = parts.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    let whole = format!("{word:WORD$}{}", parts.join(" "));
    let Some(width) = width.filter(|width| text_width(&whole) > *width) else { return whole };
    let space = width.saturating_sub(WORD).max(MIN_DETAIL);
    let lines = parts.iter().flat_map(|part| fold(part, space));
    let lines = lines.enumerate().map(|(number, text)| format!("{:WORD$}{text}", if number == 0 { word } else { "" }));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_does_not_fit_is_folded_at_its_parts() {
        let parts = || {
            ["ghcr.io/team/app:1", "-> registry.example.com/mirror/team/app:1:", "not found: no such tag"]
                .map(str::to_owned)
        };
        let whole =
            "failed         ghcr.io/team/app:1 -> registry.example.com/mirror/team/app:1: not found: no such tag";
        assert_eq!(line("failed", parts(), None), whole);
        assert_eq!(line("failed", parts(), Some(100)), whole);
        assert_eq!(
            line("failed", parts(), Some(60)),
            "\
failed         ghcr.io/team/app:1
               -> registry.example.com/mirror/team/app:1:
               not found: no such tag"
        );
        let narrow = line("failed", parts(), Some(40));
        assert!(narrow.lines().all(|line| text_width(line) <= 40), "{narrow}");
    }
}
