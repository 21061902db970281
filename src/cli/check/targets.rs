//! One target: reached, logged in, and the right to push.

use futures::future;

use super::{
    deadline::within_deadline,
    finding::{Finding, Group},
};
use crate::{
    config::{Config, EcrConfig, TargetConfig},
    registry::{
        Account, Aws, EcrRepositories, Layout, LoginAnswer, Probe, ProbeError, PushAnswer, Registries, Resolved, Store,
    },
};

/// The repository for an upload that is cancelled, if no image is known.
const NEUTRAL_REPOSITORY: &str = "k8s-copycat-check";
const IAM: &str = "docs/ecr.md has the IAM policy that the program needs";

/// Stops at the first problem. `repository` is one that images are copied to.
pub async fn target(
    config: &Config,
    target: &TargetConfig,
    store: Store,
    aws: &Aws,
    repository: Option<&str>,
) -> Vec<Finding> {
    let name = target.name.as_str();
    match &store {
        Store::Layout(layout) => vec![folder(name, &target.registry, layout).await],
        Store::Registry { registries, host, ecr, .. } => {
            let path = store.mount_name(repository.unwrap_or(NEUTRAL_REPOSITORY));
            let mut findings = Vec::new();
            let checked = match (ecr, &target.ecr) {
                (Some(repositories), Some(ecr)) => {
                    let place = Place { name, registries, host, path: &path, is_dry_run: config.copy.dry_run };
                    ecr_registry(&place, ecr, aws, repositories, &mut findings).await
                }
                _ => {
                    let place = Place { name, registries, host, path: &path, is_dry_run: config.copy.dry_run };
                    registry(&place, &mut findings).await
                }
            };
            if let Err((subject, error)) = checked {
                findings.push(Group::Targets.failed_probe(format!("{name}: {subject}"), error));
            }
            findings
        }
    }
}

/// A repository of a target.
struct Place<'p> {
    name: &'p str,
    registries: &'p Registries,
    host: &'p str,
    /// At the registry.
    path: &'p str,
    is_dry_run: bool,
}

/// What could not be done, and why.
type Problem = (&'static str, ProbeError);

impl Place<'_> {
    fn ok(&self, subject: &str, found: impl Into<String>) -> Finding {
        Group::Targets.ok(format!("{}: {subject}", self.name), found)
    }

    fn probe(&self) -> Probe {
        self.registries.probe(self.host, self.path)
    }
}

async fn registry(place: &Place<'_>, findings: &mut Vec<Finding>) -> Result<(), Problem> {
    let probe = place.probe();
    reach(place, &probe, findings).await?;
    let account = probe.account();
    if account == Account::Anonymous {
        findings.push(place.ok("login", "none is configured"));
    } else {
        let answer = within_deadline(probe.log_in()).await.map_err(|error| ("login", error))?;
        // Only now it is known whether there is a login.
        let account = probe.account();
        let found = match answer {
            _ if account.is_anonymous() => format!("none: {account}"),
            LoginAnswer::Accepted => format!("accepted as {account}"),
            LoginAnswer::NotAsked => format!("{account}; the registry asks for no login so far"),
        };
        findings.push(place.ok("login", found));
    }
    push(place, &probe, findings).await
}

async fn reach(place: &Place<'_>, probe: &Probe, findings: &mut Vec<Finding>) -> Result<(), Problem> {
    match within_deadline(probe.resolve()).await.map_err(|error| ("name", error))? {
        Resolved::Address => {}
        Resolved::ByProxy => findings.push(place.ok("name", "resolved by the proxy")),
        Resolved::Addresses(addresses) => {
            let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
            findings.push(place.ok("name", format!("{} is {}", place.host, addresses.join(", "))));
        }
    }
    let uses_tls = within_deadline(probe.connect()).await.map_err(|error| ("connection", error))?;
    let over = if uses_tls { "over TLS, certificate accepted" } else { "over plain HTTP" };
    findings.push(place.ok("connection", format!("{} answers {over}", place.host)));
    Ok(())
}

async fn push(place: &Place<'_>, probe: &Probe, findings: &mut Vec<Finding>) -> Result<(), Problem> {
    if place.is_dry_run {
        let subject = format!("{}: push", place.name);
        let found = "not checked, since dryRun is set: nothing is written to a target";
        findings.push(Group::Targets.warning(subject, found, "check it with --dry-run=false"));
        return Ok(());
    }
    let found = match within_deadline(probe.begin_push()).await.map_err(|error| ("push", error))? {
        PushAnswer::Cancelled => "begun and cancelled",
        PushAnswer::Expires => "begun; the registry cancels no uploads, the empty one expires there",
    };
    findings.push(place.ok("push", format!("an upload to {}/{} was {found}", place.host, place.path)));
    Ok(())
}

/// The actions that can be asked without creating anything.
async fn ecr_registry(
    place: &Place<'_>,
    ecr: &EcrConfig,
    aws: &Aws,
    repositories: &EcrRepositories,
    findings: &mut Vec<Finding>,
) -> Result<(), Problem> {
    let aws = ecr.assume_role.as_deref().map_or_else(|| aws.clone(), |role| aws.with_role(role));
    let probe = place.probe();
    let identity = async {
        let identity = aws.caller_identity(&ecr.registry.region).await;
        identity.map_err(|error| ProbeError { problem: error.to_string(), remedy: IAM.to_owned() })
    };
    let (identity, token) = future::join(within_deadline(identity), within_deadline(probe.authorize())).await;
    // Without a token there is one problem, not two.
    token.map_err(|error| ("token", ProbeError { remedy: IAM.to_owned(), ..error }))?;
    let subject = format!("{}: identity", place.name);
    findings.push(match identity {
        Ok(identity) => Group::Targets.ok(subject, format!("{} in account {}", identity.arn, identity.account)),
        Err(error) => {
            let remedy = "allow access to STS to see the identity; copies need it only for a role (ecr.assumeRoleArn)";
            Group::Targets.warning(subject, error.problem, remedy)
        }
    });
    findings.push(place.ok("token", "ecr:GetAuthorizationToken is allowed"));
    reach(place, &probe, findings).await?;
    within_deadline(probe.log_in()).await.map_err(|error| ("login", error))?;
    findings.push(place.ok("login", "the registry accepts the token"));
    let exists = async {
        let exists = repositories.has(place.path).await;
        exists.map_err(|error| ProbeError { problem: error.to_string(), remedy: IAM.to_owned() })
    };
    let subject = format!("{}: repository", place.name);
    match (within_deadline(exists).await.map_err(|error| ("repository", error))?, repositories.creates_missing()) {
        (true, _) => findings.push(Group::Targets.ok(subject, format!("{} exists", place.path))),
        (false, true) => {
            let found = format!(
                "{} does not exist and will be created; ecr:CreateRepository and the right to push can't be checked \
                 without that",
                place.path
            );
            findings.push(Group::Targets.warning(subject, found, format!("allow it: {IAM}")));
            return Ok(());
        }
        (false, false) => {
            let problem = format!("{} does not exist, and ecr.createRepo is false", place.path);
            let remedy = "create it, or set ecr.createRepo (ECR_CREATE_REPO) to true".to_owned();
            return Err(("repository", ProbeError { problem, remedy }));
        }
    }
    push(place, &probe, findings).await
}

async fn folder(name: &str, path: &str, layout: &Layout) -> Finding {
    let probe = async {
        layout.probe().await.map_err(|error| ProbeError {
            problem: error.to_string(),
            remedy: "choose another folder, or let this user write there (owner, mode, a volume that is not read-only)"
                .to_owned(),
        })
    };
    match within_deadline(probe).await {
        Ok(true) => Group::Targets.ok(format!("{name}: folder"), format!("{path} is an image layout, and writable")),
        Ok(false) => Group::Targets.ok(format!("{name}: folder"), format!("{path} can be created or written")),
        Err(error) => Group::Targets.failed_probe(format!("{name}: folder"), error),
    }
}
