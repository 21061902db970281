//! Counters with the label `image`.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use prometheus::{IntCounter, IntCounterVec};

use crate::model::cut_image;

/// The largest number of images per counter. A series costs about a kibibyte here and an index entry in Prometheus, and a
/// cluster that deploys every commit creates new tags forever.
pub(super) const MAX_IMAGES: usize = 10_000;

/// The label of images beyond [`MAX_IMAGES`].
const OTHER: &str = "other";

/// A counter with the label `image` and a limited number of series.
pub(super) struct ImageCounter {
    family: IntCounterVec,
    known: Mutex<HashMap<Box<str>, IntCounter>>,
    limit: usize,
}

impl ImageCounter {
    /// `family` has `image` as its only label; at most `limit` images get a series.
    pub(super) fn new(family: IntCounterVec, limit: usize) -> Self {
        Self { family, known: Mutex::default(), limit }
    }

    pub(super) fn increment(&self, image: &str) {
        let image = &*cut_image(image);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = known.get(image) {
            series.inc();
        } else if known.len() < self.limit {
            let series = self.family.with_label_values(&[image]);
            series.inc();
            known.insert(image.into(), series);
        } else {
            self.family.with_label_values(&[OTHER]).inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;

    use super::*;

    #[test]
    fn images_beyond_the_limit_share_a_series() {
        let family = IntCounterVec::new(Opts::new("pulls", "Pulls."), &["image"]).unwrap();
        let counter = ImageCounter::new(family.clone(), 2);
        for image in ["a:1", "b:1", "c:1", "d:1", "a:1"] {
            counter.increment(image);
        }
        assert_eq!(family.with_label_values(&["a:1"]).get(), 2);
        assert_eq!(family.with_label_values(&["b:1"]).get(), 1);
        assert_eq!(family.with_label_values(&["other"]).get(), 2);
    }

    #[test]
    fn labels_are_truncated_to_the_longest_reference() {
        let family = IntCounterVec::new(Opts::new("pulls", "Pulls."), &["image"]).unwrap();
        ImageCounter::new(family.clone(), 2).increment(&"a".repeat(1 << 20));
        assert_eq!(family.with_label_values(&[format!("{}… (1048576 bytes)", "a".repeat(100))]).get(), 1);
    }
}
