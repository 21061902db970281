//! Connections that are cut after each byte of a manifest, and at many positions of a blob, while reading and writing.

use demo::{Format, Image, Layer};

use super::{batch, case::Case, is_long};
use crate::support::{
    Access,
    faulty::{Fault, RequestKind},
};

/// Size of a layer in bytes.
const LAYER: usize = 20_000;
/// Images per run of the program.
const BATCH_SIZE: usize = 100;

#[tokio::test]
async fn recovers_from_connections_cut_at_any_byte() {
    let manifest = image(0).root().bytes.len();
    let step = if is_long() { 1 } else { 9 };
    let cases: Vec<Case> = (0..=manifest)
        .step_by(step)
        .map(|position| {
            let within_blob = position * LAYER / manifest;
            Case::new(&format!("cut/at{position}"), image(position))
                .source(RequestKind::ManifestGet, 0, Fault::CutBody(position))
                .source(RequestKind::BlobGet, 1, Fault::CutBody(within_blob))
                .source(RequestKind::BlobGet, 3, Fault::CutHead(position))
                .target(RequestKind::UploadPut, 1, Fault::CutRequest(within_blob))
                .target(RequestKind::UploadPut, 2, Fault::CutHead(position))
                .target(RequestKind::ManifestPut, 0, Fault::CutRequest(position))
                .target(RequestKind::ManifestPut, 1, Fault::CutHead(position))
        })
        .collect();
    for cases in cases.chunks(BATCH_SIZE) {
        let batch = batch::run(Access::Anonymous, cases.to_vec()).await;
        assert!(batch.errors.is_empty(), "{}", batch.errors.join("\n"));
        for result in batch.results {
            assert!(result.is_success(), "{}{}\n{:?}", result.case, result.line, result.injected);
            assert_eq!(result.injected.len(), 7, "{}{:?}", result.case, result.injected);
        }
    }
}

/// Shares no blob with other images, so that all of it is uploaded.
fn image(number: usize) -> Image {
    let layers = [0, 1].map(|layer| Layer::random(2 * number as u64 + layer, LAYER).unwrap());
    Image::single(Format::Oci, "amd64", &layers)
}
