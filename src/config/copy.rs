//! How images are copied.

use std::time::Duration;

use super::{
    CopyConfig, Flags,
    reader::{Found, Reader, Section},
    scalar::{boolean, count, minutes, seconds},
    target_name::source_host,
};

pub(super) fn copy(reader: &mut Reader<'_>, root: &mut Section<'_>, flags: &Flags) -> CopyConfig {
    let cooldown = reader.setting(root, "failureCooldownMinutes", Some("FAILURE_COOLDOWN_MINUTES"), minutes);
    let force = reader.setting(root, "forceReconcileMinutes", Some("FORCE_RECONCILE_MINUTES"), minutes);
    let most = reader.setting(root, "maxConcurrentReconciles", Some("MAX_CONCURRENT_RECONCILES"), count);
    let mut switch = |key, variable, default| {
        reader.setting(root, key, Some(variable), boolean).map_or(default, |found: Found<bool>| found.value)
    };
    let dry_run = switch("dryRun", "DRY_RUN", false);
    let dry_pull = switch("dryPull", "DRY_PULL", false);
    let digest_pull = switch("digestPull", "DIGEST_PULL", false);
    let repush = switch("allowDifferentDigestRepush", "ALLOW_DIFFERENT_DIGEST_REPUSH", true);
    CopyConfig {
        request_timeout: request_timeout(reader, root),
        failure_cooldown: cooldown.map_or(Some(Duration::from_secs(1440 * 60)), |found| found.value),
        force_reconcile: force.and_then(|found| found.value),
        max_concurrent_reconciles: most.map_or(2, |found| found.value),
        digest_pull,
        allow_different_digest_repush: repush,
        dry_run: flags.dry_run.unwrap_or(dry_run),
        dry_pull: flags.dry_pull.unwrap_or(dry_pull),
        insecure_registries: reader.list_of(root, "insecureRegistries", Some("INSECURE_REGISTRIES"), source_host),
    }
}

/// Two spellings in the file: the documented one, and the one that the original really reads.
fn request_timeout(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Option<Duration> {
    let documented = reader.setting(root, "requestTimeout", Some("REGISTRY_REQUEST_TIMEOUT"), seconds);
    let alias = reader.setting(root, "requestTimeoutSeconds", None, seconds);
    let both = root.node("requestTimeout").is_some();
    let found = match (documented, alias) {
        (documented, Some(alias)) => {
            if both {
                reader.refuse(&alias.place, "says the same as requestTimeout; keep one of the two");
            } else {
                reader.warn(&alias.place, "accepted for the original's sake; the documented key is requestTimeout");
            }
            Some(documented.unwrap_or(alias))
        }
        (documented, None) => documented,
    };
    found.map_or(Some(Duration::from_secs(120)), |found| found.value)
}
