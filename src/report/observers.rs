//! Several observers as one.

use std::sync::Arc;

use crate::model::{Event, Observer};

/// Passes each event to all observers, in order.
pub struct Observers(Vec<Arc<dyn Observer>>);

impl Observers {
    /// All of `observers`.
    pub fn new(observers: Vec<Arc<dyn Observer>>) -> Self {
        Self(observers)
    }
}

impl Observer for Observers {
    fn observe(&self, event: &Event<'_>) {
        for observer in &self.0 {
            observer.observe(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    struct Bytes(AtomicU64);

    impl Observer for Bytes {
        fn observe(&self, event: &Event<'_>) {
            if let Event::BytesCopied(bytes) = event {
                self.0.fetch_add(*bytes, Ordering::Relaxed);
            }
        }
    }

    #[test]
    fn every_observer_gets_every_event() {
        let (one, two) = (Arc::new(Bytes(AtomicU64::new(0))), Arc::new(Bytes(AtomicU64::new(0))));
        let observers = Observers::new(vec![one.clone(), two.clone()]);
        observers.observe(&Event::BytesCopied(3));
        observers.observe(&Event::BytesCopied(4));
        assert_eq!((one.0.load(Ordering::Relaxed), two.0.load(Ordering::Relaxed)), (7, 7));
    }
}
