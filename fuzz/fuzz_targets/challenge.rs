//! `WWW-Authenticate`, from registries.
#![no_main]

use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};
use k8s_copycat::registry::fuzzing::challenges;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok());
    let headers: HeaderMap = lines.fold(HeaderMap::new(), |mut headers, line| {
        headers.append(WWW_AUTHENTICATE, line);
        headers
    });
    let found = challenges(&headers);
    assert!(found.len() <= bytes.len());
    // Parsing the canonical form of the challenges gives the same challenges.
    let headers: Vec<_> = found.iter().map(to_header).collect();
    let line = HeaderValue::from_str(&headers.join(", ")).expect("a header value");
    assert_eq!(challenges(&HeaderMap::from_iter([(WWW_AUTHENTICATE, line)])), found);
});

fn to_header(challenge: &Option<(String, Option<String>)>) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    match challenge {
        None => "Basic".to_owned(),
        Some((realm, None)) => format!("Bearer realm={}", quoted(realm)),
        Some((realm, Some(service))) => format!("Bearer realm={},service={}", quoted(realm), quoted(service)),
    }
}
