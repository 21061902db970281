//! The cluster's image uses as they change.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{
    FutureExt as _, Stream, StreamExt as _,
    stream::{self, BoxStream, SelectAll},
};
use kube::{Client, runtime::watcher};
use tokio::time::{Interval, MissedTickBehavior};

use super::{
    inventory::{Change, Inventory, Key},
    object::Object,
    resource::{Namespaces, Part, Read, WatchSettings, status},
};
use crate::model::{Event, Observer};

/// A Pod whose owner is not there waits for it between one and two of these.
const ROUND: Duration = Duration::from_secs(15);
const ROUNDS: u8 = 2;

/// Events that are taken in together before their changes are told.
const BATCH: usize = 2000;

type Input = (usize, watcher::Result<watcher::Event<Object<()>>>);

/// Watches what `settings` ask for. Never ends by itself: what breaks is begun again, and told to `observer`.
///
/// Nothing comes before everything has been listed once; then each workload, then [`Change::Ready`]. What can't be
/// listed for lack of rights is logged and tried again, and keeps that from coming; namespaces alone may stay
/// unread, and have no labels then.
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
                _ = self.rounds.tick() => self.view.inventory.age(),
            }
            self.untold.extend(self.view.changes());
        }
    }
}

/// What the events so far amount to.
struct View {
    namespaces: Namespaces,
    inventory: Inventory,
    parts: Vec<PartState>,
    observer: Arc<dyn Observer>,
    is_ready: bool,
}

struct PartState {
    part: Part,
    listed: bool,
    /// What the list that is under way has brought, so that what it lacks can be removed.
    seen: HashSet<Key>,
    seen_namespaces: HashSet<String>,
    /// The last error, while it lasts: each is told once.
    broken: Option<String>,
}

impl View {
    fn new(settings: WatchSettings, parts: Vec<Part>, observer: Arc<dyn Observer>) -> Self {
        let parts = parts.into_iter().map(|part| PartState {
            part,
            listed: false,
            seen: HashSet::new(),
            seen_namespaces: HashSet::new(),
            broken: None,
        });
        Self {
            inventory: Inventory::new(&settings.resources, ROUNDS),
            namespaces: settings.namespaces,
            parts: parts.collect(),
            observer,
            is_ready: false,
        }
    }

    /// What is to be told now.
    fn changes(&mut self) -> Vec<Change> {
        if self.is_ready {
            return self.inventory.changes();
        }
        if !self.parts.iter().all(|part| part.listed) {
            return Vec::new();
        }
        self.is_ready = true;
        let mut changes = self.inventory.changes();
        changes.push(Change::Ready);
        changes
    }

    fn take(&mut self, index: usize, event: watcher::Result<watcher::Event<Object<()>>>) {
        let Some(state) = self.parts.get_mut(index) else { return };
        let event = match event {
            Ok(event) => event,
            Err(error) => return broken(state, &error, self.observer.as_ref()),
        };
        match (state.part.read, event) {
            (_, watcher::Event::Init) => {
                state.seen.clear();
                state.seen_namespaces.clear();
            }
            (Read::Objects { kind, .. }, watcher::Event::InitApply(object)) => {
                if let Some(key) = self.inventory.key(kind, &object) {
                    state.seen.insert(key.clone());
                    self.inventory.apply(key, &object);
                }
            }
            (Read::Objects { kind, .. }, watcher::Event::Apply(object)) => {
                recovered(state);
                if let Some(key) = self.inventory.key(kind, &object) {
                    self.inventory.apply(key, &object);
                }
            }
            (Read::Objects { kind, .. }, watcher::Event::Delete(object)) => {
                recovered(state);
                if let Some(key) = self.inventory.key(kind, &object) {
                    self.inventory.remove(&key);
                }
            }
            (Read::Objects { kind, .. }, watcher::Event::InitDone) => {
                recovered(state);
                state.listed = true;
                let seen = std::mem::take(&mut state.seen);
                self.inventory.retain(kind, state.part.namespace.as_deref(), &seen);
            }
            (Read::Namespaces, watcher::Event::InitApply(object) | watcher::Event::Apply(object)) => {
                let labels = object.metadata.labels.unwrap_or_default();
                if let Some(name) = object.metadata.name {
                    self.inventory.namespace(&name, Some(&labels));
                    state.seen_namespaces.insert(name);
                }
            }
            (Read::Namespaces, watcher::Event::Delete(object)) => {
                if let Some(name) = object.metadata.name {
                    self.inventory.namespace(&name, None);
                }
            }
            (Read::Namespaces, watcher::Event::InitDone) => {
                recovered(state);
                let is_first = !state.listed;
                state.listed = true;
                let seen = std::mem::take(&mut state.seen_namespaces);
                self.inventory.retain_namespaces(&seen);
                self.inventory.expect_namespaces();
                if is_first {
                    self.warn_of_missing_namespaces();
                }
            }
        }
    }

    fn warn_of_missing_namespaces(&self) {
        let Namespaces::Named(names) = &self.namespaces else { return };
        for namespace in names.iter().filter(|name| self.inventory.knows_namespace(name) == Some(false)) {
            tracing::warn!(namespace, "the namespace does not exist; it counts once it does");
        }
    }
}

fn broken(state: &mut PartState, error: &watcher::Error, observer: &dyn Observer) {
    let part = &state.part;
    let code = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => status(error),
        watcher::Error::WatchError(status) => Some(status.code),
        watcher::Error::NoResourceVersion => None,
    };
    let text = error.to_string();
    let is_news = state.broken.as_deref() != Some(&text);
    match code {
        // A Role in each namespace is enough to mirror; it can't grant this.
        Some(403) if part.read == Read::Namespaces => {
            if is_news {
                tracing::info!(remedy = part.rule(), "namespaces may not be read: policies see no namespace labels");
            }
            state.listed = true;
            state.broken = Some(text);
            return;
        }
        // The server forgets old events: what was missed is listed anew.
        Some(410) => tracing::debug!(%part, "the watch starts over"),
        Some(403) if is_news => {
            tracing::warn!(%part, error = text, remedy = part.rule(), "may not be watched; trying again");
        }
        _ if is_news => tracing::warn!(%part, error = text, "the watch broke; trying again"),
        _ => {}
    }
    if code != Some(410) {
        state.broken = Some(text);
    }
    observer.observe(&Event::WatchRestarted(part.plural()));
}

fn recovered(state: &mut PartState) {
    if state.broken.take().is_some() {
        tracing::info!(part = %state.part, "watched again");
    }
}
