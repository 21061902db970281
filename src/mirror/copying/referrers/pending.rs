//! The referrers of an image that is being pushed: found while its blobs are copied, and copied before its tag is moved,
//! unless that takes too long.

use std::{pin::pin, time::Duration};

use futures::future::{Either, select};
use tokio::{sync::Mutex, time::timeout};

use super::{Discovery, Referrers, Subjects};
use crate::{
    model::{Failure, FailureKind, ReferrerFailure, ReferrerOutcome, Retry},
    registry::Manifest,
};

/// The longest look at the source once the blobs are copied.
const LONGEST_DISCOVERY: Duration = Duration::from_secs(30);

/// How long the tag waits for the referrers; then it is moved, and they follow.
const LONGEST_DELAY_OF_TAG: Duration = Duration::from_secs(60);

/// The referrers of an image that is being pushed.
pub(in crate::mirror::copying) struct PendingReferrers<'a> {
    referrers: Option<&'a Referrers<'a>>,
    state: State,
}

enum State {
    New,
    Found(Discovery),
    Copied,
}

impl<'a> PendingReferrers<'a> {
    /// None: the target gets no referrers.
    pub fn new(referrers: Option<&'a Referrers<'a>>) -> Self {
        Self { referrers, state: State::New }
    }

    /// Waits for `copy`, the copy of the contents; meanwhile, the first time, looks at the source for referrers.
    pub async fn discover_during(
        &mut self,
        copy: impl Future<Output = Result<(), Failure>>,
        root: &Manifest,
        contents: &Manifest,
    ) -> Result<(), Failure> {
        let (Some(referrers), State::New) = (self.referrers, &self.state) else { return copy.await };
        let discovery = match Subjects::of(root, contents) {
            Ok(subjects) => {
                let found = Mutex::default();
                let late = match select(pin!(referrers.discover(&subjects, &found)), pin!(copy)).await {
                    Either::Left(((), copy)) => {
                        copy.await?;
                        false
                    }
                    Either::Right((copied, discovering)) => {
                        copied?;
                        timeout(LONGEST_DISCOVERY, discovering).await.is_err()
                    }
                };
                let mut found = found.into_inner();
                if late {
                    found.fail(failure("the source did not list them in time"));
                }
                found
            }
            Err(error) => {
                copy.await?;
                Discovery::failed(failure(&error.to_string()))
            }
        };
        self.state = State::Found(discovery);
        Ok(())
    }

    /// Whether there are referrers that wait for the manifests they refer to.
    pub fn wait_for_subject(&self) -> bool {
        matches!(&self.state, State::Found(discovery) if !discovery.is_empty())
    }

    /// Copies them; the manifests that they refer to must be at the target. Returns when that is done or takes too long:
    /// then the rest is left to a look. With `referrersRequired` it takes as long as it takes, and fails if one can't be
    /// copied.
    pub async fn copy_before_tag(&mut self) -> Result<(), Failure> {
        let (Some(referrers), State::Found(_)) = (self.referrers, &self.state) else { return Ok(()) };
        let State::Found(discovery) = std::mem::replace(&mut self.state, State::Copied) else { return Ok(()) };
        let copying = referrers.copy(discovery);
        if referrers.settings.referrers.required {
            return missing(&copying.await).map_or(Ok(()), Err);
        }
        // Not kept waiting while the tag is moved: it holds permits that the tag's request needs.
        if timeout(LONGEST_DELAY_OF_TAG, copying).await.is_err() {
            let mut outcome = ReferrerOutcome { is_unfinished: true, ..ReferrerOutcome::default() };
            outcome.fail(failure("the tag was moved before all were copied; they follow"));
            referrers.record(outcome);
        }
        Ok(())
    }
}

fn failure(message: &str) -> ReferrerFailure {
    ReferrerFailure { referrer: "all referrers".to_owned(), message: message.to_owned(), retry: Retry::Soon }
}

/// The failure of an image that requires its referrers.
pub(in crate::mirror::copying) fn missing(outcome: &ReferrerOutcome) -> Option<Failure> {
    let first = outcome.failures.first()?;
    let retry = if outcome.is_worth_a_retry { Retry::Soon } else { Retry::Later };
    let further = match outcome.failed - 1 {
        0 => String::new(),
        further => format!("; {further} further referrers failed"),
    };
    let message = format!("a required referrer was not copied: {first}{further}");
    Some(Failure { kind: FailureKind::Referrer, message, retry })
}
