//! The configuration file, and the variables.
#![no_main]

use std::collections::BTreeMap;

use k8s_copycat::config::fuzzing::load_text;
use libfuzzer_sys::fuzz_target;

/// Stands for a password wherever one may come from. Nothing that is made by chance is like it.
const SECRET: &str = "q7Xv-secret-9LkZ";

// Behind a NUL stand variables, each a line: `NAME=value`.
fuzz_target!(|text: &str| {
    let (file, variables) = text.split_once('\0').unwrap_or((text, ""));
    let mut variables: BTreeMap<_, _> = variables.lines().filter_map(|line| line.split_once('=')).collect();
    for name in ["TARGET_PASSWORD", "SECRET"] {
        variables.insert(name, SECRET);
    }
    let told = match load_text(file, &|name| variables.get(name).map(|value| (*value).to_owned())) {
        Ok(loaded) => {
            let config = loaded.config;
            assert!(!config.targets.is_empty() && !config.watch.resources.is_empty());
            let copy = &config.copy;
            assert!(copy.retry_attempts > 0 && copy.max_concurrent_reconciles > 0);
            assert!(copy.max_concurrent_blobs > 0 && copy.max_connections_per_registry > 0);
            format!("{config:?} {}", loaded.warnings.join("\n"))
        }
        Err(mistakes) => {
            assert!(mistakes.iter().all(|mistake| !mistake.message.is_empty()));
            let told = mistakes.to_string();
            assert!(!told.is_empty(), "what is refused is told");
            told
        }
    };
    assert!(!told.contains(SECRET), "{told}");
});
