//! Decisions that the plugins make on request, to explain them. Everybody who reaches the port can ask, so answers are shared
//! for a second, and few are made in that time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::Mutex, time::timeout};

use crate::model::{Decision, ImageUse, WorkloadId};

/// How long an answer is shared.
const MAX_AGE: Duration = Duration::from_secs(1);
/// The most answers that are made within [`MAX_AGE`].
const MAX_RECENT: usize = 5;
/// How long a caller waits, for its turn and for the plugins.
const DEADLINE: Duration = Duration::from_secs(5);

/// What the plugins say now.
#[derive(Debug)]
pub enum Explanation {
    /// The decision about each container of the workload that uses the image.
    Decided(Vec<(ImageUse, Decision)>),
    /// The workload does not use the image any more.
    Unused,
    /// There was no answer within five seconds.
    Late,
    /// Others ask too.
    Busy,
}

/// The newest answers.
pub struct Explanations {
    max_age: Duration,
    deadline: Duration,
    recent: Mutex<Vec<Answer>>,
}

struct Answer {
    made: Instant,
    workload: WorkloadId,
    image: String,
    explanation: Arc<Explanation>,
}

impl Default for Explanations {
    fn default() -> Self {
        Self { max_age: MAX_AGE, deadline: DEADLINE, recent: Mutex::default() }
    }
}

impl Explanations {
    /// The newest answer about an image of a workload, or that of `decide`. One runs at a time.
    pub async fn get(
        &self,
        workload: WorkloadId,
        image: String,
        decide: impl Future<Output = Option<Vec<(ImageUse, Decision)>>>,
    ) -> Arc<Explanation> {
        let answer = async {
            let mut recent = self.recent.lock().await;
            recent.retain(|answer| answer.made.elapsed() < self.max_age);
            if let Some(answer) = recent.iter().find(|answer| answer.workload == workload && answer.image == image) {
                return Arc::clone(&answer.explanation);
            }
            if recent.len() >= MAX_RECENT {
                return Arc::new(Explanation::Busy);
            }
            let decided = decide.await.filter(|decisions| !decisions.is_empty());
            let explanation = Arc::new(decided.map_or(Explanation::Unused, Explanation::Decided));
            recent.push(Answer { made: Instant::now(), workload, image, explanation: Arc::clone(&explanation) });
            explanation
        };
        timeout(self.deadline, answer).await.unwrap_or_else(|_| Arc::new(Explanation::Late))
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::{pending, ready},
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;
    use crate::report::testing::web;

    #[tokio::test]
    async fn answers_are_shared_and_few_are_made() {
        let explanations = Explanations { max_age: Duration::from_secs(3600), ..Explanations::default() };
        let made = AtomicUsize::new(0);
        let get = |image: &str| {
            explanations.get(web(), image.to_owned(), async {
                made.fetch_add(1, Ordering::Relaxed);
                None
            })
        };
        for _ in 0..3 {
            assert!(matches!(*get("nginx").await, Explanation::Unused));
        }
        assert_eq!(made.load(Ordering::Relaxed), 1);
        for number in 1..MAX_RECENT {
            get(&number.to_string()).await;
        }
        assert!(matches!(*get("one more").await, Explanation::Busy));
        assert!(matches!(*get("nginx").await, Explanation::Unused));
        assert_eq!(made.load(Ordering::Relaxed), MAX_RECENT);
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let explanations = Explanations { deadline: Duration::from_millis(1), ..Explanations::default() };
        let (stuck, waiting) = tokio::join!(
            explanations.get(web(), "a".into(), pending()),
            explanations.get(web(), "b".into(), ready(None))
        );
        assert!(matches!(*stuck, Explanation::Late) && matches!(*waiting, Explanation::Late));
    }
}
