//! The cluster's image uses as they change.

mod state;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::{
    FutureExt as _, Stream, StreamExt as _,
    stream::{self, BoxStream, SelectAll},
};
use kube::Client;
use state::WatchState;
use tokio::time::{Interval, MissedTickBehavior};

use super::{
    api::{self, WatchEvent},
    inventory::Change,
    resource::WatchSettings,
};
use crate::model::Observer;

/// The unit of the grace period for missing owners and namespaces.
const ROUND: Duration = Duration::from_secs(15);

/// Events that are handled together before changes are reported.
const BATCH: usize = 2000;

/// The index of a scope, and an event of its watch.
type Input = (usize, WatchEvent);

/// Watches everything in `settings`. The stream never ends by itself: a failed watch is restarted and reported to
/// `observer`.
///
/// No change is reported before everything has been listed once; then each workload, then [`Change::InventoryComplete`]. A list that
/// is forbidden is logged and retried, and delays it; only namespaces and nodes may stay unread, and have no labels
/// then.
///
/// A Pod or Job whose owner should exist but is missing is reported after 15 to 30 s: watches of different kinds are not
/// synchronised, and Pods outlive their deleted owner for a while.
pub fn watch(
    client: Client,
    settings: WatchSettings,
    observer: Arc<dyn Observer>,
) -> impl Stream<Item = Change> + Send + use<> {
    let scopes = settings.scopes();
    let inputs: SelectAll<BoxStream<'static, Input>> = stream::select_all(
        scopes
            .iter()
            .enumerate()
            .map(|(index, scope)| api::watch(scope, &client).map(move |event| (index, event)).boxed()),
    );
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let state = WatchState::new(settings, scopes, observer);
    stream::unfold(Watch { state, inputs, rounds, pending: VecDeque::new() }, |mut watch| async move {
        let change = watch.next().await?;
        Some((change, watch))
    })
}

struct Watch {
    state: WatchState,
    inputs: SelectAll<BoxStream<'static, Input>>,
    rounds: Interval,
    pending: VecDeque<Change>,
}

impl Watch {
    async fn next(&mut self) -> Option<Change> {
        loop {
            if let Some(change) = self.pending.pop_front() {
                return Some(change);
            }
            tokio::select! {
                input = self.inputs.next() => {
                    let (index, event) = input?;
                    self.state.handle(index, event);
                    for _ in 1..BATCH {
                        let Some(Some((index, event))) = self.inputs.next().now_or_never() else { break };
                        self.state.handle(index, event);
                    }
                }
                _ = self.rounds.tick() => self.state.end_evaluation_round(),
            }
            self.pending.extend(self.state.changes());
        }
    }
}
