//! Credentials for sources.

use super::{
    reader::{Found, Reader, Section},
    target_name::credential_host,
};
use crate::model::{Credential, Login};

/// The list `registryCredentials`, in the file's order.
pub(super) fn credentials(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Vec<Credential> {
    let sections = root.sections(reader, "registryCredentials");
    sections.into_iter().filter_map(|section| credential(reader, section)).collect()
}

fn credential(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<Credential> {
    let place = section.place();
    let registry = section.scalar(reader, "registry").filter(|found| !found.value.trim().is_empty());
    let registry = registry.map(|found| credential_host(reader, &found));
    let aliases = reader.list(&mut section, "registryAliases", None);
    let aliases = aliases.iter().filter_map(|found| credential_host(reader, found)).collect();
    let username = part(reader, &mut section, "username", "usernameEnv");
    let password = part(reader, &mut section, "password", "passwordEnv");
    let token = part(reader, &mut section, "token", "tokenEnv");
    section.finish(reader);

    let Some(registry) = registry else {
        reader.warn(&place, "this entry names no registry and has no effect");
        return None;
    };
    let login = match (token, username, password) {
        (Some(token), ..) => Login::Token(token.value.trim().into()),
        (None, Some(username), Some(password)) => {
            Login::Password { username: username.value.trim().to_owned(), password: password.value.into() }
        }
        (None, Some(half), None) => {
            reader.refuse(&half.place, "a user name without a password; if a variable is to give it, it is not set");
            return None;
        }
        (None, None, Some(half)) => {
            reader.refuse(&half.place, "a password without a user name; if a variable is to give it, it is not set");
            return None;
        }
        (None, None, None) => {
            reader.warn(
                &place,
                "this entry has no credential and has no effect; the variables that it names are not set",
            );
            return None;
        }
    };
    Some(Credential { registry: registry?, aliases, login })
}

/// A part of a credential: from the variable that `env_key` names if that is set and not empty, else as it is written
/// at `key`. Neither a value nor the name of a variable is ever shown, for the name may be a token put in the wrong
/// place.
pub(super) fn part(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    key: &'static str,
    env_key: &'static str,
) -> Option<Found> {
    let literal = section.scalar(reader, key).filter(|found| !found.value.is_empty());
    let named = section.scalar(reader, env_key);
    let named = named.and_then(|Found { value: name, place }| {
        let name = name.trim();
        let found = if name.is_empty() { None } else { reader.variable(name) };
        found.map(|found| Found { value: found.value, place })
    });
    named.or(literal)
}
