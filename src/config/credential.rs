//! Credentials of source registries.

use super::{
    reader::{Reader, Section, Spanned},
    registry_name::credential_host,
    secret_file::read_secret,
};
use crate::model::{Credential, Login};

/// The keys of one part of a credential.
pub(super) struct PartKeys {
    literal: &'static str,
    env: &'static str,
    file: &'static str,
}

pub(super) const USERNAME: PartKeys = PartKeys { literal: "username", env: "usernameEnv", file: "usernameFile" };
pub(super) const PASSWORD: PartKeys = PartKeys { literal: "password", env: "passwordEnv", file: "passwordFile" };
const TOKEN: PartKeys = PartKeys { literal: "token", env: "tokenEnv", file: "tokenFile" };

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
    let [username, password, token] =
        [USERNAME, PASSWORD, TOKEN].map(|keys| credential_part(reader, &mut section, &keys, None));
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

/// A part of a credential: `preferred`, else the variable that the key `…Env` names if it is set and not empty, else the
/// content of the file that the key `…File` names, else the literal value. Only the one that is used is read. Messages quote
/// neither the value nor the name of the variable: a token may have been written instead of the name.
pub(super) fn credential_part(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    keys: &PartKeys,
    preferred: Option<Spanned>,
) -> Option<Spanned> {
    let literal = section.scalar(reader, keys.literal).filter(|found| !found.value.is_empty());
    let file = section.scalar(reader, keys.file).filter(|found| !found.value.trim().is_empty());
    let named = section.scalar(reader, keys.env);
    let named = named.and_then(|Spanned { value: name, location }| {
        let name = name.trim();
        let found = if name.is_empty() { None } else { reader.variable(name) };
        found.map(|found| Spanned { value: found.value, location })
    });
    preferred.or(named).or_else(|| file.map(|file| read_secret(reader, &file))).or(literal)
}
