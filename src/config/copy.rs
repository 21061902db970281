//! Settings for copying images.

use std::time::Duration;

use super::{
    CopyConfig, Flags,
    platforms::platforms,
    reader::{Reader, Section, Spanned},
    referrers::referrers,
    registry_name::source_host,
    value::{boolean, count, glob, kib, minutes, quoted, seconds},
    verification::verification,
};

/// More than four are no faster.
pub(super) const DEFAULT_BLOBS: usize = 4;

/// Rarely reached with the default number of concurrent images.
pub(super) const DEFAULT_CONNECTIONS: usize = 64;

/// In bytes per second. Far below any usable connection, far above a slow-drip attack.
pub(super) const DEFAULT_MIN_TRANSFER_RATE: u64 = 4 * 1024;

pub(super) fn copy(reader: &mut Reader<'_>, root: &mut Section<'_>, flags: &Flags) -> CopyConfig {
    let cooldown = reader.setting(root, "failureCooldownMinutes", Some("FAILURE_COOLDOWN_MINUTES"), minutes);
    let force = reader.setting(root, "forceReconcileMinutes", Some("FORCE_RECONCILE_MINUTES"), minutes);
    let attempts = reader.setting(root, "registryRetryAttempts", Some("REGISTRY_RETRY_ATTEMPTS"), attempts);
    let rate = reader.setting(root, "minTransferRateKiB", Some("MIN_TRANSFER_RATE_KIB"), kib);
    let mut limit = |key, variable, default| {
        reader.setting(root, key, Some(variable), count).map_or(default, |found: Spanned<usize>| found.value)
    };
    let images = limit("maxConcurrentReconciles", "MAX_CONCURRENT_RECONCILES", 2);
    let blobs = limit("maxConcurrentBlobs", "MAX_CONCURRENT_BLOBS", DEFAULT_BLOBS);
    let connections = limit("maxConnectionsPerRegistry", "MAX_CONNECTIONS_PER_REGISTRY", DEFAULT_CONNECTIONS);
    let mut switch = |key, variable, default| {
        reader.setting(root, key, Some(variable), boolean).map_or(default, |found: Spanned<bool>| found.value)
    };
    let dry_run = switch("dryRun", "DRY_RUN", false);
    let dry_pull = switch("dryPull", "DRY_PULL", false);
    let digest_pull = switch("digestPull", "DIGEST_PULL", false);
    let repush = switch("allowDifferentDigestRepush", "ALLOW_DIFFERENT_DIGEST_REPUSH", true);
    CopyConfig {
        request_timeout: request_timeout(reader, root),
        min_transfer_rate: rate.map_or(Some(DEFAULT_MIN_TRANSFER_RATE), |found| found.value),
        private_redirects: reader.list_of(root, "privateRedirects", Some("PRIVATE_REDIRECTS"), redirect_host),
        retry_attempts: attempts.map_or(5, |found| found.value),
        retry_backoff: retry_backoff(reader, root),
        failure_cooldown: cooldown.map_or(Some(Duration::from_secs(1440 * 60)), |found| found.value),
        force_reconcile: force.and_then(|found| found.value),
        max_concurrent_reconciles: images,
        max_concurrent_blobs: blobs,
        max_connections_per_registry: connections,
        digest_pull,
        digest_pull_ignored_tags: ignored_tags(reader, root),
        platforms: platforms(reader, root, digest_pull),
        referrers: referrers(reader, root),
        verification: verification(reader, root),
        allow_different_digest_repush: repush,
        dry_run: flags.dry_run.unwrap_or(dry_run),
        dry_pull: flags.dry_pull.unwrap_or(dry_pull),
        insecure_registries: reader.list_of(root, "insecureRegistries", Some("INSECURE_REGISTRIES"), source_host),
    }
}

/// `host[:port]`, globs allowed.
fn redirect_host(text: &str) -> Result<String, String> {
    let host = text.trim().to_ascii_lowercase();
    if host.is_empty() || host.contains(['/', '@']) {
        return Err(format!("{} is not a host; write host[:port] without scheme and path", quoted(text)));
    }
    glob(&host)
}

fn request_timeout(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Option<Duration> {
    let keys = ["requestTimeout", "requestTimeoutSeconds"];
    let found = with_alias(reader, root, keys, "REGISTRY_REQUEST_TIMEOUT", seconds);
    found.unwrap_or(Some(Duration::from_secs(120)))
}

fn retry_backoff(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Duration {
    let keys = ["registryRetryBackoff", "registryRetryBackoffSeconds"];
    let found = with_alias(reader, root, keys, "REGISTRY_RETRY_BACKOFF", backoff);
    found.unwrap_or(Duration::from_secs(10))
}

/// A setting with two keys: the documented one, and the one that the original program actually reads.
fn with_alias<T>(
    reader: &mut Reader<'_>,
    root: &mut Section<'_>,
    [key, alias]: [&'static str; 2],
    variable: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Option<T> {
    let documented = reader.setting(root, key, Some(variable), &parse);
    let other = reader.setting(root, alias, None, &parse);
    let both = root.node(key).is_some();
    let found = match (documented, other) {
        (documented, Some(other)) => {
            if both {
                reader.reject(&other.location, format!("means the same as {key}; keep one of the two"));
            } else {
                let message = format!("accepted for compatibility; the documented key is {key}");
                reader.warn(&other.location, message);
            }
            Some(documented.unwrap_or(other))
        }
        (documented, None) => documented,
    };
    found.map(|found| found.value)
}

/// `latest` by default.
fn ignored_tags(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Vec<String> {
    let lower = |text: &str| Ok(text.to_lowercase());
    let tags = reader.list_of(root, "digestPullIgnoredTags", Some("DIGEST_PULL_IGNORED_TAGS"), lower);
    if tags.is_empty() { vec!["latest".to_owned()] } else { tags }
}

fn attempts(text: &str) -> Result<u32, String> {
    count(text)?.try_into().map_err(|_| format!("{} is too large", quoted(text)))
}

/// Whole seconds, 0 or more.
fn backoff(text: &str) -> Result<Duration, String> {
    match text.trim().parse::<u32>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds.into())),
        Err(_) => Err(format!("{} is not a number of seconds; write 0 or more", quoted(text))),
    }
}
