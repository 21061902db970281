//! How images are copied.

use std::time::Duration;

use super::{
    CopyConfig, Flags,
    platforms::platforms,
    reader::{Found, Reader, Section},
    scalar::{boolean, count, glob, kib, minutes, seconds, shown},
    target_name::source_host,
};

/// From four on, more are no faster.
const BLOBS_AT_ONCE: usize = 4;

/// Seldom reached by the images that are copied at once unless the user sets more of these.
const CONNECTIONS: usize = 64;

/// Bytes a second. Far less than any way has that images are copied over, far more than somebody sends who wants to keep us
/// busy.
const LEAST_TRANSFER_RATE: u64 = 4 * 1024;

pub(super) fn copy(reader: &mut Reader<'_>, root: &mut Section<'_>, flags: &Flags) -> CopyConfig {
    let cooldown = reader.setting(root, "failureCooldownMinutes", Some("FAILURE_COOLDOWN_MINUTES"), minutes);
    let force = reader.setting(root, "forceReconcileMinutes", Some("FORCE_RECONCILE_MINUTES"), minutes);
    let attempts = reader.setting(root, "registryRetryAttempts", Some("REGISTRY_RETRY_ATTEMPTS"), attempts);
    let rate = reader.setting(root, "minTransferRateKiB", Some("MIN_TRANSFER_RATE_KIB"), kib);
    let mut most = |key, variable, default| {
        reader.setting(root, key, Some(variable), count).map_or(default, |found: Found<usize>| found.value)
    };
    let images = most("maxConcurrentReconciles", "MAX_CONCURRENT_RECONCILES", 2);
    let blobs = most("maxConcurrentBlobs", "MAX_CONCURRENT_BLOBS", BLOBS_AT_ONCE);
    let connections = most("maxConnectionsPerRegistry", "MAX_CONNECTIONS_PER_REGISTRY", CONNECTIONS);
    let mut switch = |key, variable, default| {
        reader.setting(root, key, Some(variable), boolean).map_or(default, |found: Found<bool>| found.value)
    };
    let dry_run = switch("dryRun", "DRY_RUN", false);
    let dry_pull = switch("dryPull", "DRY_PULL", false);
    let digest_pull = switch("digestPull", "DIGEST_PULL", false);
    let repush = switch("allowDifferentDigestRepush", "ALLOW_DIFFERENT_DIGEST_REPUSH", true);
    CopyConfig {
        request_timeout: request_timeout(reader, root),
        least_transfer_rate: rate.map_or(Some(LEAST_TRANSFER_RATE), |found| found.value),
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
        return Err(format!("{} is no host; write host[:port], without scheme and path", shown(text)));
    }
    glob(&host)
}

fn request_timeout(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Option<Duration> {
    let keys = ["requestTimeout", "requestTimeoutSeconds"];
    let found = twice_spelt(reader, root, keys, "REGISTRY_REQUEST_TIMEOUT", seconds);
    found.unwrap_or(Some(Duration::from_secs(120)))
}

fn retry_backoff(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Duration {
    let keys = ["registryRetryBackoff", "registryRetryBackoffSeconds"];
    let found = twice_spelt(reader, root, keys, "REGISTRY_RETRY_BACKOFF", pause);
    found.unwrap_or(Duration::from_secs(10))
}

/// Two spellings in the file: the documented one, and the one that the original really reads.
fn twice_spelt<T>(
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
                reader.refuse(&other.place, format!("says the same as {key}; keep one of the two"));
            } else {
                let message = format!("accepted for the original's sake; the documented key is {key}");
                reader.warn(&other.place, message);
            }
            Some(documented.unwrap_or(other))
        }
        (documented, None) => documented,
    };
    found.map(|found| found.value)
}

/// `latest` alone where nothing is set.
fn ignored_tags(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Vec<String> {
    let lower = |text: &str| Ok(text.to_lowercase());
    let tags = reader.list_of(root, "digestPullIgnoredTags", Some("DIGEST_PULL_IGNORED_TAGS"), lower);
    if tags.is_empty() { vec!["latest".to_owned()] } else { tags }
}

fn attempts(text: &str) -> Result<u32, String> {
    count(text)?.try_into().map_err(|_| format!("{} is too much", shown(text)))
}

/// Whole seconds; 0 for none.
fn pause(text: &str) -> Result<Duration, String> {
    match text.trim().parse::<u32>() {
        Ok(seconds) => Ok(Duration::from_secs(seconds.into())),
        Err(_) => Err(format!("{} is no number of seconds; write 0 or more", shown(text))),
    }
}
