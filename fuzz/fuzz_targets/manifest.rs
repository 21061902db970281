//! Manifests and indexes, from registries.
#![no_main]

use bytes::Bytes;
use k8s_copycat::{
    model::Digest,
    registry::{Contents, Manifest},
};
use libfuzzer_sys::fuzz_target;

// The text before the first line break is the `Content-Type`.
fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (content_type, json) = bytes.split_at(end);
    let content_type = std::str::from_utf8(content_type).ok().filter(|text| !text.is_empty());
    let Ok(manifest) = Manifest::new(Bytes::copy_from_slice(json), content_type) else { return };
    assert_eq!(manifest.bytes(), json, "not a byte is changed");
    assert_eq!(*manifest.digest(), Digest::sha256(json));
    assert_eq!(manifest.descriptor().size, json.len() as u64);
    manifest.has_subject();
    let Ok(contents) = manifest.contents() else { return };
    let descriptors = match contents {
        Contents::Image { blobs } => {
            assert!(!blobs.is_empty(), "an image has a config");
            blobs
        }
        Contents::Index { manifests } => manifests,
    };
    for descriptor in descriptors {
        assert_eq!(descriptor.digest.to_string().parse().as_ref(), Ok(&descriptor.digest));
        assert!(descriptor.digest.hex().bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    }
});
