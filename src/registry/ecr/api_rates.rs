//! The API rates of a private registry: requests stay below what AWS allows an account in a region.

use std::sync::Arc;

use http::Method;

use crate::registry::limits::rate_limiter::RateLimiter;

/// Calls per second, from "Amazon ECR service quotas". A blob uploaded in one request counts as an UploadLayerPart (500)
/// and a CompleteLayerUpload.
const BATCH_GET_IMAGE: f64 = 2000.0;
const PUT_IMAGE: f64 = 10.0;
const BATCH_CHECK_LAYER_AVAILABILITY: f64 = 1000.0;
const GET_DOWNLOAD_URL_FOR_LAYER: f64 = 3000.0;
const INITIATE_LAYER_UPLOAD: f64 = 100.0;
const COMPLETE_LAYER_UPLOAD: f64 = 100.0;

/// The API rates of one account and region.
pub(in crate::registry) struct EcrApiRates {
    read_manifest: Arc<RateLimiter>,
    write_manifest: Arc<RateLimiter>,
    check_blob: Arc<RateLimiter>,
    read_blob: Arc<RateLimiter>,
    start_upload: Arc<RateLimiter>,
    upload: Arc<RateLimiter>,
}

impl Default for EcrApiRates {
    fn default() -> Self {
        let quota = |per_second| Arc::new(RateLimiter::with_quota(per_second));
        Self {
            read_manifest: quota(BATCH_GET_IMAGE),
            write_manifest: quota(PUT_IMAGE),
            check_blob: quota(BATCH_CHECK_LAYER_AVAILABILITY),
            read_blob: quota(GET_DOWNLOAD_URL_FOR_LAYER),
            start_upload: quota(INITIATE_LAYER_UPLOAD),
            upload: quota(COMPLETE_LAYER_UPLOAD),
        }
    }
}

impl EcrApiRates {
    /// Ends all pauses.
    pub fn resume(&self) {
        let Self { read_manifest, write_manifest, check_blob, read_blob, start_upload, upload } = self;
        for rate_limiter in [read_manifest, write_manifest, check_blob, read_blob, start_upload, upload] {
            rate_limiter.resume();
        }
    }

    /// The quota that a request counts against.
    pub fn of(&self, method: &Method, path: &str) -> Option<&Arc<RateLimiter>> {
        let is_read = *method == Method::GET || *method == Method::HEAD;
        if path.contains("/manifests/") {
            Some(if is_read { &self.read_manifest } else { &self.write_manifest })
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
    fn assigns_requests_to_quotas() {
        let rates = EcrApiRates::default();
        for (method, path, quota) in [
            (Method::GET, "/v2/a/manifests/1", &rates.read_manifest),
            (Method::HEAD, "/v2/a/manifests/1", &rates.read_manifest),
            (Method::PUT, "/v2/a/manifests/1", &rates.write_manifest),
            (Method::HEAD, "/v2/a/blobs/sha256:0", &rates.check_blob),
            (Method::GET, "/v2/a/blobs/sha256:0", &rates.read_blob),
            (Method::POST, "/v2/a/blobs/uploads/", &rates.start_upload),
            (Method::PUT, "/v2/a/blobs/uploads/7", &rates.upload),
            (Method::PUT, "/upload/7", &rates.upload),
        ] {
            let found = rates.of(&method, path).unwrap();
            assert!(Arc::ptr_eq(found, quota), "{method} {path}");
        }
        assert!(rates.of(&Method::GET, "/v2/").is_none());
    }
}
