//! How often what is asked of a private registry: below what AWS allows an account in a region.

use std::sync::Arc;

use http::Method;

use crate::registry::limits::pace::Pace;

/// Calls a second, from "Amazon ECR service quotas". A blob in one request is an UploadLayerPart (500) and a
/// CompleteLayerUpload.
const BATCH_GET_IMAGE: f64 = 2000.0;
const PUT_IMAGE: f64 = 10.0;
const BATCH_CHECK_LAYER_AVAILABILITY: f64 = 1000.0;
const GET_DOWNLOAD_URL_FOR_LAYER: f64 = 3000.0;
const INITIATE_LAYER_UPLOAD: f64 = 100.0;
const COMPLETE_LAYER_UPLOAD: f64 = 100.0;

/// The budgets of the registry of one account and region.
pub(in crate::registry) struct Budgets {
    read_manifest: Arc<Pace>,
    write_manifest: Arc<Pace>,
    check_blob: Arc<Pace>,
    read_blob: Arc<Pace>,
    start_upload: Arc<Pace>,
    upload: Arc<Pace>,
}

impl Default for Budgets {
    fn default() -> Self {
        let allowed = |each_second| Arc::new(Pace::below(each_second));
        Self {
            read_manifest: allowed(BATCH_GET_IMAGE),
            write_manifest: allowed(PUT_IMAGE),
            check_blob: allowed(BATCH_CHECK_LAYER_AVAILABILITY),
            read_blob: allowed(GET_DOWNLOAD_URL_FOR_LAYER),
            start_upload: allowed(INITIATE_LAYER_UPLOAD),
            upload: allowed(COMPLETE_LAYER_UPLOAD),
        }
    }
}

impl Budgets {
    /// Ends all pauses.
    pub fn resume(&self) {
        let Self { read_manifest, write_manifest, check_blob, read_blob, start_upload, upload } = self;
        for pace in [read_manifest, write_manifest, check_blob, read_blob, start_upload, upload] {
            pace.resume();
        }
    }

    /// What a request counts against.
    pub fn of(&self, method: &Method, path: &str) -> Option<&Arc<Pace>> {
        let reads = *method == Method::GET || *method == Method::HEAD;
        if path.contains("/manifests/") {
            Some(if reads { &self.read_manifest } else { &self.write_manifest })
        } else if *method == Method::POST {
            Some(&self.start_upload)
        } else if path.contains("/blobs/uploads/") || *method == Method::PUT {
            Some(&self.upload)
        } else if path.contains("/blobs/") {
            Some(if *method == Method::HEAD { &self.check_blob } else { &self.read_blob })
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_known_by_what_they_do() {
        let budgets = Budgets::default();
        for (method, path, budget) in [
            (Method::GET, "/v2/a/manifests/1", &budgets.read_manifest),
            (Method::HEAD, "/v2/a/manifests/1", &budgets.read_manifest),
            (Method::PUT, "/v2/a/manifests/1", &budgets.write_manifest),
            (Method::HEAD, "/v2/a/blobs/sha256:0", &budgets.check_blob),
            (Method::GET, "/v2/a/blobs/sha256:0", &budgets.read_blob),
            (Method::POST, "/v2/a/blobs/uploads/", &budgets.start_upload),
            (Method::PUT, "/v2/a/blobs/uploads/7", &budgets.upload),
            (Method::PUT, "/upload/7", &budgets.upload),
        ] {
            let found = budgets.of(&method, path).unwrap();
            assert!(Arc::ptr_eq(found, budget), "{method} {path}");
        }
        assert!(budgets.of(&Method::GET, "/v2/").is_none());
    }
}
