//! `rbac`: prints the least rights that the program needs for what the cluster uses now.

mod manifests;

use std::{
    io::{self, Write as _},
    process::ExitCode,
    sync::Arc,
};

use clap::Args;
use tracing::error;

use super::{CommandError, build, collect};
use crate::{
    config::{Config, OperationsAuthorization},
    model::{PullSecretScope, Verdict},
    workload::{Right, RightsSettings, needed_rights, pull_secret_needs},
};
use manifests::{Account, manifests};

/// For whom `rbac` prints roles, and which.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct RbacArgs {
    /// The namespace that the program is installed in
    #[arg(long, value_name = "NAMESPACE", default_value = "k8s-copycat")]
    pub install_namespace: String,
    /// The program's ServiceAccount
    #[arg(long, value_name = "NAME", default_value = "k8s-copycat-manager")]
    pub service_account: String,
    /// Only the roles to read pull secrets, to be used beside those of the Helm chart or the manifest
    #[arg(long)]
    pub pull_secrets_only: bool,
}

/// Prints Roles and RoleBindings as YAML. Reads workloads and ServiceAccounts, and no Secret. Exit code 1 if something could
/// not be read, so that rights are missing in the output.
pub async fn rbac(config: &Config, args: &RbacArgs) -> Result<ExitCode, CommandError> {
    let (policy, _) = build::policy(config, Arc::new(())).await?;
    let (uses, client) = collect::image_uses_and_client(config, &[]).await?;
    let decisions = policy.decide(uses.clone()).await;
    // What is undecided may be mirrored later.
    let kept = uses.into_iter().zip(decisions).filter(|(_, decision)| !matches!(decision.verdict, Verdict::Skip(_)));
    let uses: Vec<_> = kept.map(|(image_use, _)| image_use).collect();
    drop(policy);
    let watch = build::watch_settings(config);
    let base = needed_rights(RightsSettings {
        watch: &watch,
        namespace: Some(&args.install_namespace),
        leader_election: config.process.leader_elect,
        reviews: config.process.operations_authorization == OperationsAuthorization::Kubernetes,
    });
    let mut problems = Vec::new();
    let mut pull_secrets: Vec<Right> = Vec::new();
    // Without files there always is a client.
    if let Some(client) = client {
        for (namespace, needs) in pull_secret_needs(&client, &uses).await {
            pull_secrets.extend(needs.rights(&namespace));
            problems.extend(needs.problems);
        }
    }
    let account = Account { namespace: &args.install_namespace, name: &args.service_account };
    let base = if args.pull_secrets_only { Vec::new() } else { base };
    let notes = notes(&config.watch.pull_secrets, &problems);
    let text = manifests(account, &notes, &base, &pull_secrets);
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(CommandError::Output(error)),
        _ => {}
    }
    for problem in &problems {
        error!("{problem}");
    }
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The comments at the top.
fn notes(scope: &PullSecretScope, problems: &[String]) -> Vec<String> {
    let mut notes = vec!["The least rights of k8s-copycat for what this cluster uses now.".to_owned()];
    notes.push(match scope.is_off() {
        true => "pullSecrets is off: no right to read Secrets is needed.".to_owned(),
        false => "Print and apply them again when workloads name other pull secrets or ServiceAccounts.".to_owned(),
    });
    notes.extend(problems.iter().map(|problem| format!("INCOMPLETE: {problem}")));
    notes
}
