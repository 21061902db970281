//! The combined state of all watches.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use kube::runtime::watcher::{self, Event as ApiEvent};

use crate::{
    model::{Event, Observer},
    workload::{
        api::{WatchEvent, status},
        client::describe,
        inventory::{Change, Inventory, ObjectKey},
        object::Object,
        resource::{Namespaces, ResourceKind, WatchScope, WatchSettings},
    },
};

/// How many rounds a Pod waits for a missing owner, the current one included.
const GRACE_ROUNDS: u8 = 2;

/// A resumed watch delivers nothing until something changes, but a failing one reports an error at least once in this
/// time: without an error for so long, it has recovered.
const RECOVERED_AFTER: Duration = Duration::from_secs(120);

pub(super) struct WatchState {
    namespaces: Namespaces,
    inventory: Inventory,
    scopes: Vec<ScopeState>,
    observer: Arc<dyn Observer>,
    is_ready: bool,
}

struct ScopeState {
    scope: WatchScope,
    is_listed: bool,
    /// Objects in the current list; when it ends, all others are removed.
    seen: HashSet<ObjectKey>,
    /// The same for namespaces or nodes.
    seen_names: HashSet<String>,
    /// The current error and when it was last seen; each error is logged once.
    failure: Option<Failure>,
}

/// The last failure of a watch.
struct Failure {
    text: String,
    /// Whether the API server did not answer, or failed itself.
    is_outage: bool,
    since: Instant,
}

impl WatchState {
    pub fn new(settings: WatchSettings, scopes: Vec<WatchScope>, observer: Arc<dyn Observer>) -> Self {
        let scopes = scopes.into_iter().map(|scope| ScopeState {
            scope,
            is_listed: false,
            seen: HashSet::new(),
            seen_names: HashSet::new(),
            failure: None,
        });
        let mut inventory = Inventory::new(&settings.resources, GRACE_ROUNDS);
        if settings.nodes {
            inventory.track_nodes();
        }
        inventory.set_pull_secrets(settings.pull_secrets);
        Self { inventory, namespaces: settings.namespaces, scopes: scopes.collect(), observer, is_ready: false }
    }

    pub fn end_evaluation_round(&mut self) {
        self.inventory.end_evaluation_round();
        for index in 0..self.scopes.len() {
            let has_recovered = |state: &ScopeState| {
                let failure = state.failure.as_ref();
                state.is_listed && failure.is_some_and(|failure| failure.since.elapsed() >= RECOVERED_AFTER)
            };
            if self.scopes.get(index).is_some_and(has_recovered) {
                self.recovered(index);
            }
        }
    }

    /// The changes since the last call.
    pub fn changes(&mut self) -> Vec<Change> {
        if self.is_ready {
            return self.inventory.changes();
        }
        if !self.scopes.iter().all(|scope| scope.is_listed) {
            return Vec::new();
        }
        self.is_ready = true;
        let mut changes = self.inventory.changes();
        changes.push(Change::InventoryComplete);
        changes
    }

    pub fn handle(&mut self, index: usize, event: WatchEvent) {
        let event = match event {
            Ok(event) => event,
            Err(error) => return self.failed(index, &error),
        };
        // The start of a list does not show yet that the request succeeds.
        if !matches!(event, ApiEvent::Init) {
            self.recovered(index);
        }
        let Some(state) = self.scopes.get_mut(index) else { return };
        match event {
            ApiEvent::Init => {
                state.seen.clear();
                state.seen_names.clear();
            }
            ApiEvent::InitApply(object) => state.apply(&mut self.inventory, object, true),
            ApiEvent::Apply(object) => state.apply(&mut self.inventory, object, false),
            ApiEvent::Delete(object) => state.delete(&mut self.inventory, &object),
            ApiEvent::InitDone => {
                let is_first = !std::mem::replace(&mut state.is_listed, true);
                state.remove_unseen(&mut self.inventory);
                if is_first && state.scope.resource == ResourceKind::Namespaces {
                    self.warn_of_missing_namespaces();
                }
            }
        }
    }

    fn failed(&mut self, index: usize, error: &watcher::Error) {
        let (code, text) = explain(error);
        // An outage fails all watches, each in its own way: it is logged once.
        let is_outage = code.is_none_or(|code| code >= 500);
        let is_known = |failure: &Failure| if is_outage { failure.is_outage } else { failure.text == text };
        let is_new = !self.scopes.iter().any(|state| state.failure.as_ref().is_some_and(is_known));
        let Some(state) = self.scopes.get_mut(index) else { return };
        let scope = &state.scope;
        match code {
            // A Role in each namespace is sufficient to mirror, and cannot grant this.
            Some(403) if scope.resource == ResourceKind::Namespaces => {
                if !state.is_listed {
                    let remedy = scope.rule();
                    tracing::info!(remedy, "namespaces cannot be read: plugins see no namespace labels");
                }
                state.is_listed = true;
                return;
            }
            Some(403) if scope.resource == ResourceKind::Nodes => {
                if !state.is_listed {
                    let remedy = scope.rule();
                    tracing::warn!(remedy, "nodes cannot be read: copying all platforms");
                }
                state.is_listed = true;
                return;
            }
            // The API server has dropped the events since then: everything is listed again.
            Some(410) => tracing::debug!(part = %scope, "watch expired; listing again"),
            _ if !is_new => tracing::debug!(part = %scope, error = text, "watch is still failing"),
            Some(403) => {
                tracing::warn!(part = %scope, error = text, remedy = scope.rule(), "watch is forbidden; retrying");
            }
            _ if is_outage => tracing::warn!(
                part = %scope,
                error = text,
                "the API server does not answer a watch; retrying: changes in the cluster go unnoticed meanwhile, known \
                 images are still mirrored"
            ),
            _ => tracing::warn!(part = %scope, error = text, "watch failed; retrying"),
        }
        self.observer.observe(&Event::WatchRestarted(scope.plural()));
        if code != Some(410) {
            state.failure = Some(Failure { text, is_outage, since: Instant::now() });
        }
    }

    fn recovered(&mut self, index: usize) {
        let had_failed = self.scopes.get_mut(index).is_some_and(|state| state.failure.take().is_some());
        if had_failed && self.scopes.iter().all(|state| state.failure.is_none()) {
            tracing::info!("all watches have recovered: changes in the cluster are noticed again");
        }
    }

    fn warn_of_missing_namespaces(&self) {
        let Namespaces::Named(names) = &self.namespaces else { return };
        for namespace in names.iter().filter(|name| self.inventory.has_namespace(name) == Some(false)) {
            tracing::warn!(
                namespace,
                "namespace in includeNamespaces does not exist; it is mirrored once it is created"
            );
        }
    }
}

impl ScopeState {
    fn apply(&mut self, inventory: &mut Inventory, object: Object, is_list: bool) {
        if let ResourceKind::Objects { kind, .. } = self.scope.resource {
            let Some(key) = inventory.key(kind, &object) else { return };
            if is_list {
                self.seen.insert(key.clone());
            }
            return inventory.apply(key, &object);
        }
        let Some(name) = object.metadata.name else { return };
        let labels = object.metadata.labels.unwrap_or_default();
        if self.scope.resource == ResourceKind::Nodes {
            inventory.node(&name, Some(&labels));
        } else {
            inventory.namespace(&name, Some(&labels));
        }
        if is_list {
            self.seen_names.insert(name);
        }
    }

    fn delete(&self, inventory: &mut Inventory, object: &Object) {
        match (self.scope.resource, &object.metadata.name) {
            (ResourceKind::Objects { kind, .. }, _) => {
                if let Some(key) = inventory.key(kind, object) {
                    inventory.remove(&key);
                }
            }
            (ResourceKind::Namespaces, Some(name)) => inventory.namespace(name, None),
            (ResourceKind::Nodes, Some(name)) => inventory.node(name, None),
            (ResourceKind::Namespaces | ResourceKind::Nodes, None) => {}
        }
    }

    /// Removes what the list that has just ended lacks.
    fn remove_unseen(&mut self, inventory: &mut Inventory) {
        match self.scope.resource {
            ResourceKind::Objects { kind, .. } => {
                let seen = std::mem::take(&mut self.seen);
                inventory.retain(kind, self.scope.namespace.as_deref(), &seen);
            }
            ResourceKind::Namespaces => {
                inventory.retain_namespaces(&std::mem::take(&mut self.seen_names));
                inventory.require_namespaces();
            }
            ResourceKind::Nodes => inventory.retain_nodes(&std::mem::take(&mut self.seen_names)),
        }
    }
}

/// The HTTP status of an error, and its description in one line.
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
    use crate::model::{PullSecretScope, WorkloadKind};

    #[derive(Default)]
    struct Restarts(Mutex<Vec<String>>);

    impl Observer for Restarts {
        fn observe(&self, event: &Event<'_>) {
            if let Event::WatchRestarted(plural) = event {
                self.0.lock().unwrap().push((*plural).to_owned());
            }
        }
    }

    /// Watches Deployments in two namespaces (scopes 0 and 1), and namespaces (scope 2).
    fn state() -> (WatchState, Arc<Restarts>) {
        let settings = WatchSettings {
            namespaces: Namespaces::Named(vec!["a".to_owned(), "b".to_owned()]),
            resources: vec![WorkloadKind::Deployment],
            nodes: false,
            pull_secrets: PullSecretScope::Off,
        };
        let scopes = settings.scopes();
        let restarts = Arc::new(Restarts::default());
        (WatchState::new(settings, scopes, Arc::<Restarts>::clone(&restarts)), restarts)
    }

    fn deployment(namespace: &str, name: &str) -> Object {
        let spec = json!({ "template": { "spec": { "containers": [{ "name": "c", "image": "i:1" }] } } });
        serde_json::from_value(json!({ "metadata": { "namespace": namespace, "name": name }, "spec": spec })).unwrap()
    }

    fn error(code: u16) -> watcher::Error {
        let status = Status { code, message: format!("status {code}"), ..Status::default() };
        watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)))
    }

    fn list(state: &mut WatchState, scope: usize, objects: Vec<Object>) {
        state.handle(scope, Ok(Init));
        for object in objects {
            state.handle(scope, Ok(InitApply(object)));
        }
        state.handle(scope, Ok(InitDone));
    }

    fn reported(state: &mut WatchState) -> Vec<String> {
        let line = |change| match change {
            Change::Set { workload, .. } => format!("+{}/{}", workload.namespace, workload.name),
            Change::Removed(workload) => format!("-{}/{}", workload.namespace, workload.name),
            Change::InventoryComplete => "ready".to_owned(),
        };
        state.changes().into_iter().map(line).collect()
    }

    #[test]
    fn nothing_is_reported_before_everything_is_listed() {
        let (mut state, restarts) = state();
        list(&mut state, 0, vec![deployment("a", "x")]);
        assert_eq!(reported(&mut state), [""; 0]);
        state.handle(1, Err(error(403)));
        state.handle(2, Err(error(403)));
        assert_eq!(reported(&mut state), [""; 0], "the workloads of namespace b must be listed first");
        list(&mut state, 1, vec![deployment("b", "y")]);
        assert_eq!(reported(&mut state), ["+a/x", "+b/y", "ready"], "namespace labels are optional");
        state.handle(1, Ok(Apply(deployment("b", "z"))));
        assert_eq!(reported(&mut state), ["+b/z"]);
        assert_eq!(*restarts.0.lock().unwrap(), ["deployments"]);
    }

    #[test]
    fn platforms_are_unknown_without_permission_to_read_nodes() {
        let settings = WatchSettings {
            namespaces: Namespaces::All,
            resources: vec![WorkloadKind::Deployment],
            nodes: true,
            pull_secrets: PullSecretScope::Off,
        };
        let scopes = settings.scopes();
        let [deployments, namespaces, nodes] = [0, 1, 2];
        assert_eq!(scopes[nodes].rule(), "grant list and watch on nodes (API group \"\") with a ClusterRole");
        let mut state = WatchState::new(settings, scopes, Arc::new(()));
        list(&mut state, deployments, vec![deployment("a", "x")]);
        state.handle(namespaces, Err(error(403)));
        assert!(state.changes().is_empty(), "nodes are not listed yet");
        state.handle(nodes, Err(error(403)));
        let platforms = |changes: Vec<Change>| match changes.into_iter().next() {
            Some(Change::Set { uses, .. }) => uses[0].platforms.clone(),
            other => panic!("{other:?}"),
        };
        assert_eq!(platforms(state.changes()), None);

        let labels = json!({ "kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64" });
        let node = json!({ "metadata": { "name": "n", "labels": labels } });
        list(&mut state, nodes, vec![serde_json::from_value(node).unwrap()]);
        assert_eq!(platforms(state.changes()), Some(["linux/arm64".parse().unwrap()].into()), "permission was granted");
        list(&mut state, nodes, Vec::new());
        assert_eq!(platforms(state.changes()), None, "all nodes are removed");
    }

    #[test]
    fn objects_deleted_while_a_watch_was_down_are_removed() {
        let (mut state, restarts) = state();
        list(&mut state, 0, vec![deployment("a", "x"), deployment("a", "y")]);
        list(&mut state, 1, vec![deployment("b", "x")]);
        state.handle(2, Err(error(403)));
        assert_eq!(reported(&mut state), ["+a/x", "+a/y", "+b/x", "ready"]);
        state.handle(0, Err(watcher::Error::WatchError(Box::new(Status { code: 410, ..Status::default() }))));
        // The first attempt to list fails on its second page: it removes nothing.
        state.handle(0, Ok(Init));
        state.handle(0, Ok(InitApply(deployment("a", "y"))));
        state.handle(0, Err(error(500)));
        assert_eq!(reported(&mut state), [""; 0]);
        list(&mut state, 0, vec![deployment("a", "y"), deployment("a", "z")]);
        assert_eq!(reported(&mut state), ["-a/x", "+a/z"]);
        assert_eq!(*restarts.0.lock().unwrap(), ["deployments", "deployments"]);
    }

    #[test]
    fn objects_applied_after_a_list_are_not_kept_for_the_next() {
        let (mut state, _) = state();
        for number in 0..100 {
            let namespace = json!({ "metadata": { "name": format!("ns-{number}") } });
            state.handle(2, Ok(Apply(serde_json::from_value(namespace).unwrap())));
        }
        assert!(state.scopes[2].seen_names.is_empty());
    }

    #[test]
    fn an_error_lasts_until_its_watch_delivers_an_event() {
        let (mut state, _) = state();
        state.handle(0, Err(error(500)));
        state.handle(0, Ok(Init));
        assert!(state.scopes[0].failure.is_some(), "a list that has only started may fail again");
        state.handle(0, Ok(InitDone));
        assert!(state.scopes[0].failure.is_none());
    }
}
