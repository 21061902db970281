//! A plugin's code as it is delivered: a file, plain or compressed with gzip, or bytes that were fetched.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::read::MultiGzDecoder;

use super::component::LoadFault;
use crate::model::{Digest, Reference};

const GZIP: [u8; 2] = [0x1f, 0x8b];

/// Where a plugin of the user's is taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Module {
    /// A file; it may be a symbolic link, as everything in a mounted ConfigMap is, and compressed with gzip.
    File(PathBuf),
    /// What a registry has under this reference, which names a digest.
    Fetched {
        /// Where it was fetched from.
        reference: Reference,
        /// The component.
        bytes: Arc<[u8]>,
    },
}

/// Where a plugin was taken from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The program itself.
    BuiltIn,
    /// A file.
    File(PathBuf),
    /// A registry, under this reference.
    Registry(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::File(path) => path.display().fmt(f),
            Self::Registry(reference) => write!(f, "oci: {reference}"),
        }
    }
}

/// The code of a plugin, unpacked.
pub struct Code {
    /// A component, if all is well.
    pub bytes: Arc<[u8]>,
    /// Of these bytes, whatever they were packed in.
    pub digest: Digest,
}

impl Module {
    /// Where it is.
    pub fn origin(&self) -> Origin {
        match self {
            Self::File(file) => Origin::File(file.clone()),
            Self::Fetched { reference, .. } => Origin::Registry(reference.to_string()),
        }
    }

    /// Its code, `longest` bytes at most when unpacked.
    pub(super) fn code(&self, longest: usize) -> Result<Code, LoadFault> {
        let bytes = match self {
            Self::File(file) => read(file, longest)?.into(),
            Self::Fetched { bytes, .. } if bytes.len() > longest => return Err(LoadFault::TooLarge(longest)),
            Self::Fetched { bytes, .. } => Arc::clone(bytes),
        };
        Ok(Code { digest: Digest::sha256(&bytes), bytes })
    }
}

/// Never holds more than `longest` bytes and one, whatever the file's length, and whatever it unpacks to.
fn read(file: &Path, longest: usize) -> Result<Vec<u8>, LoadFault> {
    let mut file = File::open(file).map_err(LoadFault::Read)?;
    let mut head = Vec::new();
    file.by_ref().take(2).read_to_end(&mut head).map_err(LoadFault::Read)?;
    let packed = head == GZIP;
    let whole = io::Cursor::new(head).chain(file);
    let bytes = if packed {
        bounded(MultiGzDecoder::new(whole), longest).map_err(LoadFault::Unpack)?
    } else {
        bounded(whole, longest).map_err(LoadFault::Read)?
    };
    bytes.ok_or(LoadFault::TooLarge(longest))
}

fn bounded(reader: impl Read, longest: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let read = reader.take(u64::try_from(longest).unwrap_or(u64::MAX).saturating_add(1)).read_to_end(&mut bytes)?;
    Ok((read <= longest).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn code(content: &[u8], longest: usize) -> Result<Code, LoadFault> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        Module::File(file.path().to_owned()).code(longest)
    }

    #[test]
    fn packed_or_not_it_is_the_same_code() {
        let plain = code(b"component", 9).unwrap();
        assert_eq!(&*plain.bytes, b"component");
        assert_eq!(plain.digest, Digest::sha256(b"component"));
        let unpacked = code(&packed(b"component"), 9).unwrap();
        assert_eq!((&unpacked.bytes, &unpacked.digest), (&plain.bytes, &plain.digest));
        let in_two = [packed(b"compo"), packed(b"nent")].concat();
        assert_eq!(&*code(&in_two, 9).unwrap().bytes, b"component");
    }

    #[test]
    fn the_bound_holds_for_what_is_unpacked() {
        assert!(matches!(code(b"component", 8), Err(LoadFault::TooLarge(8))));
        let bomb = packed(&vec![0; 1 << 20]);
        assert!(bomb.len() < 4096 && matches!(code(&bomb, 4096), Err(LoadFault::TooLarge(4096))));
        let reference = "ghcr.io/acme/policy:1".parse().unwrap();
        let fetched = Module::Fetched { reference, bytes: Arc::from(b"component".as_slice()) };
        assert!(matches!(fetched.code(8), Err(LoadFault::TooLarge(8))));
    }

    #[test]
    fn what_is_cut_off_or_damaged_is_refused() {
        let packed = packed(&[7; 1000]);
        assert!(matches!(code(&packed[..packed.len() - 3], 1000), Err(LoadFault::Unpack(_))));
        let mut damaged = packed;
        let last = damaged.len() - 6;
        damaged[last] ^= 1;
        assert!(matches!(code(&damaged, 1000), Err(LoadFault::Unpack(_))));
        assert_eq!(code(b"", 10).unwrap().bytes.len(), 0);
    }
}
