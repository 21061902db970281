//! A plugin's code as it is delivered: a file, plain or compressed with gzip, or bytes that were fetched.

use std::{
    borrow::Cow,
    fmt,
    fs::{File, OpenOptions},
    io::{self, Read, Seek},
    os::unix::fs::OpenOptionsExt,
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
pub struct Code<'a> {
    /// A component, if all is well.
    pub bytes: Cow<'a, [u8]>,
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
    pub(super) fn code(&self, longest: usize) -> Result<Code<'_>, LoadFault> {
        let bytes = match self {
            Self::File(file) => Cow::Owned(read(file, longest)?),
            Self::Fetched { bytes, .. } if bytes.len() > longest => return Err(LoadFault::TooLarge(longest)),
            Self::Fetched { bytes, .. } => Cow::Borrowed(&**bytes),
        };
        Ok(Code { digest: Digest::sha256(&bytes), bytes })
    }
}

/// Never holds more than `longest` bytes, whatever the file's length, and whatever it unpacks to.
fn read(file: &Path, longest: usize) -> Result<Vec<u8>, LoadFault> {
    // A FIFO would be waited for until somebody writes to it, and some devices for ever.
    let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(file).map_err(LoadFault::Read)?;
    if !file.metadata().map_err(LoadFault::Read)?.is_file() {
        return Err(LoadFault::NotAFile);
    }
    let mut head = Vec::new();
    file.by_ref().take(2).read_to_end(&mut head).map_err(LoadFault::Read)?;
    file.rewind().map_err(LoadFault::Read)?;
    if head == GZIP {
        // Gone through twice: how long it will be is not known before, and a bomb is not to be held.
        let length = bounded_length(unpacked(&file), longest).map_err(LoadFault::Unpack)?;
        let length = length.ok_or(LoadFault::TooLarge(longest))?;
        file.rewind().map_err(LoadFault::Read)?;
        return whole(unpacked(&file), length, longest).map_err(LoadFault::Unpack)?.ok_or(LoadFault::TooLarge(longest));
    }
    let length = file.metadata().map_err(LoadFault::Read)?.len();
    let length = usize::try_from(length).ok().filter(|length| *length <= longest);
    let length = length.ok_or(LoadFault::TooLarge(longest))?;
    whole(&file, length, longest).map_err(LoadFault::Read)?.ok_or(LoadFault::TooLarge(longest))
}

fn unpacked(file: &File) -> impl Read {
    MultiGzDecoder::new(io::BufReader::new(file))
}

fn within(longest: usize) -> u64 {
    u64::try_from(longest).unwrap_or(u64::MAX).saturating_add(1)
}

/// How much there is to read, `longest` bytes at most.
fn bounded_length(reader: impl Read, longest: usize) -> io::Result<Option<usize>> {
    let read = io::copy(&mut reader.take(within(longest)), &mut io::sink())?;
    Ok(usize::try_from(read).ok().filter(|read| *read <= longest))
}

/// What is expected to be `length` long, and is `longest` at most even if it has grown meanwhile.
fn whole(reader: impl Read, length: usize, longest: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    // One more, so that the end is seen without another allocation.
    bytes.try_reserve_exact(length.saturating_add(1)).map_err(io::Error::other)?;
    let read = reader.take(within(longest)).read_to_end(&mut bytes)?;
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

    fn code(content: &[u8], longest: usize) -> Result<Code<'static>, LoadFault> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let module = Module::File(file.path().to_owned());
        let Code { bytes, digest } = module.code(longest)?;
        Ok(Code { bytes: bytes.into_owned().into(), digest })
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

    #[test]
    fn only_regular_files_are_read_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo.wasm");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let socket = folder.path().join("socket.wasm");
        let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let device = PathBuf::from("/dev/zero");
        for file in [fifo, device, folder.path().to_owned()] {
            assert!(matches!(Module::File(file).code(9), Err(LoadFault::NotAFile)));
        }
        assert!(matches!(Module::File(socket).code(9), Err(LoadFault::Read(_))));
    }
}
