//! One source registry: reached, as whom, and with which quota.

use super::{
    deadline::within_deadline,
    finding::{Finding, Group},
    images::counted,
};
use crate::{
    model::{PullLogin, Reference},
    registry::{Account, ProbeError, PullAnswer, PullQuota, Registries, TagOrDigest},
};

/// Below this share of the quota, in percent, a registry soon refuses.
const FEW_PULLS: u64 = 10;

/// Asks for one image of the registry, of which `count` are mirrored.
/// `logins` are tried before the configured access.
pub async fn source(
    registries: &Registries,
    registry: &str,
    image: &Reference,
    count: usize,
    logins: &[PullLogin],
) -> Finding {
    let probe = registries.probe(registry, image.repository());
    let answer = async {
        within_deadline(probe.resolve()).await?;
        let uses_tls = within_deadline(probe.connect()).await?;
        let selector = match (image.digest(), image.tag()) {
            (Some(digest), _) => TagOrDigest::Digest(digest),
            (None, tag) => TagOrDigest::Tag(tag.unwrap_or("latest")),
        };
        for PullLogin { namespace, secret, login } in logins {
            let repository = registries.repository_with_login(registry, image.repository(), namespace, login);
            // Whatever goes wrong, the configured access is the last to try.
            if let Ok(answer) = within_deadline(repository.probe().look_up(selector)).await
                && answer.exists
            {
                return Ok((uses_tls, answer, Some(format!("with pull secret {namespace}/{secret}"))));
            }
        }
        let answer = within_deadline(probe.look_up(selector)).await?;
        Ok::<(bool, PullAnswer, Option<String>), ProbeError>((uses_tls, answer, None))
    };
    let (uses_tls, PullAnswer { exists, quota }, secret) = match answer.await {
        Ok(answer) => answer,
        Err(error) => return Group::Sources.failed_probe(registry, error),
    };
    let over = if uses_tls { "TLS" } else { "plain HTTP" };
    let images = counted(count, "image");
    let left = quota.map(|quota| format!(", {}", describe(quota))).unwrap_or_default();
    let (account, is_degraded) = match (secret, probe.account()) {
        (Some(secret), _) => (secret, false),
        (None, Account::Anonymous) => ("anonymously".to_owned(), false),
        (None, Account::Without(reason)) => (format!("anonymously ({reason})"), true),
        (None, account) => (format!("as {account}"), false),
    };
    let found = format!("reached over {over} {account}, {images}{left}");
    match quota {
        Some(PullQuota { remaining: 0, .. }) => {
            let remedy = "wait until the quota is renewed, or set registryCredentials of an account with a larger one";
            Group::Sources.failed(registry, found, remedy)
        }
        Some(PullQuota { remaining, limit: Some(limit) })
            if remaining.saturating_mul(100) < limit.saturating_mul(FEW_PULLS) =>
        {
            let remedy = "set registryCredentials of an account with a larger quota";
            Group::Sources.warning(registry, found, remedy)
        }
        _ if !exists => {
            let found = format!("{found}; {image} does not exist there");
            Group::Sources.warning(registry, found, "correct the workload's image, or push the image again")
        }
        _ if is_degraded => {
            Group::Sources.warning(registry, found, "correct it: other images of this registry may need the login")
        }
        _ => Group::Sources.ok(registry, found),
    }
}

fn describe(quota: PullQuota) -> String {
    match quota {
        PullQuota { remaining, limit: Some(limit) } => format!("{remaining} of {limit} pulls left"),
        PullQuota { remaining, limit: None } => format!("{remaining} pulls left"),
    }
}
