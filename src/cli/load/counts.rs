//! What was loaded, in numbers.

use serde::Serialize;

use crate::{
    cli::{outcome_fields::referrer_counts, terminal::bytes},
    mirror::Loaded,
    model::{Status, StatusKind},
};

/// The numbers of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    copied: usize,
    already_there: usize,
    would_copy: usize,
    would_pull: usize,
    pub failed: usize,
    /// Names that were not reached before the end.
    pub not_done: usize,
    /// Names of the layout.
    names: usize,
    referrers_copied: usize,
    referrers_failed: usize,
    /// Bytes of blobs that were sent.
    bytes: u64,
}

impl Counts {
    pub fn expect(&mut self, names: usize) {
        (self.names, self.not_done) = (names, names);
    }

    pub fn add(&mut self, loaded: &Loaded) {
        let count = match loaded.status.kind() {
            StatusKind::Copied => &mut self.copied,
            StatusKind::AlreadyThere => &mut self.already_there,
            StatusKind::WouldCopy => &mut self.would_copy,
            StatusKind::WouldPull => &mut self.would_pull,
            StatusKind::Failed => &mut self.failed,
        };
        *count += 1;
        self.not_done = self.not_done.saturating_sub(1);
        if let Some(referrers) = &loaded.referrers {
            if !matches!(loaded.status, Status::WouldCopy(_)) {
                self.referrers_copied += referrers.copied;
            }
            self.referrers_failed += referrers.failed;
        }
        self.bytes = self.bytes.saturating_add(loaded.bytes);
    }

    /// In one line, without zeros.
    pub fn summary(&self) -> String {
        let words = [
            (self.copied, "copied"),
            (self.already_there, "already there"),
            (self.would_copy, "would be copied"),
            (self.would_pull, "not looked at"),
            (self.failed, "failed"),
            (self.not_done, "not done"),
        ];
        let parts: Vec<String> =
            words.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        let names = if parts.is_empty() { "the layout has no names".to_owned() } else { parts.join(", ") };
        let referrers = referrer_counts(self.referrers_copied, self.referrers_failed);
        format!("{names}{referrers}; {} names, {} sent", self.names, bytes(self.bytes))
    }
}
