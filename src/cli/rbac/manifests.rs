//! Rights as Roles, ClusterRoles and their bindings, in YAML.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{model::one_line, workload::Right};

/// Whose rights they are.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
}

/// A Role, or without a namespace a ClusterRole, by the place and its name.
type Roles<'r> = BTreeMap<(Option<&'r str>, &'static str), Vec<&'r Right>>;

/// The same text for the same rights. `notes` come first, as comments.
pub fn manifests(account: Account<'_>, notes: &[String], base: &[Right], pull_secrets: &[Right]) -> String {
    let mut roles = Roles::new();
    for right in base {
        let name = match right.resource() {
            "leases" => "k8s-copycat-leader",
            "tokenreviews" | "subjectaccessreviews" => "k8s-copycat-authorizer",
            _ => "k8s-copycat-reader",
        };
        roles.entry((right.namespace.as_deref(), name)).or_default().push(right);
    }
    for right in pull_secrets {
        roles.entry((right.namespace.as_deref(), "k8s-copycat-pull-secrets")).or_default().push(right);
    }
    let mut text: String = notes.iter().map(|note| format!("# {}\n", one_line(note))).collect();
    for ((namespace, name), rights) in roles {
        text += &role(namespace, name, &rights);
        text += &binding(namespace, name, account);
    }
    text
}

fn role(namespace: Option<&str>, name: &str, rights: &[&Right]) -> String {
    let mut text = head(namespace, name, if namespace.is_some() { "Role" } else { "ClusterRole" });
    text += "rules:\n";
    // One rule for all resources of a group with the same verbs.
    let mut rules: Vec<(&Right, Vec<&str>)> = Vec::new();
    for right in rights {
        let same = |(rule, _): &&mut (&Right, _)| {
            (rule.group(), rule.verbs, rule.names()) == (right.group(), right.verbs, right.names())
        };
        match rules.iter_mut().find(same) {
            Some((_, resources)) => resources.push(right.resource()),
            None => rules.push((right, vec![right.resource()])),
        }
    }
    for (right, resources) in rules {
        let _ = writeln!(text, "  - apiGroups: [{}]", quoted(right.group()));
        let _ = writeln!(text, "    resources: [{}]", resources.join(", "));
        if !right.names().is_empty() {
            let names: Vec<String> = right.names().iter().map(|name| quoted(name)).collect();
            let _ = writeln!(text, "    resourceNames: [{}]", names.join(", "));
        }
        let _ = writeln!(text, "    verbs: [{}]", right.verbs.join(", "));
    }
    text
}

fn binding(namespace: Option<&str>, name: &str, account: Account<'_>) -> String {
    let kind = if namespace.is_some() { "Role" } else { "ClusterRole" };
    let mut text = head(namespace, name, &format!("{kind}Binding"));
    let _ = write!(
        text,
        "roleRef:\n  apiGroup: rbac.authorization.k8s.io\n  kind: {kind}\n  name: {name}\nsubjects:\n  - kind: \
         ServiceAccount\n    name: {}\n    namespace: {}\n",
        quoted(account.name),
        quoted(account.namespace)
    );
    text
}

fn head(namespace: Option<&str>, name: &str, kind: &str) -> String {
    let mut text = format!("---\napiVersion: rbac.authorization.k8s.io/v1\nkind: {kind}\nmetadata:\n  name: {name}\n");
    if let Some(namespace) = namespace {
        let _ = writeln!(text, "  namespace: {}", quoted(namespace));
    }
    text
}

/// Names that YAML reads as text stay as they are; others, such as `123`, `true` and the empty one, are quoted.
fn quoted(name: &str) -> String {
    let is_plain = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte))
        && !matches!(name, "true" | "false" | "null" | "yes" | "no" | "on" | "off" | "y" | "n");
    if is_plain { name.to_owned() } else { serde_json::Value::from(name).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{PullSecretScope, WorkloadKind},
        workload::{NamespaceNeeds, Namespaces, RightsSettings, WatchSettings, needed_rights},
    };

    fn base(namespaces: Namespaces) -> Vec<Right> {
        let resources = vec![WorkloadKind::Deployment, WorkloadKind::Pod];
        let watch = WatchSettings { namespaces, resources, nodes: false, pull_secrets: PullSecretScope::All };
        needed_rights(RightsSettings {
            watch: &watch,
            namespace: Some("mirror"),
            leader_election: true,
            reviews: false,
        })
    }

    fn print(base: &[Right], pull_secrets: &[Right]) -> String {
        manifests(Account { namespace: "mirror", name: "copycat" }, &["Note.".to_owned()], base, pull_secrets)
    }

    #[test]
    fn a_cluster_role_reads_workloads_and_a_role_the_named_secrets() {
        let needs = NamespaceNeeds {
            secrets: ["regcred", "123"].map(str::to_owned).into(),
            service_accounts: ["default"].map(str::to_owned).into(),
            problems: Vec::new(),
        };
        let text = print(&base(Namespaces::All), &needs.rights("shop"));
        assert!(text.starts_with("# Note.\n---\n"), "{text}");
        let reader = "kind: ClusterRole
metadata:
  name: k8s-copycat-reader
rules:
  - apiGroups: [\"\"]
    resources: [pods, namespaces]
    verbs: [list, watch]
  - apiGroups: [apps]
    resources: [replicasets, deployments]
    verbs: [list, watch]
";
        assert!(text.contains(reader), "{text}");
        let secrets = "---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: k8s-copycat-pull-secrets
  namespace: shop
rules:
  - apiGroups: [\"\"]
    resources: [serviceaccounts]
    resourceNames: [default]
    verbs: [get]
  - apiGroups: [\"\"]
    resources: [secrets]
    resourceNames: [\"123\", regcred]
    verbs: [get]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: k8s-copycat-pull-secrets
  namespace: shop
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: k8s-copycat-pull-secrets
subjects:
  - kind: ServiceAccount
    name: copycat
    namespace: mirror
";
        assert!(text.ends_with(secrets), "{text}");
    }

    #[test]
    fn named_namespaces_get_a_role_each() {
        let names = Namespaces::Named(vec!["shop".to_owned(), "true".to_owned()]);
        let text = print(&base(names), &[]);
        for namespace in ["shop", "\"true\"", "mirror"] {
            let role = format!("kind: Role\nmetadata:\n  name: k8s-copycat-reader\n  namespace: {namespace}\n");
            assert_eq!(text.matches(&role).count(), 1, "{namespace}: {text}");
        }
        assert_eq!(text.matches("kind: Role\nmetadata:\n  name: k8s-copycat-leader\n").count(), 1, "{text}");
        assert!(!text.contains("secrets"), "{text}");
    }
}
