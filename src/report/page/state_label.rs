//! States as words with a colour and a shape.

use askama::Template;

/// How much a state needs somebody, the most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// Somebody has to act.
    Bad,
    /// Somebody has to look.
    Warn,
    /// It is not known, or it is being worked on.
    Open,
    /// As it should be.
    Good,
    /// As it is wanted.
    Off,
}

impl Tone {
    /// The class in the style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Warn => "warn",
            Self::Open => "open",
            Self::Good => "good",
            Self::Off => "off",
        }
    }

    /// Of a state of `/status`.
    pub fn of(state: &str) -> Self {
        match state {
            "missing" | "undecided" => Self::Bad,
            "stale" | "conflict" | "unverified" | "cooldown" | "lacks_referrers" => Self::Warn,
            "mirrored" => Self::Good,
            "skipped" | "dry_run" => Self::Off,
            _ => Self::Open,
        }
    }
}

/// A state, shown.
#[derive(Clone, Debug, Template)]
#[template(
    source = r#"<span class="state {{ tone.class() }}"><i class="mark" aria-hidden="true"></i>{{ word }}</span>"#,
    ext = "html"
)]
pub struct StateLabel {
    tone: Tone,
    word: String,
}

impl StateLabel {
    pub fn new(state: &str) -> Self {
        Self { tone: Tone::of(state), word: word(state) }
    }
}

/// A state of `/status` in words.
pub fn word(state: &str) -> String {
    state.replace('_', " ")
}

/// What a state means, for people who see it for the first time.
pub fn meaning(state: &str) -> &'static str {
    match state {
        "missing" => "the target does not have them",
        "stale" => "the target has them, but not what the source has now",
        "conflict" => "another image owns the destination",
        "undecided" => "the reference is invalid, or a plugin failed",
        "unknown" => "the first check or copy has not ended, or the target did not answer",
        "unverified" => "the target has them, but the last check could not compare them with the source",
        "dry_run" => "would be mirrored without the dry run",
        "mirrored" => "the target has what the source has",
        "skipped" => "not mirrored, by policy",
        "lacks_referrers" => "signatures or other referrers could not be copied",
        _ => "",
    }
}

/// As [`meaning`], about one image.
pub fn meaning_of_one(state: &str) -> &'static str {
    match state {
        "missing" => "the target does not have it",
        "stale" => "the target has it, but not what the source has now",
        "unverified" => "the target has it, but the last check could not compare it with the source",
        _ => meaning(state),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::status::STATES;

    #[test]
    fn every_state_has_a_shape_a_colour_and_a_word() {
        for state in STATES {
            let label = StateLabel::new(state).to_string();
            assert!(
                label.contains("class=\"state ") && label.ends_with(&format!("</i>{}</span>", word(state))),
                "{label}"
            );
            let is_activity = matches!(state, "waiting" | "copying" | "cooldown");
            assert_eq!(meaning(state).is_empty(), is_activity, "{state}");
        }
    }
}
