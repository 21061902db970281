//! Connections that end after each byte of a manifest and after many of a blob, both while they are read and while they
//! are written.

use demo::{Format, Image, Layer};

use super::{batch, case::Case, is_long};
use crate::support::{
    Access,
    faulty::{Fault, Kind},
};

/// A layer's size in bytes, at least.
const LAYER: usize = 20_000;
/// Images in one run of the program.
const AT_ONCE: usize = 100;

#[tokio::test]
async fn recovers_from_connections_cut_at_any_byte() {
    let manifest = image(0).root().bytes.len();
    let step = if is_long() { 1 } else { 9 };
    let cases: Vec<Case> = (0..=manifest)
        .step_by(step)
        .map(|place| {
            let within_blob = place * LAYER / manifest;
            Case::new(&format!("cut/at{place}"), image(place))
                .source(Kind::ManifestGet, 0, Fault::Cut(place))
                .source(Kind::BlobGet, 1, Fault::Cut(within_blob))
                .source(Kind::BlobGet, 3, Fault::CutHead(place))
                .target(Kind::UploadPut, 1, Fault::CutRequest(within_blob))
                .target(Kind::UploadPut, 2, Fault::CutHead(place))
                .target(Kind::ManifestPut, 0, Fault::CutRequest(place))
                .target(Kind::ManifestPut, 1, Fault::CutHead(place))
        })
        .collect();
    for cases in cases.chunks(AT_ONCE) {
        let batch = batch::run(Access::Anonymous, cases.to_vec()).await;
        assert!(batch.wrongs.is_empty(), "{}", batch.wrongs.join("\n"));
        for ended in batch.ended {
            assert!(ended.is_done(), "{}{}\n{:?}", ended.case, ended.line, ended.played);
            assert_eq!(ended.played.len(), 7, "{}{:?}", ended.case, ended.played);
        }
    }
}

/// One that shares nothing with others, so that all of it is sent.
fn image(number: usize) -> Image {
    let layers = [0, 1].map(|layer| Layer::random(2 * number as u64 + layer, LAYER).unwrap());
    Image::single(Format::Oci, "amd64", &layers)
}
