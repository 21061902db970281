//! What is read from the API server, and where.

use std::{fmt, time::Duration};

use futures::{StreamExt as _, stream::BoxStream};
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
    batch::v1::{CronJob, Job},
    core::v1::{Namespace, Pod},
};
use kube::{
    Api, Client, Resource,
    api::ListParams,
    core::{NamespaceResourceScope, PartialObjectMeta},
    runtime::{WatchStreamExt as _, watcher},
};

use super::{
    inventory::{Kind, links},
    object::Object,
};
use crate::model::WorkloadKind;

/// Objects in one answer to a list.
const PAGE: u32 = 500;

/// How long one page of a list may take.
const PAGE_DEADLINE: Duration = Duration::from_secs(60);

/// Owners after what they own: when one is listed after the other, a new Pod is not seen without its new owner.
const UPWARDS: [Kind; 7] = [
    Kind::Workload(WorkloadKind::Pod),
    Kind::ReplicaSet,
    Kind::Workload(WorkloadKind::Job),
    Kind::Workload(WorkloadKind::CronJob),
    Kind::Workload(WorkloadKind::DaemonSet),
    Kind::Workload(WorkloadKind::StatefulSet),
    Kind::Workload(WorkloadKind::Deployment),
];

/// Where workloads are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespaces {
    /// Everywhere, by cluster-wide requests.
    All,
    /// In these, by requests to each, so that a Role in each is enough.
    Named(Vec<String>),
}

/// What is watched or listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchSettings {
    /// Where.
    pub namespaces: Namespaces,
    /// The kinds of workloads that count. ReplicaSets, Jobs and Namespaces are read besides as far as owners and
    /// labels need it.
    pub resources: Vec<WorkloadKind>,
}

/// A kind of objects that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Objects that go into the inventory; of links only the metadata.
    Objects { kind: Kind, metadata_only: bool },
    /// The labels of namespaces.
    Namespaces,
}

/// A kind of objects in one namespace or everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub read: Read,
    pub namespace: Option<String>,
}

impl WatchSettings {
    /// All that is to be read, owners after what they own.
    pub(super) fn parts(&self) -> Vec<Part> {
        let links = links(&self.resources);
        let reads = UPWARDS.into_iter().filter_map(|kind| {
            let is_counted = matches!(kind, Kind::Workload(workload) if self.resources.contains(&workload));
            let is_read = is_counted || links.contains(&kind);
            is_read.then_some(Read::Objects { kind, metadata_only: !is_counted })
        });
        let mut namespaces: Vec<Option<String>> = match &self.namespaces {
            Namespaces::All => vec![None],
            Namespaces::Named(names) => names.iter().cloned().map(Some).collect(),
        };
        namespaces.sort();
        namespaces.dedup();
        let objects =
            reads.flat_map(|read| namespaces.iter().map(move |namespace| Part { read, namespace: namespace.clone() }));
        objects.chain([Part { read: Read::Namespaces, namespace: None }]).collect()
    }
}

impl Part {
    /// As the API calls these objects.
    pub fn plural(&self) -> &'static str {
        match self.read {
            Read::Objects { kind: Kind::Workload(kind), .. } => kind.plural(),
            Read::Objects { kind: Kind::ReplicaSet, .. } => "replicasets",
            Read::Namespaces => "namespaces",
        }
    }

    /// What an administrator has to grant.
    pub fn rule(&self) -> String {
        let group = match self.read {
            Read::Objects { kind: Kind::Workload(WorkloadKind::Pod), .. } | Read::Namespaces => "",
            Read::Objects { kind: Kind::Workload(WorkloadKind::Job | WorkloadKind::CronJob), .. } => "batch",
            Read::Objects { .. } => "apps",
        };
        let role = match &self.namespace {
            Some(namespace) => format!("a Role in namespace {namespace}"),
            None => "a ClusterRole".to_owned(),
        };
        format!("grant list and watch on {} (API group {group:?}) by {role}", self.plural())
    }

    /// Watches for ever; after an error it waits, 30 s at most, and goes on.
    pub fn watch(&self, client: &Client) -> BoxStream<'static, watcher::Result<watcher::Event<Object<()>>>> {
        with_api(self, client, Watch)
    }

    /// Lists once, page by page.
    pub async fn list(&self, client: &Client) -> Result<Vec<Object<()>>, ListError> {
        with_api(self, client, List).await.map_err(|fault| ListError {
            part: self.to_string(),
            rule: self.rule(),
            fault,
        })
    }
}

/// `deployments in namespace shop`
impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} in namespace {namespace}", self.plural()),
            None if self.read == Read::Namespaces => f.write_str("namespaces"),
            None => write!(f, "{} in all namespaces", self.plural()),
        }
    }
}

/// A list that the API server did not give.
#[derive(Debug, thiserror::Error)]
#[error("cannot list {part}: {fault}{}", self.remedy())]
pub struct ListError {
    part: String,
    rule: String,
    #[source]
    fault: ListFault,
}

#[derive(Debug, thiserror::Error)]
enum ListFault {
    #[error("{0}")]
    Api(#[source] Box<kube::Error>),
    #[error("the API server did not answer within {} s", PAGE_DEADLINE.as_secs())]
    Deadline,
}

impl ListError {
    /// Whether the same list may be given later without anybody's doing.
    pub fn can_pass(&self) -> bool {
        match &self.fault {
            ListFault::Api(error) => status(error).is_none_or(|code| code == 429 || code >= 500),
            ListFault::Deadline => true,
        }
    }

    /// Whether the right to list is missing.
    pub(super) fn is_forbidden(&self) -> bool {
        matches!(&self.fault, ListFault::Api(error) if status(error) == Some(403))
    }

    fn remedy(&self) -> String {
        if self.is_forbidden() { format!("; {}", self.rule) } else { String::new() }
    }
}

/// The HTTP status of an answer that was an error.
pub(super) fn status(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    }
}

/// A kind that can be listed and watched.
trait Readable: Resource<DynamicType: Default + Clone> + Clone + fmt::Debug + 'static {}

impl<K: Resource<DynamicType: Default + Clone> + Clone + fmt::Debug + 'static> Readable for K {}

/// Something to be done with the API of whatever kind.
trait Task {
    type Output;

    fn run<K: Readable>(self, api: Api<Object<K>>) -> Self::Output;
}

fn with_api<T: Task>(part: &Part, client: &Client, task: T) -> T::Output {
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

struct Watch;

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

struct List;

impl Task for List {
    type Output = futures::future::BoxFuture<'static, Result<Vec<Object<()>>, ListFault>>;

    fn run<K: Readable>(self, api: Api<Object<K>>) -> Self::Output {
        Box::pin(async move {
            let mut objects = Vec::new();
            let mut params = ListParams::default().limit(PAGE);
            loop {
                let page = tokio::time::timeout(PAGE_DEADLINE, api.list(&params)).await;
                match page.map_err(|_| ListFault::Deadline)? {
                    Ok(page) => {
                        objects.extend(page.items.into_iter().map(Object::untyped));
                        match page.metadata.continue_.filter(|token| !token.is_empty()) {
                            Some(token) => params.continue_token = Some(token),
                            None => return Ok(objects),
                        }
                    }
                    // The rest of the list has expired: all of it again.
                    Err(error) if status(&error) == Some(410) && params.continue_token.is_some() => {
                        objects.clear();
                        params.continue_token = None;
                    }
                    Err(error) => return Err(ListFault::Api(Box::new(error))),
                }
            }
        })
    }
}
