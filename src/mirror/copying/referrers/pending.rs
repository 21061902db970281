//! The referrers of an image that is being pushed: found while its blobs are copied, and copied before its tag is moved,
//! unless that takes too long.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::timeout;

use super::{Discovery, Referrers, Subjects};
use crate::{
    mirror::copying::failure::at_source,
    model::{Failure, FailureKind, ReferrerOutcome, Retry},
    registry::Manifest,
};

/// The longest look at the source before the tag is moved.
const LONGEST_DISCOVERY: Duration = Duration::from_secs(30);

/// How long the tag waits for the referrers; then it is moved, and they follow.
const LONGEST_DELAY_OF_TAG: Duration = Duration::from_secs(60);

/// The referrers of an image that is being pushed.
pub(in crate::mirror::copying) struct PendingReferrers<'a> {
    referrers: Option<&'a Referrers<'a>>,
    state: State<'a>,
}

enum State<'a> {
    New,
    Found(Discovery),
    Copying(BoxFuture<'a, ReferrerOutcome>),
    Copied(ReferrerOutcome),
}

impl<'a> PendingReferrers<'a> {
    /// None: the target gets no referrers.
    pub fn new(referrers: Option<&'a Referrers<'a>>) -> Self {
        Self { referrers, state: State::New }
    }

    /// Looks at the source, the first time it is called.
    pub async fn discover(&mut self, root: &Manifest, contents: &Manifest) -> Result<(), Failure> {
        if let (Some(referrers), State::New) = (self.referrers, &self.state) {
            let subjects = Subjects::of(root, contents).map_err(|error| at_source(&error))?;
            self.state = State::Found(referrers.discover(&subjects, LONGEST_DISCOVERY).await);
        }
        Ok(())
    }

    /// Whether there are referrers that wait for the manifests they refer to.
    pub fn wait_for_subject(&self) -> bool {
        matches!(&self.state, State::Found(discovery) if !discovery.is_empty())
    }

    /// Copies them; the manifests that they refer to must be at the target. Returns when that is done or takes too long.
    /// With `referrersRequired` it takes as long as it takes, and fails if one can't be copied.
    pub async fn copy_before_tag(&mut self) -> Result<(), Failure> {
        let Some(referrers) = self.referrers else { return Ok(()) };
        let mut copying = match std::mem::replace(&mut self.state, State::New) {
            State::Found(discovery) => Box::pin(referrers.copy(discovery)),
            other => {
                self.state = other;
                return Ok(());
            }
        };
        if referrers.settings.referrers.required {
            let outcome = copying.await;
            let failure = missing(&outcome);
            self.state = State::Copied(outcome);
            return failure.map_or(Ok(()), Err);
        }
        self.state = match timeout(LONGEST_DELAY_OF_TAG, &mut copying).await {
            Ok(outcome) => State::Copied(outcome),
            Err(_) => State::Copying(copying),
        };
        Ok(())
    }

    /// Waits until all are copied; none if the target gets none.
    pub async fn finish(self) -> Option<ReferrerOutcome> {
        match self.state {
            State::New | State::Found(_) => None,
            State::Copying(copying) => Some(copying.await),
            State::Copied(outcome) => Some(outcome),
        }
    }
}

/// The failure of an image that requires its referrers.
pub(in crate::mirror::copying) fn missing(outcome: &ReferrerOutcome) -> Option<Failure> {
    let first = outcome.failures.first()?;
    let retry = if outcome.is_worth_a_retry() { Retry::Soon } else { Retry::Later };
    let further = match outcome.failed - 1 {
        0 => String::new(),
        further => format!("; {further} further referrers failed"),
    };
    let message = format!("a required referrer was not copied: {first}{further}");
    Some(Failure { kind: FailureKind::Referrer, message, retry })
}
