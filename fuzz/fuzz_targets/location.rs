//! `Location`, from registries and from redirect targets.
#![no_main]

use http::{HeaderMap, HeaderValue, header::LOCATION};
use k8s_copycat::registry::fuzzing::location;
use libfuzzer_sys::fuzz_target;
use url::{Host, Url};

const FROM: [&str; 4] =
    ["https://r.example/v2/a", "https://r.example:444/v2/a?b=c", "http://127.0.0.1:5000/v2/a", "http://r.example/v2/a"];

// The first byte chooses the URL of the response.
fuzz_target!(|bytes: &[u8]| {
    let Some((choice, text)) = bytes.split_first() else { return };
    let Ok(header) = HeaderValue::from_bytes(text) else { return };
    let from = Url::parse(FROM[usize::from(*choice) % FROM.len()]).expect("a URL");
    let headers = HeaderMap::from_iter([(LOCATION, header)]);
    let Some(to) = location(&from, &headers) else { return };
    assert!(to.username().is_empty() && to.password().is_none(), "no credentials are taken over: {to}");
    assert!(to.host().is_some_and(|host| host != Host::Domain("")), "{to}");
    match to.scheme() {
        "https" => {}
        "http" => assert!(from.scheme() == "http", "{from} redirected to {to}"),
        _ => panic!("{from} redirected to {to}"),
    }
    if !text.iter().any(|byte| b":/\\".contains(byte)) {
        assert_eq!(from.origin(), to.origin(), "a location without a host keeps the origin");
    }
});
