//! Layers: deterministic gzip-compressed tar archives.

use std::io::{self, Write as _};

use bytes::Bytes;
use flate2::{Compression, GzBuilder};

use crate::digest;

/// One layer; clones share its bytes.
#[derive(Clone, Debug)]
pub struct Layer {
    pub(crate) bytes: Bytes,
    pub(crate) digest: String,
    pub(crate) diff_id: String,
}

impl Layer {
    /// A layer of text files: paths without a leading slash, and contents.
    ///
    /// # Errors
    ///
    /// If a path is too long or not relative.
    pub fn files(files: &[(&str, &str)]) -> io::Result<Self> {
        let files = files.iter().map(|(path, content)| (*path, content.as_bytes()));
        Self::pack(&archive(files)?, Compression::best())
    }

    /// An incompressible layer of about `size` bytes, determined by `seed`.
    ///
    /// # Errors
    ///
    /// None in practice: it writes to memory.
    pub fn random(seed: u64, size: usize) -> io::Result<Self> {
        let mut content = vec![0; size];
        fastrand::Rng::with_seed(seed).fill(&mut content);
        Self::pack(&archive([("data", content.as_slice())])?, Compression::none())
    }

    fn pack(tar: &[u8], level: Compression) -> io::Result<Self> {
        let mut gzip = GzBuilder::new().write(Vec::with_capacity(tar.len()), level);
        gzip.write_all(tar)?;
        let bytes = gzip.finish()?;
        Ok(Self { digest: digest(&bytes), bytes: bytes.into(), diff_id: digest(tar) })
    }
}

/// A tar archive with fixed owners, modes and times.
fn archive<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, path, content)?;
    }
    tar.into_inner()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_layer_unpacks_to_its_files_and_diff_id() {
        let layer = Layer::files(&[("etc/name", "one"), ("etc/other", "two")]).unwrap();
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(layer.bytes.as_ref()).read_to_end(&mut tar).unwrap();
        assert_eq!(digest(&tar), layer.diff_id);
        let names: Vec<String> = tar::Archive::new(tar.as_slice())
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names, ["etc/name", "etc/other"]);
    }

    #[test]
    fn a_random_layer_depends_on_its_seed_and_is_incompressible() {
        let [one, again, other] = [1, 1, 2].map(|seed| Layer::random(seed, 100_000).unwrap());
        assert_eq!(one.bytes, again.bytes);
        assert_ne!(one.bytes, other.bytes);
        assert!(one.bytes.len() >= 100_000);
    }
}
