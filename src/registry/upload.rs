//! Writes blobs.
