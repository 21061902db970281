//! Reads blobs.

use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;

use super::Error;

/// The bytes of a blob. The last of them comes only after digest and size were found right.
pub type BlobStream = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send + 'static>>;
