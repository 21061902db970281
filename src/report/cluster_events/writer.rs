//! Writes events in the API server's format.

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

use super::notice::Notice;

/// The reporting controller of every event.
const CONTROLLER: &str = "k8s-copycat";

const ACTION: &str = "Mirror";

/// The longest name of an object.
const MAX_NAME: usize = 253;

/// An event at the API server.
#[derive(Clone, Debug)]
pub(super) struct WrittenEvent {
    name: String,
    /// Of the regarding object: an object that was recreated with the same name is another.
    uid: Option<String>,
    group: ApiGroup,
    reason: &'static str,
    note: Arc<str>,
    count: i32,
}

/// The API group of events. Both have the same objects, but permissions are separate, and the original requires the older
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ApiGroup {
    /// `events.k8s.io`
    Events,
    /// The core group.
    Core,
}

impl ApiGroup {
    fn other(self) -> Self {
        match self {
            Self::Events => Self::Core,
            Self::Core => Self::Events,
        }
    }
}

/// Writes events to the API group that the role permits.
pub(super) struct EventWriter {
    client: Client,
    /// The name of this replica.
    instance: String,
    group: ApiGroup,
}

impl EventWriter {
    pub fn new(client: Client, instance: String) -> Self {
        Self { client, instance, group: ApiGroup::Events }
    }

    /// Writes the notice for the object `regarding`; if `before` has the same content, increments its count.
    pub async fn write(
        &mut self,
        notice: &Notice,
        regarding: &ObjectReference,
        before: Option<&WrittenEvent>,
    ) -> kube::Result<WrittenEvent> {
        let is_same = |before: &&WrittenEvent| {
            before.reason == notice.reason && before.note == notice.note && before.uid == regarding.uid
        };
        if let Some(before) = before.filter(is_same) {
            match self.repeat(regarding, before).await {
                // The API server has deleted it, or the role has changed.
                Err(kube::Error::Api(status)) if status.is_not_found() || status.is_forbidden() => {}
                repeated => return repeated,
            }
        }
        match self.create(self.group, notice, regarding).await {
            Err(kube::Error::Api(status)) if status.is_forbidden() => {
                let written = self.create(self.group.other(), notice, regarding).await;
                match written {
                    Ok(_) => self.group = self.group.other(),
                    // The first error names the permission that the documentation asks for.
                    Err(_) => return Err(kube::Error::Api(status)),
                }
                written
            }
            written => written,
        }
    }

    async fn repeat(&self, regarding: &ObjectReference, before: &WrittenEvent) -> kube::Result<WrittenEvent> {
        let namespace = regarding.namespace.as_deref().unwrap_or("default");
        let mut written = before.clone();
        written.count = written.count.saturating_add(1);
        let (count, now) = (written.count, Timestamp::now());
        let parameters = PatchParams::default();
        match before.group {
            ApiGroup::Events => {
                let patch = json!({ "series": { "count": count, "lastObservedTime": MicroTime(now) } });
                let events: Api<NewEvent> = Api::namespaced(self.client.clone(), namespace);
                events.patch(&before.name, &parameters, &Patch::Merge(patch)).await?;
            }
            ApiGroup::Core => {
                let patch = json!({ "count": count, "lastTimestamp": Time(now) });
                let events: Api<CoreEvent> = Api::namespaced(self.client.clone(), namespace);
                events.patch(&before.name, &parameters, &Patch::Merge(patch)).await?;
            }
        }
        Ok(written)
    }

    async fn create(
        &self,
        group: ApiGroup,
        notice: &Notice,
        regarding: &ObjectReference,
    ) -> kube::Result<WrittenEvent> {
        let namespace = regarding.namespace.as_deref().unwrap_or("default");
        let now = Timestamp::now();
        let name = event_name(regarding.name.as_deref().unwrap_or(CONTROLLER), now);
        let metadata =
            ObjectMeta { name: Some(name.clone()), namespace: Some(namespace.to_owned()), ..ObjectMeta::default() };
        let kind = match notice.kind {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        };
        let related = notice.image.as_ref().map(|image| ObjectReference {
            kind: Some("Image".to_owned()),
            name: Some(image.clone()),
            ..ObjectReference::default()
        });
        let parameters = PostParams::default();
        match group {
            ApiGroup::Events => {
                let event = NewEvent {
                    metadata,
                    action: Some(ACTION.to_owned()),
                    event_time: Some(MicroTime(now)),
                    note: Some(notice.note.to_string()),
                    reason: Some(notice.reason.to_owned()),
                    regarding: Some(regarding.clone()),
                    related,
                    reporting_controller: Some(CONTROLLER.to_owned()),
                    reporting_instance: Some(self.instance.clone()),
                    type_: Some(kind.to_owned()),
                    ..NewEvent::default()
                };
                Api::namespaced(self.client.clone(), namespace).create(&parameters, &event).await?;
            }
            ApiGroup::Core => {
                let event = CoreEvent {
                    metadata,
                    action: Some(ACTION.to_owned()),
                    count: Some(1),
                    first_timestamp: Some(Time(now)),
                    involved_object: regarding.clone(),
                    last_timestamp: Some(Time(now)),
                    message: Some(notice.note.to_string()),
                    reason: Some(notice.reason.to_owned()),
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
        let (uid, note) = (regarding.uid.clone(), Arc::clone(&notice.note));
        Ok(WrittenEvent { name, uid, group, reason: notice.reason, note, count: 1 })
    }
}

/// The object's name with the time appended, the convention for event names.
fn event_name(object: &str, now: Timestamp) -> String {
    let time = format!("{:x}", now.as_nanosecond());
    let longest = MAX_NAME.saturating_sub(time.len() + 1);
    let start = object.get(..object.floor_char_boundary(longest)).unwrap_or_default();
    format!("{}.{time}", start.trim_end_matches(['.', '-']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_names_are_valid() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(event_name("web", now), "web.0");
        let now: Timestamp = "2026-11-27T00:00:00Z".parse().unwrap();
        for object in ["a".repeat(253), format!("{}-{}", "a".repeat(235), "b".repeat(17))] {
            let name = event_name(&object, now);
            assert!(name.len() <= MAX_NAME && !name.contains("-."), "{name}");
        }
    }
}
