//! Reads documents into the inventory.

use std::collections::HashSet;

use serde_json::Value;

use super::{ManifestError, Source};
use crate::{
    model::WorkloadKind,
    workload::{
        inventory::{Inventory, ObjectKey, ObjectKind},
        object::Object,
    },
};

/// The deepest nesting of lists.
const MAX_LIST_DEPTH: usize = 8;

pub(super) struct Documents {
    inventory: Inventory,
    seen: HashSet<ObjectKey>,
    ignored: Vec<String>,
    errors: Vec<ManifestError>,
}

/// The position of an object, for messages.
#[derive(Clone, Copy)]
struct DocumentLocation<'a> {
    file: &'a str,
    document: usize,
}

/// The identity of an object.
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

    /// The kind, if it is one that the inventory stores, in any API version.
    fn object_kind(&self) -> Option<ObjectKind> {
        let group_fits = |kind: WorkloadKind| match kind {
            WorkloadKind::Pod => self.group.is_empty(),
            WorkloadKind::Job | WorkloadKind::CronJob => self.group == "batch",
            WorkloadKind::Deployment | WorkloadKind::StatefulSet | WorkloadKind::DaemonSet => {
                matches!(self.group, "apps" | "extensions")
            }
        };
        match self.kind {
            "ReplicaSet" if matches!(self.group, "apps" | "extensions") => Some(ObjectKind::ReplicaSet),
            kind => kind.parse().ok().filter(|kind| group_fits(*kind)).map(ObjectKind::Workload),
        }
    }
}

impl Documents {
    pub fn new(watched: &[WorkloadKind]) -> Self {
        let mut inventory = Inventory::new(watched, 0);
        inventory.keep_missing_images();
        Self { inventory, seen: HashSet::new(), ignored: Vec::new(), errors: Vec::new() }
    }

    /// The inventory, and a message for each ignored object; or all errors.
    pub fn finish(self) -> Result<(Inventory, Vec<String>), Vec<ManifestError>> {
        if self.errors.is_empty() { Ok((self.inventory, self.ignored)) } else { Err(self.errors) }
    }

    pub fn reject(&mut self, error: ManifestError) {
        self.errors.push(error);
    }

    pub fn read(&mut self, source: &Source) {
        let file = source.name();
        let (documents, errors) = source.documents();
        let before = self.errors.len();
        self.errors.extend(errors);
        for (document, value) in documents {
            self.add(value, DocumentLocation { file: &file, document }, 0);
        }
        if let Some(errors) = self.errors.get_mut(before..) {
            errors.sort_by_key(ManifestError::document);
        }
    }

    fn add(&mut self, mut value: Value, location: DocumentLocation<'_>, depth: usize) {
        if let Some(items) = list_items(&mut value) {
            if depth == MAX_LIST_DEPTH {
                self.ignore(location, &format!("lists nest deeper than {MAX_LIST_DEPTH} levels"));
                return;
            }
            return items.into_iter().for_each(|item| self.add(item, location, depth + 1));
        }
        let header = Header::read(&value);
        if header.kind.is_empty() {
            self.ignore(location, "not a Kubernetes object: it has no kind");
            return;
        }
        match header.object_kind() {
            Some(kind) => match parse(&value, &header, location) {
                Ok(object) => self.apply(kind, &object, &header, location),
                Err(error) => self.errors.push(error),
            },
            None if header.kind == "Namespace" && header.group.is_empty() => match parse(&value, &header, location) {
                Ok(object) => {
                    self.inventory.namespace(header.name, Some(&object.metadata.labels.unwrap_or_default()));
                }
                Err(error) => self.errors.push(error),
            },
            None => {
                let has_containers = ["/spec/template/spec/containers", "/template/spec/containers"]
                    .into_iter()
                    .any(|pointer| value.pointer(pointer).is_some_and(Value::is_array));
                if has_containers {
                    let object = header.object();
                    self.ignore(location, &format!("{object} may run containers, but its kind is not mirrored"));
                }
            }
        }
    }

    fn apply(&mut self, kind: ObjectKind, object: &Object, header: &Header<'_>, location: DocumentLocation<'_>) {
        match kind {
            ObjectKind::Workload(workload) => {
                if object.pod_spec(workload).is_none_or(|spec| spec.containers().next().is_none()) {
                    self.ignore(location, &format!("{} has no pod template with containers", header.object()));
                    return;
                }
            }
            ObjectKind::ReplicaSet => {
                let mut owners = object.metadata.owner_references.iter().flatten();
                if !owners.any(|owner| owner.controller == Some(true)) {
                    let name = header.object();
                    self.ignore(location, &format!("{name} may run containers, but its kind is not mirrored"));
                }
            }
        }
        let Some(key) = self.inventory.key(kind, object) else {
            self.ignore(location, &format!("{} without a name", header.kind));
            return;
        };
        if !self.seen.insert(key.clone()) {
            self.ignore(location, &format!("{key} is defined a second time; this definition replaces the first"));
        }
        self.inventory.apply(key, object);
    }

    fn ignore(&mut self, DocumentLocation { file, document }: DocumentLocation<'_>, why: &str) {
        self.ignored.push(format!("{file}, document {document}: {why}"));
    }
}

fn parse(value: &Value, header: &Header<'_>, location: DocumentLocation<'_>) -> Result<Object, ManifestError> {
    serde::Deserialize::deserialize(value).map_err(|error: serde_json::Error| ManifestError::Malformed {
        file: location.file.to_owned(),
        document: location.document,
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
