//! Pull secrets, from whoever may write to a namespace.
#![no_main]

use k8s_copycat::{model::Reference, workload::fuzzing::logins};
use libfuzzer_sys::fuzz_target;

// The first line has the image, the rest is the content of the secret.
fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.splitn(2, |byte| *byte == b'\n');
    let (Some(image), Some(content)) = (lines.next(), lines.next()) else { return };
    let Some(image) = std::str::from_utf8(image).ok().and_then(|image| image.parse::<Reference>().ok()) else { return };
    for is_legacy in [false, true] {
        let (found, text) = logins(content, is_legacy, &image);
        assert!(found <= 1000, "{found}");
        assert!(text.len() <= 10_000 + 10 * content.len(), "{}", text.len());
    }
    // A key that is the image's registry matches, except for a bare IPv6 address, which the kubelet takes for a pattern.
    let host = image.registry();
    let own = format!(r#"{{ "auths": {{ "https://{host}": {{ "username": "u", "password": "p" }} }} }}"#);
    let (found, text) = logins(own.as_bytes(), false, &image);
    assert_eq!(found, usize::from(!host.ends_with(']')), "{host}: {text}");
});
