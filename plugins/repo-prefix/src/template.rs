//! Prefixes with tokens: `$namespace`, `$podname`, `$container_name`, `$registry`.

use crate::bindings::k8s_copycat::policy::types::{ImageUse, Workload};

#[derive(Clone, Copy)]
enum Token {
    Namespace,
    PodName,
    ContainerName,
    Registry,
}

const TOKENS: [(&str, Token); 4] = [
    ("namespace", Token::Namespace),
    ("podname", Token::PodName),
    ("container_name", Token::ContainerName),
    ("registry", Token::Registry),
];

/// Whether all tokens of `template` are known; the error says which is not.
pub fn check(template: &str) -> Result<(), String> {
    expand(template, |_| "").map(drop)
}

/// `template` with the image use's values in place of its tokens.
pub fn render(template: &str, image_use: &ImageUse) -> Result<String, String> {
    expand(template, |token| match token {
        Token::Namespace => &image_use.workload.namespace,
        Token::PodName => lasting_name(&image_use.workload),
        Token::ContainerName => &image_use.container.name,
        Token::Registry => &image_use.image.registry,
    })
}

/// A token ends where neither letter nor digit follows, so that `$namespaces` is a mistake, and
/// `$namespace_$podname` two tokens.
fn expand<'a>(template: &str, value: impl Fn(Token) -> &'a str) -> Result<String, String> {
    let mut pieces = template.split('$');
    let mut expanded = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let known = TOKENS.into_iter().find_map(|(name, token)| {
            let rest = piece.strip_prefix(name)?;
            (!rest.starts_with(|c: char| c.is_ascii_alphanumeric())).then_some((token, rest))
        });
        let (token, rest) = known.ok_or_else(|| unknown(template, piece))?;
        expanded.push_str(value(token));
        expanded.push_str(rest);
    }
    Ok(expanded)
}

fn unknown(template: &str, piece: &str) -> String {
    let word: String = piece.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    if word == "arch" {
        return format!(
            "the prefix {template:?} contains $arch, which has no single value: images are mirrored with all their platforms"
        );
    }
    format!("the prefix {template:?} contains ${word}; known are $namespace, $podname, $container_name and $registry")
}

/// The name of the outermost controller that Kubernetes itself knows, else the object's own: Pods and Jobs made by
/// others have generated names, and each restart or run would make a new repository.
fn lasting_name(workload: &Workload) -> &str {
    let known = workload.owners.iter().rev().find(|owner| {
        matches!(
            (owner.group.as_str(), owner.kind.as_str()),
            ("apps", "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet")
                | ("batch", "Job" | "CronJob")
                | ("", "ReplicationController")
        )
    });
    known.map_or(&workload.name, |owner| &owner.name)
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
    fn tokens_are_expanded() {
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
    fn unknown_tokens_are_errors() {
        for (template, named) in [
            ("$namespaces", "$namespaces;"),
            ("a/$team/b", "$team;"),
            ("$", "$;"),
            ("${namespace}", "$;"),
            ("$Namespace", "$Namespace;"),
            ("$container", "$container;"),
            ("$arch", "all their platforms"),
        ] {
            let error = check(template).unwrap_err();
            assert!(error.contains(named) && error.contains(template), "{error}");
            assert!(render(template, &image_use(&[])).is_err());
        }
    }

    #[test]
    fn an_owned_object_goes_by_the_name_that_lasts() {
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
