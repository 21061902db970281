//! The files in which `docker login` and `podman login` store logins: config.json(5) of Docker, containers-auth.json(5).
//! Here because docker_credential 1.4 knows neither the paths of containers-auth.json(5) nor the lines of errors, runs
//! helpers without a deadline, and looks for Podman's file in Docker's folder.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Deserialize;
use serde_json::{error::Category, value::RawValue};

use super::{
    error::{ConfigErrors, SourceLocation},
    file::read_text,
    reader::{Reader, Section, Spanned},
};
use crate::model::{DockerConfig, DockerEntry, DockerHelper, DockerLogins, Login, canonical_registry};

/// The user name of an identity token, as `docker login` stores it.
const IDENTITY_TOKEN: &str = "<token>";

/// Docker does not pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The logins in the file of the setting `dockerConfigFile`; without it, if the command is one that users run for
/// themselves, those of the user.
pub(super) fn docker_logins(reader: &mut Reader<'_>, root: &mut Section<'_>, of_user: bool) -> DockerLogins {
    let named = reader.text(root, "dockerConfigFile", Some("DOCKER_CONFIG_FILE"));
    match named.filter(|found| !found.value.trim().is_empty()) {
        Some(named) => DockerLogins { files: named_file(reader, &named).into_iter().collect() },
        None if of_user => DockerLogins { files: user_files(reader) },
        None => DockerLogins::default(),
    }
}

/// The logins of the user who runs the program: those of `docker login` and of `podman login`. `env` has the variables.
///
/// # Errors
///
/// All errors in the files.
pub fn user_docker_logins(env: &dyn Fn(&str) -> Option<String>) -> Result<DockerLogins, ConfigErrors> {
    let mut reader = Reader::new(env);
    let files = user_files(&mut reader);
    if reader.errors.is_empty() {
        Ok(DockerLogins { files })
    } else {
        Err(ConfigErrors::new(reader.errors, Vec::new(), reader.files))
    }
}

fn named_file(reader: &mut Reader<'_>, named: &Spanned) -> Option<Arc<DockerConfig>> {
    let path = Path::new(named.value.trim());
    reader.track_file(path);
    match read_text(path, false) {
        Ok(text) if text.trim().is_empty() => {
            reader.reject(&named.location, format!("{} is empty", path.display()));
            None
        }
        Ok(text) => parse(reader, path, &text),
        Err(error) => {
            reader.reject(&named.location, format!("{} can't be read: {error}", path.display()));
            None
        }
    }
}

fn user_files(reader: &mut Reader<'_>) -> Vec<Arc<DockerConfig>> {
    let mut found = Vec::new();
    for (path, is_named) in user_paths(reader) {
        match read_text(&path, false) {
            Ok(text) => found.extend(parse(reader, &path, &text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if let Some(variable) = is_named {
                    let location = SourceLocation::Variable(variable.to_owned());
                    reader.warn(&location, format!("file {} does not exist", path.display()));
                }
            }
            Err(error) => {
                reader.reject(&SourceLocation::File(path), format!("the logins in it can't be read: {error}"));
            }
        }
    }
    found
}

/// Where `docker login` and `podman login` of this user store their logins, and the variable that names the file itself.
fn user_paths(reader: &Reader<'_>) -> Vec<(PathBuf, Option<&'static str>)> {
    let folder = |name: &str| reader.nonblank_variable(name).map(|found| PathBuf::from(found.value));
    let home = folder("HOME");
    let in_home = |name: &str| home.as_ref().map(|home| home.join(name));
    let docker = folder("DOCKER_CONFIG").or_else(|| in_home(".docker"));
    let mut paths: Vec<_> = docker.map(|folder| (folder.join("config.json"), None)).into_iter().collect();
    if let Some(file) = folder("REGISTRY_AUTH_FILE") {
        paths.push((file, Some("REGISTRY_AUTH_FILE")));
    } else {
        // Without a session `podman login` writes there.
        let user = || PathBuf::from(format!("/run/containers/{}", rustix::process::geteuid().as_raw()));
        // Without a home there is no user, as in a container.
        let runtime =
            folder("XDG_RUNTIME_DIR").map(|folder| folder.join("containers")).or_else(|| home.as_ref().map(|_| user()));
        let settings = folder("XDG_CONFIG_HOME").or_else(|| in_home(".config")).map(|folder| folder.join("containers"));
        paths.extend(runtime.into_iter().chain(settings).map(|folder| (folder.join("auth.json"), None)));
    }
    paths
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File<'t> {
    #[serde(borrow)]
    auths: Option<BTreeMap<String, &'t RawValue>>,
    creds_store: Option<String>,
    #[serde(borrow)]
    cred_helpers: Option<BTreeMap<String, &'t RawValue>>,
}

#[derive(Default, Deserialize)]
struct Auth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

/// None, if it has errors, which are reported. Texts of the file are quoted only where they are no secrets.
fn parse(reader: &mut Reader<'_>, file: &Path, text: &str) -> Option<Arc<DockerConfig>> {
    let errors = reader.errors.len();
    let at = |offset: usize, (line, column): (usize, usize)| location(file, text, offset, line, column);
    if text.trim().is_empty() {
        // Some programs create it before they have a login.
        return None;
    }
    let parsed: File<'_> = match serde_json::from_str(text) {
        Ok(parsed) => parsed,
        Err(error) => {
            let location = SourceLocation::Key {
                file: file.into(),
                line: error.line(),
                column: error.column(),
                path: String::new(),
            };
            reader.reject(&location, format!("{}; correct the file, or log in again", fault(&error)));
            return None;
        }
    };
    let store = parsed.creds_store.filter(|name| !name.is_empty());
    if let Some(name) = store.as_ref().filter(|name| !is_helper_name(name)) {
        reader.reject(&SourceLocation::File(file.to_owned()), format!("credsStore: {}", no_helper(name)));
    }
    let mut config = DockerConfig { file: file.into(), entries: Vec::new(), helpers: Vec::new(), store };
    for (key, raw) in parsed.auths.into_iter().flatten() {
        let offset = offset(text, raw.get());
        let auth: Option<Auth> = match serde_json::from_str(raw.get()) {
            Ok(auth) => auth,
            Err(error) => {
                let message = format!("auths[{key:?}]: {}; log in to that registry again", fault(&error));
                reader.reject(&at(offset, (error.line(), error.column())), message);
                continue;
            }
        };
        match login(auth.unwrap_or_default()) {
            Ok(login) => {
                let (registry, path) = registry_and_path(&key);
                let login = login.map(Arc::new);
                config.entries.push(DockerEntry { registry, path, server: key, login });
            }
            Err(problem) => {
                reader.reject(&at(offset, (1, 1)), format!("auths[{key:?}]: {problem}; log in to that registry again"));
            }
        }
    }
    for (key, raw) in parsed.cred_helpers.into_iter().flatten() {
        let name: Option<String> = match serde_json::from_str(raw.get()) {
            Ok(name) => name,
            Err(error) => {
                let message = format!("credHelpers[{key:?}]: {}; write the helper's name", fault(&error));
                reader.reject(&at(offset(text, raw.get()), (error.line(), error.column())), message);
                continue;
            }
        };
        let Some(name) = name.filter(|name| !name.is_empty()) else { continue };
        if is_helper_name(&name) {
            let (registry, _) = registry_and_path(&key);
            config.helpers.push(DockerHelper { registry, server: key, name });
        } else {
            let message = format!("credHelpers[{key:?}]: {}", no_helper(&name));
            reader.reject(&at(offset(text, raw.get()), (1, 1)), message);
        }
    }
    (reader.errors.len() == errors).then(|| Arc::new(config))
}

/// serde_json's own message quotes the value, which may be a secret.
fn fault(error: &serde_json::Error) -> &'static str {
    match error.classify() {
        Category::Data => "a value of another type than in a file of docker login",
        Category::Eof => "the file ends too early: it is no JSON",
        Category::Syntax | Category::Io => "no JSON",
    }
}

/// Where `part` begins in `text`, of which it is a part.
fn offset(text: &str, part: &str) -> usize {
    (part.as_ptr() as usize).saturating_sub(text.as_ptr() as usize)
}

/// The place at line and column of a part that begins at `offset`.
fn location(file: &Path, text: &str, offset: usize, line: usize, column: usize) -> SourceLocation {
    let before = text.get(..offset).unwrap_or_default();
    let last = before.rsplit('\n').next().unwrap_or_default();
    let column = if line <= 1 { last.chars().count() + column } else { column };
    let line = before.matches('\n').count() + line;
    SourceLocation::Key { file: file.into(), line, column, path: String::new() }
}

/// A program's name: with a slash it would be a path.
fn is_helper_name(name: &str) -> bool {
    name.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.'))
}

fn no_helper(name: &str) -> String {
    format!("{name:?} names no credential helper; write what follows docker-credential- in the program's name")
}

/// The login of an entry; None: a credential helper has it. Otherwise what is wrong with it.
fn login(auth: Auth) -> Result<Option<Login>, &'static str> {
    let text = |text: Option<String>| text.filter(|text| !text.is_empty());
    if let Some(token) = text(auth.registrytoken) {
        return Ok(Some(Login::Token(token.into())));
    }
    if let Some(token) = text(auth.identitytoken) {
        return Ok(Some(Login::Password { username: IDENTITY_TOKEN.to_owned(), password: token.into() }));
    }
    if let Some(pair) = text(auth.auth) {
        let decoded = BASE64.decode(pair.trim()).ok().and_then(|pair| String::from_utf8(pair).ok());
        let decoded = decoded.ok_or("auth is no base64 of a text")?;
        let (username, password) = decoded.split_once(':').ok_or("auth is no base64 of USER:PASSWORD")?;
        // Old versions of Docker fill it up.
        let password = password.trim_end_matches('\0');
        if username.is_empty() || password.is_empty() {
            return Err("auth lacks the user or the password");
        }
        return Ok(Some(Login::Password { username: username.to_owned(), password: password.into() }));
    }
    match (text(auth.username), text(auth.password)) {
        (Some(username), Some(password)) => Ok(Some(Login::Password { username, password: password.into() })),
        (_, None) => Ok(None),
        (None, Some(_)) => Err("a password without a user"),
    }
}

/// Registry and path of a key: `host[:port][/path]`, or a URL, of which Docker looks at the host alone.
fn registry_and_path(key: &str) -> (String, String) {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://"));
    let (host, path) = bare.unwrap_or(key).split_once('/').unwrap_or((bare.unwrap_or(key), ""));
    let path = path.trim_matches('/');
    // Docker Hub's key without its scheme.
    let is_api = bare.is_some() || matches!(path, "v1" | "v2");
    (canonical_registry(host), if is_api { String::new() } else { path.to_owned() })
}
