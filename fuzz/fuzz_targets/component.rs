//! Loads a plugin's file and calls it once. libFuzzer limits time and memory: `-timeout` and `-rss_limit_mb`, which
//! `make fuzz` sets.
#![no_main]

use std::sync::LazyLock;

use k8s_copycat::policy::fuzzing::{LoadOutcome, Loader};
use libfuzzer_sys::fuzz_target;

/// In bytes.
const MAX_MESSAGE: usize = 1500;

static LOADER: LazyLock<Loader> = LazyLock::new(|| Loader::new().unwrap());

fuzz_target!(|bytes: &[u8]| {
    let message = match LOADER.load(bytes) {
        LoadOutcome::Rejected(error) => error.to_string(),
        LoadOutcome::Failed(error) => error.to_string(),
        LoadOutcome::Answered => return,
    };
    assert!(!message.is_empty() && message.len() < MAX_MESSAGE, "{message}");
    assert_eq!(message.lines().count(), 1, "{message}");
});
