//! Credentials of source registries.

use super::{
    reader::{Reader, Section, Spanned},
    registry_name::credential_host,
};
use crate::model::{Credential, Login};

/// The list `registryCredentials` in order.
pub(super) fn credentials(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Vec<Credential> {
    let sections = root.sections(reader, "registryCredentials");
    sections.into_iter().filter_map(|section| credential(reader, section)).collect()
}

fn credential(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Credential> {
    let location = section.location();
    let registry = section.scalar(reader, "registry").filter(|found| !found.value.trim().is_empty());
    let registry = registry.map(|found| credential_host(reader, &found));
    let aliases = reader.list(&mut section, "registryAliases", None);
    let aliases = aliases.iter().filter_map(|found| credential_host(reader, found)).collect();
    let username = credential_part(reader, &mut section, "username", "usernameEnv");
    let password = credential_part(reader, &mut section, "password", "passwordEnv");
    let token = credential_part(reader, &mut section, "token", "tokenEnv");
    section.finish(reader);

    let Some(registry) = registry else {
        reader.warn(&location, "this entry has no registry and is ignored");
        return None;
    };
    let login = match (token, username, password) {
        (Some(token), ..) => Login::Token(token.value.trim().into()),
        (None, Some(username), Some(password)) => {
            Login::Password { username: username.value.trim().to_owned(), password: password.value.into() }
        }
        (None, Some(username), None) => {
            reader.reject(
                &username.location,
                "user name without a password; if it is in a variable, that variable is not set",
            );
            return None;
        }
        (None, None, Some(password)) => {
            reader.reject(
                &password.location,
                "password without a user name; if it is in a variable, that variable is not set",
            );
            return None;
        }
        (None, None, None) => {
            reader.warn(
                &location,
                "this entry has no credentials and is ignored; the variables that it names are not set",
            );
            return None;
        }
    };
    Some(Credential { registry: registry?, aliases, login })
}

/// A part of a credential: the variable that `env_key` names if it is set and not empty, else the value of `key`.
/// Messages quote neither the value nor the name of the variable: a token may have been written instead of the name.
pub(super) fn credential_part(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    key: &'static str,
    env_key: &'static str,
) -> Option<Spanned> {
    let literal = section.scalar(reader, key).filter(|found| !found.value.is_empty());
    let named = section.scalar(reader, env_key);
    let named = named.and_then(|Spanned { value: name, location }| {
        let name = name.trim();
        let found = if name.is_empty() { None } else { reader.variable(name) };
        found.map(|found| Spanned { value: found.value, location })
    });
    named.or(literal)
}
