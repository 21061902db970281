//! Reads one pull secret, for the fuzz target.

use std::collections::BTreeMap;

use k8s_openapi::{ByteString, api::core::v1::Secret};

use super::{docker_config::docker_config, keyring};
use crate::model::Reference;

/// What a secret with this content has for an image: the number of logins, and everything that may be printed.
pub fn logins(content: &[u8], is_legacy: bool, image: &Reference) -> (usize, String) {
    let (kind, key) = match is_legacy {
        true => ("kubernetes.io/dockercfg", ".dockercfg"),
        false => ("kubernetes.io/dockerconfigjson", ".dockerconfigjson"),
    };
    let data = BTreeMap::from([(key.to_owned(), ByteString(content.to_vec()))]);
    let secret = Secret { type_: Some(kind.to_owned()), data: Some(data), ..Secret::default() };
    match docker_config(&secret) {
        Ok(config) => {
            let problems = config.problems.join("\n");
            let secrets = [("secret".to_owned(), config.entries)];
            let found = keyring::matching(&secrets, image);
            (found.len(), format!("{problems}{:?}", found.iter().map(|(_, login)| login).collect::<Vec<_>>()))
        }
        Err(error) => (0, format!("{error} {error:?}")),
    }
}
