//! What the events of all watches amount to.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::runtime::watcher;

use crate::{
    model::{Event, Observer},
    workload::{
        api::status,
        client::describe,
        inventory::{Change, Inventory, Key},
        object::Object,
        resource::{Namespaces, Part, Read, WatchSettings},
    },
};

/// A Pod whose owner is not there waits for it for more than one round, and not more than this many.
const ROUNDS: u8 = 2;

/// A watch that is resumed says nothing before something happens. One that is broken errs at least once in this time.
const QUIET: Duration = Duration::from_secs(120);

pub(super) struct View {
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
    /// The same, of namespaces or nodes.
    seen_names: HashSet<String>,
    /// The last error and its time, while it lasts: each is told once.
    broken: Option<(String, Instant)>,
}

impl View {
    pub fn new(settings: WatchSettings, parts: Vec<Part>, observer: Arc<dyn Observer>) -> Self {
        let parts = parts.into_iter().map(|part| PartState {
            part,
            listed: false,
            seen: HashSet::new(),
            seen_names: HashSet::new(),
            broken: None,
        });
        let mut inventory = Inventory::new(&settings.resources, ROUNDS);
        if settings.nodes {
            inventory.expect_nodes();
        }
        Self { inventory, namespaces: settings.namespaces, parts: parts.collect(), observer, is_ready: false }
    }

    /// Some time has passed.
    pub fn age(&mut self) {
        self.inventory.age();
        for index in 0..self.parts.len() {
            let is_quiet = |state: &PartState| {
                state.listed && state.broken.as_ref().is_some_and(|(_, since)| since.elapsed() >= QUIET)
            };
            if self.parts.get(index).is_some_and(is_quiet) {
                self.recovered(index);
            }
        }
    }

    /// What is to be told now.
    pub fn changes(&mut self) -> Vec<Change> {
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

    pub fn take(&mut self, index: usize, event: watcher::Result<watcher::Event<Object<()>>>) {
        let event = match event {
            Ok(event) => event,
            Err(error) => return self.broken(index, &error),
        };
        // That a list begins says nothing yet of whether it can be had.
        if !matches!(event, watcher::Event::Init) {
            self.recovered(index);
        }
        let Some(state) = self.parts.get_mut(index) else { return };
        match (state.part.read, event) {
            (_, watcher::Event::Init) => {
                state.seen.clear();
                state.seen_names.clear();
            }
            (Read::Objects { kind, .. }, watcher::Event::InitApply(object)) => {
                if let Some(key) = self.inventory.key(kind, &object) {
                    state.seen.insert(key.clone());
                    self.inventory.apply(key, &object);
                }
            }
            (Read::Objects { kind, .. }, watcher::Event::Apply(object)) => {
                if let Some(key) = self.inventory.key(kind, &object) {
                    self.inventory.apply(key, &object);
                }
            }
            (Read::Objects { kind, .. }, watcher::Event::Delete(object)) => {
                if let Some(key) = self.inventory.key(kind, &object) {
                    self.inventory.remove(&key);
                }
            }
            (Read::Objects { kind, .. }, watcher::Event::InitDone) => {
                state.listed = true;
                let seen = std::mem::take(&mut state.seen);
                self.inventory.retain(kind, state.part.namespace.as_deref(), &seen);
            }
            (Read::Namespaces, watcher::Event::InitApply(object)) => {
                let labels = object.metadata.labels.unwrap_or_default();
                if let Some(name) = object.metadata.name {
                    self.inventory.namespace(&name, Some(&labels));
                    state.seen_names.insert(name);
                }
            }
            (Read::Namespaces, watcher::Event::Apply(object)) => {
                let labels = object.metadata.labels.unwrap_or_default();
                if let Some(name) = object.metadata.name {
                    self.inventory.namespace(&name, Some(&labels));
                }
            }
            (Read::Namespaces, watcher::Event::Delete(object)) => {
                if let Some(name) = object.metadata.name {
                    self.inventory.namespace(&name, None);
                }
            }
            (Read::Namespaces, watcher::Event::InitDone) => {
                let is_first = !state.listed;
                state.listed = true;
                let seen = std::mem::take(&mut state.seen_names);
                self.inventory.retain_namespaces(&seen);
                self.inventory.expect_namespaces();
                if is_first {
                    self.warn_of_missing_namespaces();
                }
            }
            (Read::Nodes, watcher::Event::InitApply(object)) => {
                let labels = object.metadata.labels.unwrap_or_default();
                if let Some(name) = object.metadata.name {
                    self.inventory.node(&name, Some(&labels));
                    state.seen_names.insert(name);
                }
            }
            (Read::Nodes, watcher::Event::Apply(object)) => {
                let labels = object.metadata.labels.unwrap_or_default();
                if let Some(name) = object.metadata.name {
                    self.inventory.node(&name, Some(&labels));
                }
            }
            (Read::Nodes, watcher::Event::Delete(object)) => {
                if let Some(name) = object.metadata.name {
                    self.inventory.node(&name, None);
                }
            }
            (Read::Nodes, watcher::Event::InitDone) => {
                state.listed = true;
                let seen = std::mem::take(&mut state.seen_names);
                self.inventory.retain_nodes(&seen);
            }
        }
    }

    fn broken(&mut self, index: usize, error: &watcher::Error) {
        let (code, text) = explain(error);
        // An outage breaks all watches, and is told once.
        let is_news = !self.parts.iter().any(|state| state.broken.as_ref().is_some_and(|(told, _)| *told == text));
        let Some(state) = self.parts.get_mut(index) else { return };
        let part = &state.part;
        match code {
            // A Role in each namespace is enough to mirror; it can't grant this.
            Some(403) if part.read == Read::Namespaces => {
                if !state.listed {
                    let remedy = part.rule();
                    tracing::info!(remedy, "namespaces may not be read: policies see no namespace labels");
                }
                state.listed = true;
                return;
            }
            Some(403) if part.read == Read::Nodes => {
                if !state.listed {
                    let remedy = part.rule();
                    tracing::warn!(remedy, "nodes may not be read: all platforms are copied");
                }
                state.listed = true;
                return;
            }
            // The server forgets old events: what was missed is listed anew.
            Some(410) => tracing::debug!(%part, "the watch starts over"),
            _ if !is_news => tracing::debug!(%part, error = text, "the watch is still broken"),
            Some(403) => {
                tracing::warn!(%part, error = text, remedy = part.rule(), "may not be watched; trying again");
            }
            _ => tracing::warn!(%part, error = text, "the watch broke; trying again"),
        }
        self.observer.observe(&Event::WatchRestarted(part.plural()));
        if code != Some(410) {
            state.broken = Some((text, Instant::now()));
        }
    }

    fn recovered(&mut self, index: usize) {
        let was_broken = self.parts.get_mut(index).is_some_and(|state| state.broken.take().is_some());
        if was_broken && self.parts.iter().all(|state| state.broken.is_none()) {
            tracing::info!("everything is watched again");
        }
    }

    fn warn_of_missing_namespaces(&self) {
        let Namespaces::Named(names) = &self.namespaces else { return };
        for namespace in names.iter().filter(|name| self.inventory.knows_namespace(name) == Some(false)) {
            tracing::warn!(namespace, "the namespace does not exist; it counts once it does");
        }
    }
}

/// The status of an error's answer, and what went wrong in one line.
fn explain(error: &watcher::Error) -> (Option<u16>, String) {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => (status(error), describe(error)),
        watcher::Error::WatchError(status) => (Some(status.code), status.message.clone()),
        watcher::Error::NoResourceVersion => (None, error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use kube::core::Status;
    use serde_json::json;
    use watcher::Event::{Apply, Init, InitApply, InitDone};

    use super::*;
    use crate::model::WorkloadKind;

    #[derive(Default)]
    struct Restarts(Mutex<Vec<String>>);

    impl Observer for Restarts {
        fn observe(&self, event: &Event<'_>) {
            if let Event::WatchRestarted(plural) = event {
                self.0.lock().unwrap().push((*plural).to_owned());
            }
        }
    }

    /// A view of the Deployments of two namespaces: parts 0 and 1, and the namespaces: part 2.
    fn view() -> (View, Arc<Restarts>) {
        let settings = WatchSettings {
            namespaces: Namespaces::Named(vec!["a".to_owned(), "b".to_owned()]),
            resources: vec![WorkloadKind::Deployment],
            nodes: false,
        };
        let parts = settings.parts();
        let restarts = Arc::new(Restarts::default());
        (View::new(settings, parts, Arc::<Restarts>::clone(&restarts)), restarts)
    }

    fn deployment(namespace: &str, name: &str) -> Object<()> {
        let spec = json!({ "template": { "spec": { "containers": [{ "name": "c", "image": "i:1" }] } } });
        serde_json::from_value(json!({ "metadata": { "namespace": namespace, "name": name }, "spec": spec })).unwrap()
    }

    fn error(code: u16) -> watcher::Error {
        let status = Status { code, message: format!("status {code}"), ..Status::default() };
        watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)))
    }

    fn list(view: &mut View, part: usize, objects: Vec<Object<()>>) {
        view.take(part, Ok(Init));
        for object in objects {
            view.take(part, Ok(InitApply(object)));
        }
        view.take(part, Ok(InitDone));
    }

    fn told(view: &mut View) -> Vec<String> {
        let tell = |change| match change {
            Change::Set { workload, .. } => format!("+{}/{}", workload.namespace, workload.name),
            Change::Removed(workload) => format!("-{}/{}", workload.namespace, workload.name),
            Change::Ready => "ready".to_owned(),
        };
        view.changes().into_iter().map(tell).collect()
    }

    #[test]
    fn nothing_is_told_before_all_is_listed() {
        let (mut view, restarts) = view();
        list(&mut view, 0, vec![deployment("a", "x")]);
        assert_eq!(told(&mut view), [""; 0]);
        view.take(1, Err(error(403)));
        view.take(2, Err(error(403)));
        assert_eq!(told(&mut view), [""; 0], "the workloads of namespace b may not be missed");
        list(&mut view, 1, vec![deployment("b", "y")]);
        assert_eq!(told(&mut view), ["+a/x", "+b/y", "ready"], "the labels of namespaces may");
        view.take(1, Ok(Apply(deployment("b", "z"))));
        assert_eq!(told(&mut view), ["+b/z"]);
        assert_eq!(*restarts.0.lock().unwrap(), ["deployments"]);
    }

    #[test]
    fn without_the_right_to_read_nodes_platforms_are_unknown() {
        let settings =
            WatchSettings { namespaces: Namespaces::All, resources: vec![WorkloadKind::Deployment], nodes: true };
        let parts = settings.parts();
        let [deployments, namespaces, nodes] = [0, 1, 2];
        assert_eq!(parts[nodes].rule(), "grant list and watch on nodes (API group \"\") by a ClusterRole");
        let mut view = View::new(settings, parts, Arc::new(()));
        list(&mut view, deployments, vec![deployment("a", "x")]);
        view.take(namespaces, Err(error(403)));
        assert!(view.changes().is_empty(), "nodes are yet to come");
        view.take(nodes, Err(error(403)));
        let platforms = |changes: Vec<Change>| match changes.into_iter().next() {
            Some(Change::Set { uses, .. }) => uses[0].platforms.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(platforms(view.changes()), None);

        let labels = json!({ "kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64" });
        let node = json!({ "metadata": { "name": "n", "labels": labels } });
        list(&mut view, nodes, vec![serde_json::from_value(node).unwrap()]);
        assert_eq!(platforms(view.changes()), Some(["linux/arm64".parse().unwrap()].into()), "the right was granted");
        list(&mut view, nodes, Vec::new());
        assert_eq!(platforms(view.changes()), None, "there are no nodes any more");
    }

    #[test]
    fn what_vanished_while_a_watch_was_down_is_removed() {
        let (mut view, restarts) = view();
        list(&mut view, 0, vec![deployment("a", "x"), deployment("a", "y")]);
        list(&mut view, 1, vec![deployment("b", "x")]);
        view.take(2, Err(error(403)));
        assert_eq!(told(&mut view), ["+a/x", "+a/y", "+b/x", "ready"]);
        view.take(0, Err(watcher::Error::WatchError(Box::new(Status { code: 410, ..Status::default() }))));
        // The first attempt to list breaks off on its second page: it removes nothing.
        view.take(0, Ok(Init));
        view.take(0, Ok(InitApply(deployment("a", "y"))));
        view.take(0, Err(error(500)));
        assert_eq!(told(&mut view), [""; 0]);
        list(&mut view, 0, vec![deployment("a", "y"), deployment("a", "z")]);
        assert_eq!(told(&mut view), ["-a/x", "+a/z"]);
        assert_eq!(*restarts.0.lock().unwrap(), ["deployments", "deployments"]);
    }

    #[test]
    fn what_comes_after_a_list_is_not_kept_for_the_next() {
        let (mut view, _) = view();
        for number in 0..100 {
            let namespace = json!({ "metadata": { "name": format!("ns-{number}") } });
            view.take(2, Ok(Apply(serde_json::from_value(namespace).unwrap())));
        }
        assert!(view.parts[2].seen_names.is_empty());
    }

    #[test]
    fn an_error_lasts_until_its_watch_brings_something() {
        let (mut view, _) = view();
        view.take(0, Err(error(500)));
        view.take(0, Ok(Init));
        assert!(view.parts[0].broken.is_some(), "a list that only begins may fail as the last one did");
        view.take(0, Ok(InitDone));
        assert!(view.parts[0].broken.is_none());
    }
}
