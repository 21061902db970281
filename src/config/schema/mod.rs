//! The JSON schema of the configuration file, for editors. Words and bounds are those of the readers; a test compares the
//! keys, types and defaults with what the readers do.

mod keys;
mod targets;

use serde_json::{Value as Json, json};

use keys::{
    Key, boolean, count, hours, integer, key, list_of_words, quantity, section, section_with, sections, text, texts,
    words,
};
use targets::{docker, ecr, further_sources, layout, targets};

use super::{
    copy::{DEFAULT_BLOBS, DEFAULT_CONNECTIONS, DEFAULT_MIN_TRANSFER_RATE},
    plugin::ON_FAILURE,
    process::AUTHORIZATIONS,
    pull_secrets,
    referrers::DEFAULT_RECHECK_MINUTES,
    target::KINDS,
    value::{LEVELS, MAX_KIB, MAX_SECONDS},
    verification::{DEFAULT_HOURS, DEFAULT_REQUESTS_PER_MINUTE},
    watch::SKIP_NAMES,
};
use crate::model::{Hook, ReferrerScope, WorkloadKind};

/// As JSON Schema 2020-12. A key without a value (`null`) counts as absent, so each value may be null.
pub fn schema() -> Json {
    let mut schema = section(root());
    let meta = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "k8s-copycat configuration",
        "description": "The configuration file of k8s-copycat (docs/configuration.md). Flags and environment variables take \
                        precedence over it.",
        "$defs": {
            "boolean": {
                "anyOf": [
                    { "type": ["boolean", "null"] },
                    { "enum": [0, 1] },
                    { "type": "string", "pattern": BOOLEAN_TEXT },
                ],
            },
            "text": { "type": ["string", "number", "boolean", "null"] },
            "texts": { "type": ["array", "null"], "items": { "$ref": "#/$defs/text" } },
        },
    });
    if let (Json::Object(schema), Json::Object(meta)) = (&mut schema, meta) {
        schema.extend(meta);
    }
    schema
}

/// YAML 1.2 takes `yes` for a string; the program takes it for a boolean.
const BOOLEAN_TEXT: &str = "^\\s*([01]|[Tt]|[Tt][Rr][Uu][Ee]|[Yy]|[Yy][Ee][Ss]|[Oo][Nn]|[Ff]|[Ff][Aa][Ll][Ss][Ee]|[Nn]|\
                            [Nn][Oo]|[Oo][Ff][Ff])?\\s*$";

fn root() -> Vec<Key> {
    let kinds = WorkloadKind::ALL.map(WorkloadKind::plural);
    let skip_names = SKIP_NAMES.map(|(kind, name, variable)| {
        key(name, texts(), format!("{}s to skip: `name`, `namespace/name`, or `*`.", kind.name())).variable(variable)
    });
    let path_map = vec![
        key("from", text(), "A path prefix, or a regular expression."),
        key("to", text(), "What replaces it; in a regular expression `$1` is the first group."),
        key("regex", boolean(), "Whether `from` is a regular expression.").default(false),
    ];
    let mut keys = vec![
        key("targetKind", words(&KINDS), "The kind of the target: Amazon ECR, any OCI registry, or a folder.")
            .variable("TARGET_KIND")
            .default("ecr"),
        key("repoPrefix", text(), format!("The repository prefix of the chosen target. {TOKENS}")),
        key("docker", section(docker(true)), "The target, if `targetKind` is `docker`."),
        key("ecr", section(ecr(true)), "The target, if `targetKind` is `ecr`."),
        key("ociLayout", section(layout(true)), "The target, if `targetKind` is `oci-layout`."),
        key("targets", targets(), "Several targets, instead of `targetKind` and the sections of single targets."),
        key("sources", further_sources(), "Where images may be had when their registries can't give them; asked in this order."),
        key("includeNamespaces", texts(), "Namespaces whose workloads are mirrored: names and shell globs.")
            .variable("INCLUDE_NAMESPACES")
            .default(json!(["*"])),
        key("skipNamespaces", texts(), "Namespaces to skip, by exact name; takes precedence over `includeNamespaces`.")
            .variable("SKIP_NAMESPACES"),
        key("skipNames", section(skip_names.into()), "Workloads to skip."),
        key("watchResources", list_of_words(&kinds), "The kinds of workloads that are mirrored.")
            .variable("WATCH_RESOURCES")
            .default(json!(kinds)),
        key(
            "pullSecrets",
            pull_secrets(),
            "Whose pull secrets open source images: nobody's, or those of all or some namespaces. They are tried before the \
             configured credentials.",
        )
        .variable("PULL_SECRETS")
        .default("off"),
        key("excludeRegistries", texts(), "Prefixes of image references to skip.").variable("EXCLUDE_REGISTRIES"),
        key("pathMap", sections(path_map, &[]), "Rules that change repository paths; the first that matches applies."),
        key("defaultPlugins", list_of_words(&Hook::ALL.map(Hook::name)), "The built-in policies to use; [] for none.")
            .default(json!(Hook::ALL.map(Hook::name))),
        key("pluginDir", text(), "Every *.wasm and *.wasm.gz in this folder is a plugin.")
            .variable("PLUGIN_DIR")
            .default("/plugins"),
        key("plugins", plugins(), "Plugins, called in this order before those in `pluginDir`."),
        key("registryCredentials", credentials(), "Logins at source registries."),
        key("dockerConfigFile", text(), "A file with logins as `docker login` writes it, for registries without a login of their \
             own; read again when it changes.")
        .variable("DOCKER_CONFIG_FILE"),
        key("registries", registries(), "Connection settings of single registries, sources and targets alike."),
        key("logLevel", words(&LEVELS), "The minimum level of log lines.").default("info"),
        key(
            "operationsAuthorization",
            words(&AUTHORIZATIONS),
            "Who may call /force-reconcile and /reset-cooldown: everybody, or those whose bearer token the API server knows \
             and whom RBAC allows the path.",
        )
        .variable("OPERATIONS_AUTHORIZATION")
        .default("none"),
    ];
    keys.extend(copy());
    keys
}

fn pull_secrets() -> Json {
    let namespaces = key("namespaces", texts(), "The exact names of the namespaces.");
    let mut some = section_with(vec![namespaces], &["namespaces"]);
    if let Some(kind) = some.get_mut("type") {
        *kind = "object".into();
    }
    let mut word = words(&pull_secrets::WORDS);
    // `off` in YAML 1.1.
    if let Some(Json::Array(words)) = word.get_mut("enum") {
        words.push(false.into());
    }
    json!({ "anyOf": [word, some] })
}

const TOKENS: &str =
    "It precedes the repository path and may contain $namespace, $podname, $container_name and $registry.";

fn copy() -> Vec<Key> {
    let minutes = || integer(None, Some(MAX_SECONDS / 60));
    let timeout = || integer(None, Some(MAX_SECONDS));
    let backoff = || integer(Some(0), Some(u32::MAX.into()));
    let alias = |name, schema, of: &str| key(name, schema, format!("Use {of}.")).with("deprecated", true);
    let rate = i64::try_from(DEFAULT_MIN_TRANSFER_RATE / 1024).unwrap_or_default();
    vec![
        key("dryRun", boolean(), "Do everything except writing to a target.").variable("DRY_RUN").default(false),
        key("dryPull", boolean(), "Contact no registry.").variable("DRY_PULL").default(false),
        key("digestPull", boolean(), "Resolve a tag to a digest first, and pull by digest.")
            .variable("DIGEST_PULL")
            .default(false),
        key("digestPullIgnoredTags", texts(), "Tags, in any case, to which `digestPull` does not apply.")
            .variable("DIGEST_PULL_IGNORED_TAGS")
            .default(json!(["latest"])),
        key(
            "mirrorPlatforms",
            texts(),
            "With `digestPull`: the platforms to copy, such as arm64 or linux/arm/v7, or all.",
        )
        .variable("MIRROR_PLATFORMS"),
        key(
            "checkNodePlatform",
            boolean(),
            "With `digestPull`: copy the platforms of the nodes that may run an image.",
        )
        .variable("CHECK_NODE_PLATFORM")
        .default(false),
        key(
            "ignoreMissingPlatforms",
            texts(),
            "Regular expressions for `IMAGE|PLATFORM`: a match suppresses the warning that the platform is missing.",
        )
        .variable("IGNORE_MISSING_PLATFORMS"),
        key(
            "allowDifferentDigestRepush",
            boolean(),
            "Whether a tag at the target may move to another digest; `latest` always may.",
        )
        .variable("ALLOW_DIFFERENT_DIGEST_REPUSH")
        .default(true),
        key("requestTimeout", timeout(), "Seconds for a request or a stalled transfer; 0 or less: no limit.")
            .variable("REGISTRY_REQUEST_TIMEOUT")
            .default(120),
        alias("requestTimeoutSeconds", timeout(), "requestTimeout"),
        key("minTransferRateKiB", integer(None, Some(MAX_KIB)), "Minimum transfer rate in KiB/s; 0 or less: no limit.")
            .variable("MIN_TRANSFER_RATE_KIB")
            .default(rate),
        key("registryRetryAttempts", count(), "Attempts for a request that fails temporarily.")
            .variable("REGISTRY_RETRY_ATTEMPTS")
            .default(5),
        key("registryRetryBackoff", backoff(), "Maximum backoff between attempts, in seconds.")
            .variable("REGISTRY_RETRY_BACKOFF")
            .default(10),
        alias("registryRetryBackoffSeconds", backoff(), "registryRetryBackoff"),
        key("failureCooldownMinutes", minutes(), "Maximum cooldown of a failed image; 0 or less: no cooldown.")
            .variable("FAILURE_COOLDOWN_MINUTES")
            .default(1440),
        key("forceReconcileMinutes", minutes(), "Interval between passes over all workloads; 0 or less: never.")
            .variable("FORCE_RECONCILE_MINUTES")
            .default(0),
        key("maxConcurrentReconciles", count(), "Concurrent copies for each watched kind of workload.")
            .variable("MAX_CONCURRENT_RECONCILES")
            .default(2),
        key("maxConcurrentBlobs", count(), "Concurrent blob transfers for each image.")
            .variable("MAX_CONCURRENT_BLOBS")
            .default(DEFAULT_BLOBS),
        key("maxConnectionsPerRegistry", count(), "Concurrent requests to one registry, all images together.")
            .variable("MAX_CONNECTIONS_PER_REGISTRY")
            .default(DEFAULT_CONNECTIONS),
        key(
            "referrers",
            words(&ReferrerScope::WORDS),
            "What is copied beside images: none, signatures and attestations, or all referrers, such as SBOMs.",
        )
        .variable("REFERRERS")
        .default("signatures"),
        key("referrerTypes", texts(), "Globs of the artifact types that are copied; empty: all of `referrers`.")
            .variable("REFERRER_TYPES"),
        key(
            "referrersRecheckMinutes",
            minutes(),
            "Interval between looks for new referrers of an image that is mirrored; 0 or less: never.",
        )
        .variable("REFERRERS_RECHECK_MINUTES")
        .default(DEFAULT_RECHECK_MINUTES),
        key("referrersRequired", boolean(), "Fail an image, and do not move its tag, if a referrer can't be copied.")
            .variable("REFERRERS_REQUIRED")
            .default(false),
        key(
            "verifyHours",
            hours(),
            "Every mirrored image is verified once in so many hours: each manifest and blob at its target, and its tag at the \
             source; 0 or less: never.",
        )
        .variable("VERIFY_HOURS")
        .default(DEFAULT_HOURS),
        key("verifyRequestsPerMinute", count(), "Requests that these verifications send to each target at most; repeated ones do not count.")
            .variable("VERIFY_REQUESTS_PER_MINUTE")
            .default(DEFAULT_REQUESTS_PER_MINUTE),
        key(
            "insecureRegistries",
            texts(),
            "Source registries (host[:port]) with plain HTTP or unverified certificates.",
        )
        .variable("INSECURE_REGISTRIES"),
        key(
            "privateRedirects",
            texts(),
            "Hosts (host[:port], shell globs allowed) with private addresses that public registries may redirect to.",
        )
        .variable("PRIVATE_REDIRECTS"),
    ]
}

fn plugins() -> Json {
    let entry = vec![
        key("module", text(), "The file, plain or compressed with gzip; relative paths start at `pluginDir`."),
        key("oci", text(), "A reference with a digest, as `k8s-copycat plugin push` prints it; instead of `module`."),
        key("name", text(), "The name in logs and metrics; by default that of the file or the repository."),
        key("config", json!({}), "Passed to the plugin as JSON."),
        key("onFailure", words(&ON_FAILURE), "Whether a failing plugin fails the image, or the next plugin is asked.")
            .default("fail"),
        key("timeout", quantity("500ms"), "Deadline of a call, from 1ms to 10m; 1s by default."),
        key("configureTimeout", quantity("10s"), "Deadline for starting and configuring an instance; 5s by default."),
        key("memory", quantity("128Mi"), "Memory of an instance, from 64Ki to 4Gi; 64Mi by default."),
        key("instances", count(), "Maximum concurrent instances; by default the number of processors."),
        key("moduleSize", quantity("128Mi"), "Maximum size of the module, uncompressed; 64Mi by default."),
        key("output", quantity("1Mi"), "Maximum size of one answer or log message; 1Mi by default."),
        key("logLines", integer(Some(0), Some(u32::MAX.into())), "Log lines per second; 20 by default."),
    ];
    sections(entry, &[])
}

fn credentials() -> Json {
    let entry = vec![
        key("registry", text(), "The registry: host[:port], or a shell glob."),
        key("registryAliases", texts(), "Further names or globs of the same registry."),
        key("username", text(), "The user name; with the user `<token>` the password is an identity token."),
        key("usernameEnv", text(), "The name of the environment variable that has the user name."),
        key(
            "usernameFile",
            text(),
            "A file with the user name, read again when it changes; `usernameEnv` takes precedence.",
        ),
        key("password", text(), "The password."),
        key("passwordEnv", text(), "The name of the environment variable that has the password."),
        key(
            "passwordFile",
            text(),
            "A file with the password, read again when it changes; `passwordEnv` takes precedence.",
        ),
        key("token", text(), "A token that is sent unchanged; takes precedence over user name and password."),
        key("tokenEnv", text(), "The name of the environment variable that has the token."),
        key("tokenFile", text(), "A file with the token, read again when it changes; `tokenEnv` takes precedence."),
    ];
    sections(entry, &[])
}

fn registries() -> Json {
    let entry = vec![
        key("registry", text(), "The registry: host[:port], or a shell glob."),
        key("plainHTTP", boolean(), "Use plain HTTP without trying TLS.").default(false),
        key("skipVerify", boolean(), "Do not verify certificates.").default(false),
        key("caFile", text(), "A PEM file with additional trusted certificate authorities."),
        key("clientCertFile", text(), "A PEM file with the client certificate and its chain; needs `clientKeyFile`."),
        key("clientKeyFile", text(), "A PEM file with the key of the client certificate, without a passphrase."),
        key("connections", count(), "Maximum concurrent requests to this registry."),
    ];
    sections(entry, &["registry"])
}
