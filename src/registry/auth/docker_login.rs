//! Which logins of Docker's and Podman's files belong to a repository.

use std::{path::Path, sync::Arc, time::Duration};

use crate::{
    model::{DockerLogins, Login},
    registry::{
        auth::{
            credential_helper,
            obtained_login::{LoginError, NewLogin, Obtained, ObtainedLogin},
        },
        http::host_names::{DOCKER_HUB, canonical},
    },
};

/// Docker Hub, as `docker login` calls it.
const DOCKER_HUB_SERVER: &str = "https://index.docker.io/v1/";

/// How long the answer of a credential helper is used. Those of clouds answer with tokens, which live longer.
const HELPER_LIFETIME: Duration = Duration::from_secs(10 * 60);

/// A place to find the login of a registry.
pub(in crate::registry) enum DockerLogin {
    /// The file has it.
    Stored { login: Arc<Login>, file: Arc<Path> },
    /// A credential helper may have it.
    Helper(HelperLogin),
}

/// The login that a credential helper has for a registry.
pub(in crate::registry) struct HelperLogin {
    name: String,
    server: String,
    login: ObtainedLogin,
}

/// The places to look for the login of a repository, in order.
pub(in crate::registry) fn docker_logins(logins: &DockerLogins, registry: &str, repository: &str) -> Vec<DockerLogin> {
    let registry = canonical(registry);
    let mut places = Vec::new();
    for file in &logins.files {
        let helper = |name: &str, server: &str| {
            DockerLogin::Helper(HelperLogin {
                name: name.to_owned(),
                server: server.to_owned(),
                login: ObtainedLogin::default(),
            })
        };
        let own_helper = file.helpers.iter().find(|helper| helper.registry == registry);
        places.extend(own_helper.map(|own| helper(&own.name, &own.server)));
        let entry = file.entry(&registry, repository);
        match (entry.and_then(|entry| entry.login.as_ref()), &file.store) {
            (Some(login), _) => {
                places.push(DockerLogin::Stored { login: Arc::clone(login), file: Arc::clone(&file.file) })
            }
            (None, Some(store)) => {
                let usual = if registry == DOCKER_HUB { DOCKER_HUB_SERVER } else { &registry };
                places.push(helper(store, entry.map_or(usual, |entry| &entry.server)));
            }
            (None, None) => {}
        }
    }
    places
}

impl HelperLogin {
    /// The program.
    pub(in crate::registry) fn program(&self) -> String {
        format!("docker-credential-{}", self.name)
    }

    /// The login, kept or asked for.
    pub(in crate::registry) async fn get(&self, registry: &str) -> Result<Arc<Obtained>, LoginError> {
        let obtain = || {
            let (name, server) = (self.name.clone(), self.server.clone());
            async move {
                let login = credential_helper::ask(&name, &server).await?;
                Ok(login.map(|login| NewLogin { login, lifetime: HELPER_LIFETIME }))
            }
        };
        self.login.get(&format!("the credential helper {}", self.program()), registry, obtain).await
    }

    /// Drops a login that was rejected. Whether the helper may be asked again now.
    pub(in crate::registry) fn invalidate(&self, rejected: &Arc<Obtained>) -> bool {
        self.login.invalidate(rejected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{DockerConfig, DockerEntry, DockerHelper};

    fn stored(registry: &str, path: &str, password: Option<&str>) -> DockerEntry {
        let login = password.map(|password| Arc::new(Login::Token(password.to_owned().into())));
        let server = format!("{registry}/{path}");
        DockerEntry { registry: registry.to_owned(), path: path.to_owned(), server, login }
    }

    fn file(entries: Vec<DockerEntry>, helpers: &[(&str, &str)], store: Option<&str>) -> Arc<DockerConfig> {
        let helpers = helpers.iter().map(|(registry, name)| DockerHelper {
            registry: (*registry).to_owned(),
            server: format!("https://{registry}"),
            name: (*name).to_owned(),
        });
        let helpers = helpers.collect();
        Arc::new(DockerConfig {
            file: Path::new("config.json").into(),
            entries,
            helpers,
            store: store.map(str::to_owned),
        })
    }

    /// `token`, or `helper server`.
    fn places(logins: &DockerLogins, registry: &str, repository: &str) -> Vec<String> {
        use secrecy::ExposeSecret as _;
        let places = docker_logins(logins, registry, repository);
        let text = |place: &DockerLogin| match place {
            DockerLogin::Stored { login, .. } => match &**login {
                Login::Token(token) => token.expose_secret().to_owned(),
                Login::Password { .. } => unreachable!(),
            },
            DockerLogin::Helper(helper) => format!("{} {}", helper.name, helper.server),
        };
        places.iter().map(text).collect()
    }

    #[test]
    fn a_registrys_helper_comes_before_the_file_and_the_file_before_the_store() {
        let first = file(
            vec![
                stored("a.example", "", Some("a")),
                stored("a.example", "team", Some("team")),
                stored("b.example", "", None),
            ],
            &[("a.example", "own"), ("ecr.example", "ecr")],
            Some("desktop"),
        );
        let second = file(vec![stored("b.example", "", Some("second"))], &[], None);
        let logins = DockerLogins { files: vec![first, second] };
        for (registry, repository, expected) in [
            ("a.example", "x", vec!["own https://a.example", "a"]),
            ("A.example", "team/app", vec!["own https://a.example", "team"]),
            ("b.example", "x", vec!["desktop b.example/", "second"]),
            ("ecr.example", "x", vec!["ecr https://ecr.example", "desktop ecr.example"]),
            ("c.example:5000", "x", vec!["desktop c.example:5000"]),
            ("docker.io", "library/a", vec!["desktop https://index.docker.io/v1/"]),
        ] {
            assert_eq!(places(&logins, registry, repository), expected, "{registry}/{repository}");
        }
        assert!(places(&DockerLogins::default(), "a.example", "x").is_empty());
    }
}
