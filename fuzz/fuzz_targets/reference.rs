//! Image references, from Pod specs.
#![no_main]

use k8s_copycat::model::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(reference) = text.parse::<Reference>() else { return };
    let printed = reference.to_string();
    assert_eq!(printed.parse().as_ref(), Ok(&reference), "printed as {printed:?}");
    assert!(Reference::check_repository(reference.repository()).is_ok());
    assert!(reference.tag().is_some() || reference.digest().is_some());
    assert!(printed.bytes().all(|byte| byte.is_ascii_graphic()), "no character of it has a meaning in a log");
    if let Some(digest) = reference.digest() {
        let at = reference.at(digest.clone());
        assert_eq!(at.to_string().parse(), Ok(at), "by its digest alone");
    }
});
