//! Repository prefixes with tokens in place of values of the image use.

use patterns::{PrefixToken, expand_prefix};

use crate::bindings::k8s_copycat::policy::types::{ImageUse, Workload};

/// Rejects unknown tokens.
pub fn check(template: &str) -> Result<(), String> {
    expand(template, |_| "").map(drop)
}

/// `template` with the image use's values in place of its tokens.
pub fn render(template: &str, image_use: &ImageUse) -> Result<String, String> {
    expand(template, |token| match token {
        PrefixToken::Namespace => &image_use.workload.namespace,
        PrefixToken::PodName => stable_name(&image_use.workload),
        PrefixToken::ContainerName => &image_use.container.name,
        PrefixToken::Registry => &image_use.image.registry,
    })
}

fn expand<'a>(template: &str, value: impl Fn(PrefixToken) -> &'a str) -> Result<String, String> {
    expand_prefix(template, value).map_err(|error| format!("prefix {template:?}: {error}"))
}

/// The name of the outermost controller of a built-in kind, else the object's own name. Pods and Jobs that controllers
/// create have generated names: each restart or run would create another repository.
fn stable_name(workload: &Workload) -> &str {
    let controller = workload.owners.iter().rev().find(|owner| {
        matches!(
            (owner.group.as_str(), owner.kind.as_str()),
            ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
                | ("batch", "Job" | "CronJob")
                | ("", "ReplicationController")
        )
    });
    controller.map_or(&workload.name, |owner| &owner.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::k8s_copycat::policy::types::{Container, Image, Owner};

    fn image_use(owners: &[(&str, &str, &str)]) -> ImageUse {
        let text = str::to_owned;
        ImageUse {
            workload: Workload {
                kind: text("Pod"),
                namespace: text("prod"),
                name: text("web-1-x"),
                owners: owners
                    .iter()
                    .map(|(group, kind, name)| Owner { group: text(group), kind: text(kind), name: text(name) })
                    .collect(),
                labels: Vec::new(),
                annotations: Vec::new(),
                namespace_labels: Vec::new(),
            },
            container: Container { name: text("main"), kind: text("regular") },
            image: Image {
                as_written: text("nginx"),
                registry: text("docker.io"),
                repository: text("library/nginx"),
                tag: Some(text("latest")),
                digest: None,
            },
            facts: Vec::new(),
        }
    }

    #[test]
    fn replaces_tokens_with_values_of_the_image_use() {
        for (template, expected) in [
            ("", ""),
            ("mirror/all", "mirror/all"),
            ("$namespace", "prod"),
            ("/x/$namespace/$podname-$container_name/", "/x/prod/web-1-x-main/"),
            ("$registry/$namespace_$podname", "docker.io/prod_web-1-x"),
            ("$namespace$namespace", "prodprod"),
        ] {
            assert_eq!(render(template, &image_use(&[])).as_deref(), Ok(expected), "{template}");
        }
    }

    #[test]
    fn rejects_unknown_tokens() {
        for (template, named) in [
            ("$namespaces", "$namespaces;"),
            ("a/$team/b", "$team;"),
            ("$", "$;"),
            ("${namespace}", "$;"),
            ("$Namespace", "$Namespace;"),
            ("$container", "$container;"),
            ("$arch", "several platforms"),
        ] {
            let error = check(template).unwrap_err();
            assert!(error.contains(named) && error.contains(template), "{error}");
            assert!(render(template, &image_use(&[])).is_err());
        }
    }

    #[test]
    fn an_owned_object_has_the_name_of_its_controller() {
        let replica_set = ("apps", "ReplicaSet", "web-1");
        for (owners, expected) in [
            (vec![replica_set, ("apps", "Deployment", "web")], "web"),
            (vec![replica_set], "web-1"),
            (vec![("batch", "Job", "c-1"), ("batch", "CronJob", "c")], "c"),
            (vec![("apps", "StatefulSet", "db"), ("example.io", "Database", "orders")], "db"),
            (vec![("", "Node", "node-1")], "web-1-x"),
        ] {
            assert_eq!(render("$podname", &image_use(&owners)).as_deref(), Ok(expected), "{owners:?}");
        }
    }
}
