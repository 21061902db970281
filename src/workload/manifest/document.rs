//! From a document to objects of the inventory.

use std::collections::HashSet;

use serde_json::Value;

use super::{ManifestError, Source};
use crate::{
    model::WorkloadKind,
    workload::{
        inventory::{Inventory, Key, Kind},
        object::Object,
    },
};

/// Lists in lists; nobody writes more.
const DEEPEST_LIST: usize = 8;

/// The objects of all documents so far.
pub(super) struct Documents {
    inventory: Inventory,
    seen: HashSet<Key>,
    passed_over: Vec<String>,
}

/// Where an object stands.
#[derive(Clone, Copy)]
struct Place<'a> {
    file: &'a str,
    document: usize,
}

/// What an object is, as it says itself.
struct Header<'a> {
    group: &'a str,
    kind: &'a str,
    namespace: &'a str,
    name: &'a str,
}

impl<'a> Header<'a> {
    fn read(value: &'a Value) -> Self {
        let text = |pointer| value.pointer(pointer).and_then(Value::as_str);
        let api_version = text("/apiVersion").unwrap_or_default();
        Self {
            group: api_version.split_once('/').map_or("", |(group, _)| group),
            kind: text("/kind").unwrap_or_default(),
            namespace: text("/metadata/namespace").unwrap_or("default"),
            name: text("/metadata/name").or_else(|| text("/metadata/generateName")).unwrap_or_default(),
        }
    }

    fn object(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }

    /// The kept kind, of whatever version.
    fn kept(&self) -> Option<Kind> {
        let group_fits = |kind: WorkloadKind| match kind {
            WorkloadKind::Pod => self.group.is_empty(),
            WorkloadKind::Job | WorkloadKind::CronJob => self.group == "batch",
            WorkloadKind::Deployment | WorkloadKind::StatefulSet | WorkloadKind::DaemonSet => {
                matches!(self.group, "apps" | "extensions")
            }
        };
        match self.kind {
            "ReplicaSet" if matches!(self.group, "apps" | "extensions") => Some(Kind::ReplicaSet),
            kind => kind.parse().ok().filter(|kind| group_fits(*kind)).map(Kind::Workload),
        }
    }
}

impl Documents {
    /// None yet. Workloads of the kinds `counted` will count.
    pub fn new(counted: &[WorkloadKind]) -> Self {
        let mut inventory = Inventory::new(counted, 0);
        inventory.tell_missing_images();
        Self { inventory, seen: HashSet::new(), passed_over: Vec::new() }
    }

    /// The inventory of what was read, and a sentence for each object that was passed over.
    pub fn finish(self) -> (Inventory, Vec<String>) {
        (self.inventory, self.passed_over)
    }

    /// Takes in all that `source` holds.
    pub fn read(&mut self, source: &Source) -> Result<(), ManifestError> {
        let file = source.name();
        for (value, document) in source.values()?.into_iter().zip(1..) {
            self.take(value, Place { file: &file, document }, 0)?;
        }
        Ok(())
    }

    fn take(&mut self, mut value: Value, place: Place<'_>, depth: usize) -> Result<(), ManifestError> {
        if let Some(items) = list_items(&mut value) {
            if depth == DEEPEST_LIST {
                self.pass_over(place, &format!("lists nest deeper than {DEEPEST_LIST} levels"));
                return Ok(());
            }
            return items.into_iter().try_for_each(|item| self.take(item, place, depth + 1));
        }
        let header = Header::read(&value);
        if header.kind.is_empty() {
            self.pass_over(place, "it is no Kubernetes object: it has no kind");
            return Ok(());
        }
        match header.kept() {
            Some(kind) => self.keep(kind, &value, &header, place),
            None if header.kind == "Namespace" && header.group.is_empty() => {
                let object = parse(&value, &header, place)?;
                self.inventory.namespace(header.name, Some(&object.metadata.labels.unwrap_or_default()));
                Ok(())
            }
            None => {
                let has_containers = ["/spec/template/spec/containers", "/template/spec/containers"]
                    .into_iter()
                    .any(|pointer| value.pointer(pointer).is_some_and(Value::is_array));
                if has_containers {
                    let object = header.object();
                    self.pass_over(place, &format!("{object} may run containers, but its kind is not mirrored"));
                }
                Ok(())
            }
        }
    }

    fn keep(&mut self, kind: Kind, value: &Value, header: &Header<'_>, place: Place<'_>) -> Result<(), ManifestError> {
        let object = parse(value, header, place)?;
        match kind {
            Kind::Workload(workload) => {
                if object.pod_spec(workload).is_none_or(|spec| spec.containers().next().is_none()) {
                    self.pass_over(place, &format!("{} has no pod template with containers", header.object()));
                    return Ok(());
                }
            }
            Kind::ReplicaSet => {
                let mut owners = object.metadata.owner_references.iter().flatten();
                if !owners.any(|owner| owner.controller == Some(true)) {
                    let name = header.object();
                    self.pass_over(place, &format!("{name} may run containers, but its kind is not mirrored"));
                }
            }
        }
        let Some(key) = self.inventory.key(kind, &object) else {
            self.pass_over(place, &format!("a {} has no name", header.kind));
            return Ok(());
        };
        if !self.seen.insert(key.clone()) {
            self.pass_over(place, &format!("{key} was given before: what stands here replaces it"));
        }
        self.inventory.apply(key, &object);
        Ok(())
    }

    fn pass_over(&mut self, Place { file, document }: Place<'_>, why: &str) {
        self.passed_over.push(format!("{file}, document {document}: {why}"));
    }
}

fn parse(value: &Value, header: &Header<'_>, place: Place<'_>) -> Result<Object<()>, ManifestError> {
    serde::Deserialize::deserialize(value).map_err(|error: serde_json::Error| ManifestError::Malformed {
        file: place.file.to_owned(),
        document: place.document,
        object: header.object(),
        message: error.to_string(),
    })
}

/// The items of `kind: List`, or of a list of one kind, whose items may leave out what the list says.
fn list_items(value: &mut Value) -> Option<Vec<Value>> {
    let api_version = value.get("apiVersion")?.clone();
    let kind = value.get("kind")?.as_str()?.strip_suffix("List")?.to_owned();
    let Value::Array(mut items) = value.get_mut("items")?.take() else { return None };
    if !kind.is_empty() {
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            item.entry("apiVersion").or_insert_with(|| api_version.clone());
            item.entry("kind").or_insert_with(|| kind.clone().into());
        }
    }
    Some(items)
}
