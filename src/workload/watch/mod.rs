//! The cluster's image uses as they change.

mod view;

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::{
    FutureExt as _, Stream, StreamExt as _,
    stream::{self, BoxStream, SelectAll},
};
use kube::{Client, runtime::watcher};
use tokio::time::{Interval, MissedTickBehavior};
use view::View;

use super::{inventory::Change, object::Object, resource::WatchSettings};
use crate::model::Observer;

/// From one look at what waits to the next.
const ROUND: Duration = Duration::from_secs(15);

/// Events that are taken in together before their changes are told.
const BATCH: usize = 2000;

type Input = (usize, watcher::Result<watcher::Event<Object<()>>>);

/// Watches what `settings` ask for. Never ends by itself: what breaks is begun again, and told to `observer`.
///
/// Nothing comes before everything has been listed once; then each workload, then [`Change::Ready`]. What can't be
/// listed for lack of rights is logged and tried again, and keeps that from coming; namespaces and nodes alone
/// may stay unread, and have no labels then.
///
/// A Pod or Job whose owner is to be known but is missing is told after 15 to 30 s: watches of different kinds do not
/// keep step, and Pods outlive their deleted owner for a while.
pub fn watch(
    client: Client,
    settings: WatchSettings,
    observer: Arc<dyn Observer>,
) -> impl Stream<Item = Change> + Send + use<> {
    let parts = settings.parts();
    let inputs: SelectAll<BoxStream<'static, Input>> = stream::select_all(
        parts.iter().enumerate().map(|(index, part)| part.watch(&client).map(move |event| (index, event)).boxed()),
    );
    let mut rounds = tokio::time::interval(ROUND);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let state = Watch { view: View::new(settings, parts, observer), inputs, rounds, untold: VecDeque::new() };
    stream::unfold(state, |mut state| async move {
        let change = state.next().await?;
        Some((change, state))
    })
}

struct Watch {
    view: View,
    inputs: SelectAll<BoxStream<'static, Input>>,
    rounds: Interval,
    untold: VecDeque<Change>,
}

impl Watch {
    async fn next(&mut self) -> Option<Change> {
        loop {
            if let Some(change) = self.untold.pop_front() {
                return Some(change);
            }
            tokio::select! {
                input = self.inputs.next() => {
                    let (index, event) = input?;
                    self.view.take(index, event);
                    for _ in 1..BATCH {
                        let Some(Some((index, event))) = self.inputs.next().now_or_never() else { break };
                        self.view.take(index, event);
                    }
                }
                _ = self.rounds.tick() => self.view.age(),
            }
            self.untold.extend(self.view.changes());
        }
    }
}
