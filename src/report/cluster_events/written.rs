//! Events as the API server takes them.

use std::sync::Arc;

use k8s_openapi::{
    api::{
        core::v1::{Event as CoreEvent, EventSource, ObjectReference},
        events::v1::Event as NewEvent,
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
    runtime::events::EventType,
};
use serde_json::json;

use super::board::Statement;

/// The reporting controller of every event.
const CONTROLLER: &str = "k8s-copycat";

/// What was done, or tried.
const ACTION: &str = "Mirror";

/// The longest name of an object.
const LONGEST_NAME: usize = 253;

/// An event that was written.
#[derive(Clone, Debug)]
pub(super) struct Written {
    name: String,
    /// Of the object that it is about: one that was made anew under its name is another.
    uid: Option<String>,
    group: Group,
    reason: &'static str,
    note: Arc<str>,
    count: i32,
}

/// The API group that events are written to. They are the same objects, but a role grants each by itself, and the
/// original asks for the older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// `events.k8s.io`
    Events,
    /// The core group.
    Core,
}

impl Group {
    fn other(self) -> Self {
        match self {
            Self::Events => Self::Core,
            Self::Core => Self::Events,
        }
    }
}

/// Writes events to the group that it may write to.
pub(super) struct Writer {
    client: Client,
    /// This replica's name.
    instance: String,
    group: Group,
}

impl Writer {
    pub fn new(client: Client, instance: String) -> Self {
        Self { client, instance, group: Group::Events }
    }

    /// Says it of the object `regarding`; once more by the same event where `before` said the same.
    pub async fn write(
        &mut self,
        statement: &Statement,
        regarding: &ObjectReference,
        before: Option<&Written>,
    ) -> kube::Result<Written> {
        let is_same = |before: &&Written| {
            before.reason == statement.reason && before.note == statement.note && before.uid == regarding.uid
        };
        if let Some(before) = before.filter(is_same) {
            match self.repeat(regarding, before).await {
                // The API server has forgotten it, or the role has changed.
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_forbidden() => {}
                repeated => return repeated,
            }
        }
        match self.create(self.group, statement, regarding).await {
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                let written = self.create(self.group.other(), statement, regarding).await;
                match written {
                    Ok(_) => self.group = self.group.other(),
                    // What is asked for first is what the documents ask to grant.
                    Err(_) => return Err(kube::Error::Api(status)),
                }
                written
            }
            written => written,
        }
    }

    async fn repeat(&self, regarding: &ObjectReference, before: &Written) -> kube::Result<Written> {
        let namespace = regarding.namespace.as_deref().unwrap_or("default");
        let mut written = before.clone();
        written.count = written.count.saturating_add(1);
        let (count, now) = (written.count, Timestamp::now());
        let parameters = PatchParams::default();
        match before.group {
            Group::Events => {
                let patch = json!({ "series": { "count": count, "lastObservedTime": MicroTime(now) } });
                let events: Api<NewEvent> = Api::namespaced(self.client.clone(), namespace);
                events.patch(&before.name, &parameters, &Patch::Merge(patch)).await?;
            }
            Group::Core => {
                let patch = json!({ "count": count, "lastTimestamp": Time(now) });
                let events: Api<CoreEvent> = Api::namespaced(self.client.clone(), namespace);
                events.patch(&before.name, &parameters, &Patch::Merge(patch)).await?;
            }
        }
        Ok(written)
    }

    async fn create(&self, group: Group, statement: &Statement, regarding: &ObjectReference) -> kube::Result<Written> {
        let namespace = regarding.namespace.as_deref().unwrap_or("default");
        let now = Timestamp::now();
        let name = event_name(regarding.name.as_deref().unwrap_or(CONTROLLER), now);
        let metadata =
            ObjectMeta { name: Some(name.clone()), namespace: Some(namespace.to_owned()), ..ObjectMeta::default() };
        let kind = match statement.kind {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        };
        let related = statement.image.as_ref().map(|image| ObjectReference {
            kind: Some("Image".to_owned()),
            name: Some(image.clone()),
            ..ObjectReference::default()
        });
        let parameters = PostParams::default();
        match group {
            Group::Events => {
                let event = NewEvent {
                    metadata,
                    action: Some(ACTION.to_owned()),
                    event_time: Some(MicroTime(now)),
                    note: Some(statement.note.to_string()),
                    reason: Some(statement.reason.to_owned()),
                    regarding: Some(regarding.clone()),
                    related,
                    reporting_controller: Some(CONTROLLER.to_owned()),
                    reporting_instance: Some(self.instance.clone()),
                    type_: Some(kind.to_owned()),
                    ..NewEvent::default()
                };
                Api::namespaced(self.client.clone(), namespace).create(&parameters, &event).await?;
            }
            Group::Core => {
                let event = CoreEvent {
                    metadata,
                    action: Some(ACTION.to_owned()),
                    count: Some(1),
                    first_timestamp: Some(Time(now)),
                    involved_object: regarding.clone(),
                    last_timestamp: Some(Time(now)),
                    message: Some(statement.note.to_string()),
                    reason: Some(statement.reason.to_owned()),
                    related,
                    reporting_component: Some(CONTROLLER.to_owned()),
                    reporting_instance: Some(self.instance.clone()),
                    source: Some(EventSource { component: Some(CONTROLLER.to_owned()), host: None }),
                    type_: Some(kind.to_owned()),
                    ..CoreEvent::default()
                };
                Api::namespaced(self.client.clone(), namespace).create(&parameters, &event).await?;
            }
        }
        let (uid, note) = (regarding.uid.clone(), Arc::clone(&statement.note));
        Ok(Written { name, uid, group, reason: statement.reason, note, count: 1 })
    }
}

/// The object's name with the time behind it, as all controllers name events.
fn event_name(object: &str, now: Timestamp) -> String {
    let time = format!("{:x}", now.as_nanosecond());
    let longest = LONGEST_NAME.saturating_sub(time.len() + 1);
    let start = object.get(..object.floor_char_boundary(longest)).unwrap_or_default();
    format!("{}.{time}", start.trim_end_matches(['.', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_a_name_that_the_api_server_takes() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(event_name("web", now), "web.0");
        let now: Timestamp = "2026-11-27T00:00:00Z".parse().unwrap();
        for object in ["a".repeat(253), format!("{}-{}", "a".repeat(235), "b".repeat(17))] {
            let name = event_name(&object, now);
            assert!(name.len() <= LONGEST_NAME && !name.contains("-."), "{name}");
        }
    }
}
