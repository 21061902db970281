//! Lists and watches of the API server, the same for every kind.

use std::time::Duration;

use futures::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{
    Api, Client,
    api::{ListParams, PostParams},
    core::Status,
    runtime::{WatchStreamExt as _, watcher},
};

use super::{
    client::describe,
    object::Object,
    resource::{ResourceKind, WatchScope},
};

/// Objects per page of a list.
const PAGE_SIZE: u32 = 500;

/// How long one page of a list may take.
const PAGE_DEADLINE: Duration = Duration::from_secs(60);

/// The time between two questions whether namespaces may be read.
const REVIEW_INTERVAL: Duration = Duration::from_secs(60);

/// An event of a watch, or its error.
pub(super) type WatchEvent = watcher::Result<watcher::Event<Object>>;

/// The API server did not return a list.
#[derive(Debug, thiserror::Error)]
#[error("cannot list {scope}: {fault}{}", self.remedy())]
pub struct ListError {
    scope: String,
    rule: String,
    fault: ListFault,
}

#[derive(Debug, thiserror::Error)]
enum ListFault {
    #[error("{}", describe(.0))]
    Api(Box<kube::Error>),
    #[error("the API server did not answer within {} s", PAGE_DEADLINE.as_secs())]
    Deadline,
}

impl ListError {
    /// Whether a retry can help without a change by anyone.
    pub fn is_retryable(&self) -> bool {
        match &self.fault {
            ListFault::Api(error) => status(error).is_none_or(|code| code == 429 || code >= 500),
            ListFault::Deadline => true,
        }
    }

    /// Whether the permission to list is missing.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(&self.fault, ListFault::Api(error) if status(error) == Some(403))
    }

    fn remedy(&self) -> String {
        if self.is_forbidden() { format!("; {}", self.rule) } else { String::new() }
    }
}

/// The HTTP status of an error response.
pub(super) fn status(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// Watches forever; after an error it pauses, one minute at most, and resumes.
pub(super) fn watch(scope: &WatchScope, client: &Client) -> BoxStream<'static, WatchEvent> {
    let events = if scope.resource.is_metadata_only() {
        watch_objects(api::<true>(scope, client))
    } else {
        watch_objects(api::<false>(scope, client))
    };
    match scope.resource {
        // A Role in each namespace suffices to mirror: without a ClusterRole a list would be refused every second, forever.
        ResourceKind::Namespaces => refusals(client.clone()).chain(events).boxed(),
        ResourceKind::Objects { .. } | ResourceKind::Nodes => events,
    }
}

/// An error now and then as long as the API server says that namespaces can't be listed.
fn refusals(client: Client) -> BoxStream<'static, WatchEvent> {
    let refused = stream::unfold((client, Duration::ZERO), |(client, pause)| async move {
        tokio::time::sleep(pause).await;
        if may_list_namespaces(&client).await {
            return None;
        }
        let message = "namespaces is forbidden".to_owned();
        let status = Status { code: 403, reason: "Forbidden".to_owned(), message, ..Status::default() };
        let error = watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status)));
        Some((Err(error), (client, REVIEW_INTERVAL)))
    });
    refused.boxed()
}

/// True as well if the question has no answer: the list then shows why.
async fn may_list_namespaces(client: &Client) -> bool {
    let attributes = ResourceAttributes {
        resource: Some("namespaces".to_owned()),
        verb: Some("list".to_owned()),
        ..ResourceAttributes::default()
    };
    let spec =
        SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..SelfSubjectAccessReviewSpec::default() };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api = Api::<SelfSubjectAccessReview>::all(client.clone());
    let answer = tokio::time::timeout(PAGE_DEADLINE, api.create(&PostParams::default(), &review)).await;
    let status = answer.ok().and_then(Result::ok).and_then(|review| review.status);
    status.is_none_or(|status| status.allowed)
}

/// Lists once and passes each object to `handle`; an object that changes meanwhile may come twice.
pub(super) async fn list(
    scope: &WatchScope,
    client: &Client,
    handle: &mut (dyn FnMut(Object) + Send),
) -> Result<(), ListError> {
    let listed = if scope.resource.is_metadata_only() {
        list_objects(api::<true>(scope, client), handle).await
    } else {
        list_objects(api::<false>(scope, client), handle).await
    };
    listed.map_err(|fault| ListError { scope: scope.to_string(), rule: scope.rule(), fault })
}

fn api<const METADATA_ONLY: bool>(scope: &WatchScope, client: &Client) -> Api<Object<METADATA_ONLY>> {
    let resource = scope.resource.api_resource();
    match &scope.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}

fn watch_objects<const METADATA_ONLY: bool>(api: Api<Object<METADATA_ONLY>>) -> BoxStream<'static, WatchEvent> {
    use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
    let events = watcher(api, watcher::Config::default().page_size(PAGE_SIZE)).default_backoff();
    let convert = |event| match event {
        Apply(object) => Apply(Object::from_any(object)),
        Delete(object) => Delete(Object::from_any(object)),
        InitApply(object) => InitApply(Object::from_any(object)),
        Init => Init,
        InitDone => InitDone,
    };
    events.map(move |event| event.map(convert)).boxed()
}

async fn list_objects<const METADATA_ONLY: bool>(
    api: Api<Object<METADATA_ONLY>>,
    handle: &mut (dyn FnMut(Object) + Send),
) -> Result<(), ListFault> {
    let mut params = ListParams::default().limit(PAGE_SIZE);
    loop {
        let page = tokio::time::timeout(PAGE_DEADLINE, api.list(&params)).await;
        match page.map_err(|_| ListFault::Deadline)? {
            Ok(page) => {
                page.items.into_iter().map(Object::from_any).for_each(&mut *handle);
                match page.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => params.continue_token = Some(token),
                    None => return Ok(()),
                }
            }
            // The continue token has expired: list everything again.
            Err(error) if status(&error) == Some(410) && params.continue_token.is_some() => {
                params.continue_token = None;
            }
            Err(error) => return Err(ListFault::Api(Box::new(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::{inventory::ObjectKind, resource::ResourceKind};

    #[test]
    fn a_forbidden_list_names_the_missing_permission() {
        let resource = ResourceKind::Objects { kind: ObjectKind::ReplicaSet, metadata_only: true };
        let scope = WatchScope { resource, namespace: Some("a".into()) };
        let status = Status { code: 403, message: "no".to_owned(), ..Default::default() };
        let fault = ListFault::Api(Box::new(kube::Error::Api(Box::new(status))));
        let error = ListError { scope: scope.to_string(), rule: scope.rule(), fault };
        assert!(!error.is_retryable());
        assert_eq!(
            error.to_string(),
            "cannot list replicasets in namespace a: no; \
             grant list and watch on replicasets (API group \"apps\") with a Role in namespace a"
        );
    }
}
