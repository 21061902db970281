//! A plugin's file, from the first look at it to its first answer. That it ends in time, and with how much memory, is
//! libFuzzer's to watch: `-timeout` and `-rss_limit_mb`, which `make fuzz` sets.
#![no_main]

use std::sync::LazyLock;

use k8s_copycat::policy::fuzzing::{Loader, Reached};
use libfuzzer_sys::fuzz_target;

/// As long as a line of the log may be.
const LONGEST_FAULT: usize = 1500;

static LOADER: LazyLock<Loader> = LazyLock::new(|| Loader::new().unwrap());

fuzz_target!(|bytes: &[u8]| {
    let told = match LOADER.load(bytes) {
        Reached::Refused(fault) => fault.to_string(),
        Reached::Failed(error) => error.to_string(),
        Reached::Answered => return,
    };
    assert!(!told.is_empty() && told.len() < LONGEST_FAULT, "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
});
