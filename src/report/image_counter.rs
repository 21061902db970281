//! Counters with an image in their label.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use prometheus::{IntCounter, IntCounterVec};

use crate::model::cut_image;

/// How many different images one counter names. A series costs about a kibibyte here and an index entry in Prometheus,
/// and a cluster that deploys every commit never stops making new tags.
pub(super) const MAX_IMAGES: usize = 10_000;

/// What the label says for the images beyond [`MAX_IMAGES`].
const OTHER: &str = "other";

/// A counter with the one label `image`, whose number of series is bounded.
pub(super) struct ImageCounter {
    family: IntCounterVec,
    known: Mutex<HashMap<Box<str>, IntCounter>>,
    limit: usize,
}

impl ImageCounter {
    /// Over a family whose only label is the image; at most `limit` images are named.
    pub(super) fn new(family: IntCounterVec, limit: usize) -> Self {
        Self { family, known: Mutex::default(), limit }
    }

    /// Counts one for this image.
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
    fn beyond_the_limit_images_share_a_series_and_known_ones_keep_theirs() {
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
    fn a_label_is_not_longer_than_a_reference_can_be() {
        let family = IntCounterVec::new(Opts::new("pulls", "Pulls."), &["image"]).unwrap();
        ImageCounter::new(family.clone(), 2).increment(&"a".repeat(1 << 20));
        assert_eq!(family.with_label_values(&[format!("{}… (1048576 bytes)", "a".repeat(100))]).get(), 1);
    }
}
