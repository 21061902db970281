//! The configuration file, and the variables.
#![no_main]

use std::collections::BTreeMap;

use k8s_copycat::config::fuzzing::load_text;
use libfuzzer_sys::fuzz_target;

/// The value of all passwords. Random inputs never contain it.
const SECRET: &str = "q7Xv-secret-9LkZ";

// The text after a NUL holds variables, one `NAME=value` per line.
fuzz_target!(|text: &str| {
    let (file, variables) = text.split_once('\0').unwrap_or((text, ""));
    let mut variables: BTreeMap<_, _> = variables.lines().filter_map(|line| line.split_once('=')).collect();
    for name in ["TARGET_PASSWORD", "SECRET"] {
        variables.insert(name, SECRET);
    }
    let text = match load_text(file, &|name| variables.get(name).map(|value| (*value).to_owned())) {
        Ok(loaded) => {
            let config = loaded.config;
            assert!(!config.targets.is_empty() && !config.watch.resources.is_empty());
            let copy = &config.copy;
            assert!(copy.retry_attempts > 0 && copy.max_concurrent_reconciles > 0);
            assert!(copy.max_concurrent_blobs > 0 && copy.max_connections_per_registry > 0);
            format!("{config:?} {}", loaded.warnings.join("\n"))
        }
        Err(errors) => {
            assert!(errors.iter().all(|error| !error.message.is_empty()));
            let text = errors.to_string();
            assert!(!text.is_empty(), "an error has a text");
            text
        }
    };
    assert!(!text.contains(SECRET), "{text}");
});
