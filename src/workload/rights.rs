//! Which rights the program needs at the API server, and which of them it lacks: asked by SelfSubjectAccessReview, before a
//! request fails.

use std::{fmt, time::Duration};

use futures::future;
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec};
use kube::{Api, Client, api::PostParams};
use tokio::time::timeout;

use super::{
    client::describe,
    resource::{Namespaces, ResourceKind, WatchSettings},
};

/// The name of the Lease in the role that the manifest has.
const LEASE: &str = "k8s-copycat.k8s-copycat";

/// How much depends on a right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The program does not do its work without it.
    Required,
    /// The program works without it, with this consequence.
    Useful(&'static str),
}

/// A right that the program needs: some verbs on one kind of resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Right {
    group: &'static str,
    /// A group whose resources serve as well.
    other_group: Option<&'static str>,
    resource: &'static str,
    /// The only objects that matter; empty for all.
    names: Vec<String>,
    /// The verbs.
    pub verbs: &'static [&'static str],
    /// None: in all namespaces, or a resource without a namespace.
    pub namespace: Option<String>,
    /// How much depends on it.
    pub need: Need,
}

/// What determines the needed rights.
#[derive(Clone, Copy, Debug)]
pub struct RightsSettings<'s> {
    /// What is watched.
    pub watch: &'s WatchSettings,
    /// The program's namespace; none outside a cluster.
    pub namespace: Option<&'s str>,
    /// Whether leader election is on.
    pub leader_election: bool,
    /// Whether callers of the endpoints are authorized by the API server.
    pub reviews: bool,
}

/// The needed rights, those on one resource one after another.
pub fn needed_rights(settings: RightsSettings<'_>) -> Vec<Right> {
    let mut rights: Vec<Right> = settings
        .watch
        .scopes()
        .into_iter()
        .map(|scope| Right {
            group: scope.group(),
            other_group: None,
            resource: scope.plural(),
            names: Vec::new(),
            verbs: &["list", "watch"],
            need: match scope.resource {
                ResourceKind::Objects { .. } => Need::Required,
                ResourceKind::Namespaces => Need::Useful("plugins see no labels of namespaces"),
                ResourceKind::Nodes => Need::Useful("all platforms are copied, as those of the nodes are unknown"),
            },
            namespace: scope.namespace,
        })
        .collect();
    let namespaces: Vec<Option<String>> = match &settings.watch.namespaces {
        Namespaces::All => vec![None],
        Namespaces::Named(names) => {
            let own = settings.namespace.filter(|own| !names.iter().any(|name| name == own)).map(str::to_owned);
            names.iter().cloned().chain(own).map(Some).collect()
        }
    };
    rights.extend(namespaces.into_iter().map(|namespace| Right {
        group: "events.k8s.io",
        other_group: Some(""),
        resource: "events",
        names: Vec::new(),
        verbs: &["create", "patch"],
        need: Need::Useful("failures are not reported as events of the workloads"),
        namespace,
    }));
    if let Some(namespace) = settings.namespace.filter(|_| settings.leader_election) {
        let lease = Right {
            group: "coordination.k8s.io",
            other_group: None,
            resource: "leases",
            names: vec![LEASE.to_owned()],
            verbs: &["get", "update"],
            need: Need::Required,
            namespace: Some(namespace.to_owned()),
        };
        // RBAC can't restrict "create" to a name.
        rights.push(Right { names: Vec::new(), verbs: &["create"], ..lease.clone() });
        rights.push(lease);
    }
    if settings.reviews {
        for (group, resource) in
            [("authentication.k8s.io", "tokenreviews"), ("authorization.k8s.io", "subjectaccessreviews")]
        {
            rights.push(Right {
                group,
                other_group: None,
                resource,
                names: Vec::new(),
                verbs: &["create"],
                need: Need::Required,
                namespace: None,
            });
        }
    }
    rights
}

impl Right {
    /// The right to read ServiceAccounts or Secrets by name, for pull secrets.
    pub(super) fn to_read(namespace: &str, resource: &'static str, names: impl IntoIterator<Item = String>) -> Self {
        Self {
            group: "",
            other_group: None,
            resource,
            names: names.into_iter().collect(),
            verbs: &["get"],
            namespace: Some(namespace.to_owned()),
            need: Need::Required,
        }
    }

    /// The API group; empty for the core group.
    pub fn group(&self) -> &'static str {
        self.group
    }

    /// The plural of the resource.
    pub fn resource(&self) -> &'static str {
        self.resource
    }

    /// The only objects that matter; empty for all.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The verbs and the resource, without the namespace: `list, watch pods`.
    pub fn subject(&self) -> String {
        format!("{} {}", self.verbs.join(", "), self.resource)
    }

    /// The RBAC rule that grants these verbs, and where it belongs: `add {…} to a ClusterRole`.
    pub fn rule(&self, verbs: &[&str]) -> String {
        let names = match self.names.as_slice() {
            [] => String::new(),
            names => format!("resourceNames: [{}], ", names.join(", ")),
        };
        let group = if self.group.is_empty() { "\"\"" } else { self.group };
        let rule =
            format!("{{apiGroups: [{group}], resources: [{}], {names}verbs: [{}]}}", self.resource, verbs.join(", "));
        match &self.namespace {
            Some(namespace) => format!("add {rule} to a Role in namespace {namespace}"),
            None => format!("add {rule} to a ClusterRole"),
        }
    }
}

/// `list, watch pods in namespace shop`
impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.subject())?;
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None => Ok(()),
        }
    }
}

/// The verbs of a right that the program lacks, within `deadline`.
///
/// # Errors
/// Why the API server does not tell, in one line.
pub async fn missing_verbs(client: &Client, right: &Right, deadline: Duration) -> Result<Vec<&'static str>, String> {
    let ask = async {
        let missing = missing_in(client, right, right.group).await?;
        match right.other_group.filter(|_| !missing.is_empty()) {
            Some(other) if missing_in(client, right, other).await?.is_empty() => Ok(Vec::new()),
            _ => Ok(missing),
        }
    };
    let answer: Result<Result<_, kube::Error>, _> = timeout(deadline, ask).await;
    match answer {
        Ok(answer) => answer.map_err(|error| describe(&error)),
        Err(_) => Err(format!("the API server did not answer within {} s", deadline.as_secs())),
    }
}

async fn missing_in(client: &Client, right: &Right, group: &str) -> kube::Result<Vec<&'static str>> {
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let names: Vec<Option<&String>> =
        if right.names.is_empty() { vec![None] } else { right.names.iter().map(Some).collect() };
    let asked = right.verbs.iter().flat_map(|verb| names.iter().map(move |name| (verb, *name)));
    let asked = asked.map(|(verb, name)| {
        let attributes = ResourceAttributes {
            group: Some(group.to_owned()),
            name: name.cloned(),
            namespace: right.namespace.clone(),
            resource: Some(right.resource.to_owned()),
            verb: Some((*verb).to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
        let (reviews, review) = (reviews.clone(), SelfSubjectAccessReview { spec, ..Default::default() });
        async move {
            let answer = reviews.create(&PostParams::default(), &review).await?;
            Ok::<_, kube::Error>((*verb, answer.status.is_some_and(|status| status.allowed)))
        }
    });
    let answers = future::try_join_all(asked).await?;
    let lacks = |verb: &&&str| answers.iter().any(|(asked, allowed)| asked == *verb && !allowed);
    Ok(right.verbs.iter().filter(lacks).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PullSecretScope, WorkloadKind};

    fn rules(settings: RightsSettings<'_>) -> Vec<String> {
        needed_rights(settings).iter().map(|right| right.rule(right.verbs)).collect()
    }

    #[test]
    fn all_namespaces_need_a_cluster_role() {
        let watch = WatchSettings {
            namespaces: Namespaces::All,
            resources: vec![WorkloadKind::CronJob],
            nodes: true,
            pull_secrets: PullSecretScope::Off,
        };
        let settings =
            RightsSettings { watch: &watch, namespace: Some("copycat"), leader_election: true, reviews: true };
        let expected = [
            "{apiGroups: [batch], resources: [cronjobs], verbs: [list, watch]} to a ClusterRole",
            "{apiGroups: [\"\"], resources: [namespaces], verbs: [list, watch]} to a ClusterRole",
            "{apiGroups: [\"\"], resources: [nodes], verbs: [list, watch]} to a ClusterRole",
            "{apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]} to a ClusterRole",
            "{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [create]} to a Role in namespace copycat",
            "{apiGroups: [coordination.k8s.io], resources: [leases], resourceNames: [k8s-copycat.k8s-copycat], verbs: \
             [get, update]} to a Role in namespace copycat",
            "{apiGroups: [authentication.k8s.io], resources: [tokenreviews], verbs: [create]} to a ClusterRole",
            "{apiGroups: [authorization.k8s.io], resources: [subjectaccessreviews], verbs: [create]} to a ClusterRole",
        ];
        assert_eq!(rules(settings), expected.map(|rule| format!("add {rule}")));
    }

    #[test]
    fn named_namespaces_need_a_role_in_each_and_events_in_the_own_one_too() {
        let namespaces = Namespaces::Named(vec!["shop".to_owned(), "web".to_owned()]);
        let watch = WatchSettings {
            namespaces,
            resources: vec![WorkloadKind::CronJob],
            nodes: false,
            pull_secrets: PullSecretScope::Off,
        };
        let settings =
            RightsSettings { watch: &watch, namespace: Some("copycat"), leader_election: false, reviews: false };
        let expected = [
            "{apiGroups: [batch], resources: [cronjobs], verbs: [list, watch]} to a Role in namespace shop",
            "{apiGroups: [batch], resources: [cronjobs], verbs: [list, watch]} to a Role in namespace web",
            "{apiGroups: [\"\"], resources: [namespaces], verbs: [list, watch]} to a ClusterRole",
            "{apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]} to a Role in namespace shop",
            "{apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]} to a Role in namespace web",
            "{apiGroups: [events.k8s.io], resources: [events], verbs: [create, patch]} to a Role in namespace copycat",
        ];
        assert_eq!(rules(settings), expected.map(|rule| format!("add {rule}")));
        let outside = RightsSettings { namespace: None, leader_election: true, ..settings };
        assert!(!rules(outside).iter().any(|rule| rule.contains("leases")), "there is no Lease outside a cluster");
    }
}
