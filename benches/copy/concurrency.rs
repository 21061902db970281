//! How much is copied concurrently, the same for all clients.

/// The program's default: two for each of six kinds of workload. Peers are started in as many processes.
pub const IMAGES: usize = 12;

/// Blobs, by the floor.
pub const BLOBS: usize = 4;
