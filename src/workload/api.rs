//! Lists and watches of the API server, the same for every kind.

use std::{fmt, time::Duration};

use futures::{StreamExt as _, future::BoxFuture, stream::BoxStream};
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
    batch::v1::{CronJob, Job},
    core::v1::{Namespace, Node, Pod},
};
use kube::{
    Api, Client, Resource,
    api::ListParams,
    core::{NamespaceResourceScope, PartialObjectMeta},
    runtime::{WatchStreamExt as _, watcher},
};

use super::{
    client::describe,
    inventory::Kind,
    object::Object,
    resource::{Part, Read},
};
use crate::model::WorkloadKind;

/// Objects in one answer to a list.
const PAGE: u32 = 500;

/// How long one page of a list may take.
const PAGE_DEADLINE: Duration = Duration::from_secs(60);

/// Why a list was not given.
#[derive(Debug, thiserror::Error)]
pub(super) enum ListFault {
    #[error("{}", describe(.0))]
    Api(#[source] Box<kube::Error>),
    #[error("the API server did not answer within {} s", PAGE_DEADLINE.as_secs())]
    Deadline,
}

/// The HTTP status of an answer that was an error.
pub(super) fn status(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// A kind that can be listed and watched.
pub(super) trait Readable: Resource<DynamicType: Default + Clone> + Clone + fmt::Debug + 'static {}

impl<K: Resource<DynamicType: Default + Clone> + Clone + fmt::Debug + 'static> Readable for K {}

/// Something to be done with the API of whatever kind.
pub(super) trait Task {
    type Output;

    fn run<K: Readable>(self, api: Api<Object<K>>) -> Self::Output;
}

/// Does it with the API that `part` is read from.
pub(super) fn with_api<T: Task>(part: &Part, client: &Client, task: T) -> T::Output {
    fn api<K>(part: &Part, client: &Client) -> Api<Object<K>>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        match &part.namespace {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        }
    }
    match part.read {
        Read::Namespaces => task.run(Api::<Object<PartialObjectMeta<Namespace>>>::all(client.clone())),
        Read::Nodes => task.run(Api::<Object<PartialObjectMeta<Node>>>::all(client.clone())),
        Read::Objects { kind: Kind::ReplicaSet, .. } => task.run(api::<PartialObjectMeta<ReplicaSet>>(part, client)),
        Read::Objects { kind: Kind::Workload(kind), metadata_only } => match (kind, metadata_only) {
            (WorkloadKind::Job, true) => task.run(api::<PartialObjectMeta<Job>>(part, client)),
            (WorkloadKind::Deployment, _) => task.run(api::<Deployment>(part, client)),
            (WorkloadKind::StatefulSet, _) => task.run(api::<StatefulSet>(part, client)),
            (WorkloadKind::DaemonSet, _) => task.run(api::<DaemonSet>(part, client)),
            (WorkloadKind::Job, false) => task.run(api::<Job>(part, client)),
            (WorkloadKind::CronJob, _) => task.run(api::<CronJob>(part, client)),
            (WorkloadKind::Pod, _) => task.run(api::<Pod>(part, client)),
        },
    }
}

/// Watches for ever; after an error it waits, a minute at most, and goes on.
pub(super) struct Watch;

impl Task for Watch {
    type Output = BoxStream<'static, watcher::Result<watcher::Event<Object<()>>>>;

    fn run<K: Readable>(self, api: Api<Object<K>>) -> Self::Output {
        use watcher::Event::{Apply, Delete, Init, InitApply, InitDone};
        let events = watcher(api, watcher::Config::default().page_size(PAGE)).default_backoff();
        let untyped = |event| match event {
            Apply(object) => Apply(Object::untyped(object)),
            Delete(object) => Delete(Object::untyped(object)),
            InitApply(object) => InitApply(Object::untyped(object)),
            Init => Init,
            InitDone => InitDone,
        };
        events.map(move |event| event.map(untyped)).boxed()
    }
}

/// Lists once, page by page.
pub(super) struct List<'a> {
    /// What each object is handed to.
    pub take: &'a mut (dyn FnMut(Object<()>) + Send),
}

impl<'a> Task for List<'a> {
    type Output = BoxFuture<'a, Result<(), ListFault>>;

    fn run<K: Readable>(self, api: Api<Object<K>>) -> Self::Output {
        Box::pin(async move {
            let mut params = ListParams::default().limit(PAGE);
            loop {
                let page = tokio::time::timeout(PAGE_DEADLINE, api.list(&params)).await;
                match page.map_err(|_| ListFault::Deadline)? {
                    Ok(page) => {
                        page.items.into_iter().map(Object::untyped).for_each(&mut *self.take);
                        match page.metadata.continue_.filter(|token| !token.is_empty()) {
                            Some(token) => params.continue_token = Some(token),
                            None => return Ok(()),
                        }
                    }
                    // The rest of the list has expired: all of it again.
                    Err(error) if status(&error) == Some(410) && params.continue_token.is_some() => {
                        params.continue_token = None;
                    }
                    Err(error) => return Err(ListFault::Api(Box::new(error))),
                }
            }
        })
    }
}
