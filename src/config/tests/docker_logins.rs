use std::{fs, path::PathBuf};

use super::*;
use crate::model::{DockerConfig, DockerEntry};

/// A configuration with this file as `dockerConfigFile`.
fn with_file(text: &str) -> Setup {
    let setup = Setup::with_target("");
    let file = setup.dir.path().join("docker.json");
    fs::write(&file, text).unwrap();
    let yaml = format!("dockerConfigFile: {}\ndocker: {{registry: mirror.test}}\ntargetKind: docker\n", file.display());
    fs::write(setup.dir.path().join("config.yaml"), yaml).unwrap();
    setup
}

fn parsed(text: &str) -> DockerConfig {
    let files = with_file(text).config().docker_logins.files;
    assert_eq!(files.len(), 1);
    (*files[0]).clone()
}

/// `registry/path user:secret`; without a login, the key that a helper is asked for.
fn text(entry: &DockerEntry) -> String {
    let login = match entry.login.as_deref() {
        Some(Login::Password { username, password }) => format!("{username}:{}", password.expose_secret()),
        Some(Login::Token(token)) => format!("token {}", token.expose_secret()),
        None => format!("ask for {}", entry.server),
    };
    format!("{}/{} {login}", entry.registry, entry.path)
}

#[test]
fn every_form_of_an_entry_is_read() {
    // `me:pa:ss`, `me:pw` without padding, and an identity token with the user that Azure gives it.
    let config = parsed(
        r#"{
    "auths": {
        "https://index.docker.io/v1/": { "auth": "bWU6cGE6c3M=" },
        "GHCR.io": { "auth": "bWU6cHc", "email": "me@example.com" },
        "quay.io/acme/team": { "username": "robot", "password": "pw" },
        "acme.azurecr.io": { "auth": "MDAwMDo=", "identitytoken": "identity" },
        "token.example:5000": { "registrytoken": "bearer" },
        "http://plain.example/v2/": {},
        "gone.example": null
    },
    "credsStore": "desktop",
    "credHelpers": { "https://gcr.io": "gcloud", "off.example": "" },
    "HttpHeaders": { "User-Agent": "Docker-Client/19.03.12 (linux)" },
    "psFormat": "table {{.ID}}"
}"#,
    );
    let entries: Vec<_> = config.entries.iter().map(text).collect();
    assert_eq!(
        entries,
        [
            "ghcr.io/ me:pw",
            "acme.azurecr.io/ <token>:identity",
            "gone.example/ ask for gone.example",
            "plain.example/ ask for http://plain.example/v2/",
            "docker.io/ me:pa:ss",
            "quay.io/acme/team robot:pw",
            "token.example:5000/ token bearer",
        ]
    );
    assert_eq!(config.store.as_deref(), Some("desktop"));
    let helpers: Vec<_> =
        config.helpers.iter().map(|helper| (&*helper.registry, &*helper.server, &*helper.name)).collect();
    assert_eq!(helpers, [("gcr.io", "https://gcr.io", "gcloud")]);
}

#[test]
fn an_error_names_the_line_and_no_secret() {
    let encoded = "aHVudGVyMg=="; // hunter2
    for (text, place, message) in [
        (
            format!("{{\n  \"auths\": {{\n    \"a.io\": {{ \"auth\": \"{encoded}\" }}\n  }}\n}}"),
            ":3:",
            "no base64 of USER:PASSWORD",
        ),
        ("{\n\"auths\": {\"a.io\":\n {\"auth\":\n \"hunter2!\"}}}".to_owned(), ":3:", "no base64 of a text"),
        ("{\"auths\": {\"a.io\": {\"password\": \"hunter2\"}}}".to_owned(), ":1:", "a password without a user"),
        ("{\"auths\": {\n\"a.io\": {\"auth\": [\"hunter2\"]}}}".to_owned(), ":2:", "another type"),
        ("{\"auths\": {\n\"a.io\": \"hunter2\"}}".to_owned(), ":2:", "another type"),
        ("{\n\"auths\": \"hunter2\"}".to_owned(), ":2:", "another type"),
        ("{\n\"auths\": {\"a.io\": {\"auth\": hunter2}}}".to_owned(), ":2:", "no JSON"),
        ("{\n\"auths\": {".to_owned(), ":2:", "ends too early"),
        ("{\n\"credHelpers\":\n {\"a.io\": \"../../bin/sh\"}}".to_owned(), ":3:", "names no credential helper"),
        ("{\"credsStore\": \"a/b\"}".to_owned(), "docker.json: credsStore", "names no credential helper"),
    ] {
        let error = with_file(&text).load().unwrap_err().to_string();
        assert!(error.contains("docker.json") && error.contains(place) && error.contains(message), "{text}: {error}");
        assert!(!error.contains("hunter2") && !error.contains(encoded), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn the_file_is_watched_and_must_exist() {
    let setup = with_file("{}");
    let file = setup.dir.path().join("docker.json");
    assert!(setup.load().unwrap().files.contains(&file));
    fs::write(&file, "\n").unwrap();
    assert!(setup.load().unwrap_err().to_string().contains("docker.json is empty"));
    fs::remove_file(&file).unwrap();
    let error = setup.load().unwrap_err();
    assert!(error.to_string().contains("dockerConfigFile: ") && error.to_string().contains("can't be read"), "{error}");
    assert!(error.files().contains(&file));
}

/// A home with files at these paths, each with a login for `REGISTRY` under its own path as password, and variables.
fn home(paths: &[&str], variables: &[(&str, &str)]) -> Result<Vec<PathBuf>, String> {
    let home = tempfile::tempdir().unwrap();
    let of = |name: &str| home.path().join(name);
    for path in paths {
        fs::create_dir_all(of(path).parent().unwrap()).unwrap();
        fs::write(of(path), r#"{"auths": {"r.example": {"username": "me", "password": "pw"}}}"#).unwrap();
    }
    let env = |name: &str| match name {
        "HOME" => Some(home.path().to_str().unwrap().to_owned()),
        _ => {
            // Without a session, the machine's own folder would be looked at.
            let variables = variables.iter().chain(&[("XDG_RUNTIME_DIR", "no session")]);
            let variable = variables.clone().find(|(other, _)| *other == name);
            variable.map(|(_, path)| of(path).to_str().unwrap().to_owned())
        }
    };
    let logins = user_docker_logins(&env).map_err(|errors| errors.to_string())?;
    Ok(logins.files.iter().map(|file| file.file.strip_prefix(home.path()).unwrap().to_owned()).collect())
}

#[test]
fn a_users_files_are_found_where_docker_and_podman_leave_them() {
    let (docker, user) = (".docker/config.json", ".config/containers/auth.json");
    for (paths, variables, found) in [
        (&[][..], &[][..], &[][..]),
        (&[docker], &[], &[docker]),
        (&[user, docker], &[], &[docker, user]),
        (&[docker, "other/config.json"], &[("DOCKER_CONFIG", "other")], &["other/config.json"]),
        (&["run/containers/auth.json", user], &[("XDG_RUNTIME_DIR", "run")], &["run/containers/auth.json", user]),
        (
            &[user, "settings/containers/auth.json"],
            &[("XDG_CONFIG_HOME", "settings")],
            &["settings/containers/auth.json"],
        ),
        (&[user, docker, "auth"], &[("REGISTRY_AUTH_FILE", "auth")], &[docker, "auth"]),
        (&[docker], &[("REGISTRY_AUTH_FILE", "missing")], &[docker]),
    ] {
        let expected: Vec<_> = found.iter().map(PathBuf::from).collect();
        assert_eq!(home(paths, variables), Ok(expected), "{paths:?} {variables:?}");
    }
}

#[test]
fn the_users_logins_are_read_for_commands_of_users_alone_and_not_beside_a_named_file() {
    let setup = with_file("{}");
    let home = setup.dir.path().join("home");
    fs::create_dir_all(home.join(".docker")).unwrap();
    fs::write(home.join(".docker/config.json"), r#"{"credsStore": "desktop"}"#).unwrap();
    let env = |name: &str| match name {
        "HOME" => Some(home.to_str().unwrap().to_owned()),
        "XDG_RUNTIME_DIR" => Some("no session".to_owned()),
        "CONFIG_PATH" => Some(setup.dir.path().join("config.yaml").to_str().unwrap().to_owned()),
        _ => None,
    };
    let stores = |user_logins| -> Vec<Option<String>> {
        let loaded = load(&Flags { user_logins, ..Flags::default() }, &env).unwrap();
        loaded.config.docker_logins.files.iter().map(|file| file.store.clone()).collect()
    };
    assert_eq!([stores(false), stores(true)], [[None], [None]]);
    fs::write(setup.dir.path().join("config.yaml"), "{docker: {registry: mirror.test}, targetKind: docker}").unwrap();
    assert_eq!([stores(false), stores(true)], [vec![], vec![Some("desktop".to_owned())]]);
}
