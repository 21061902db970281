//! Reads the code of a plugin: from a file, plain or compressed with gzip, or from what was pulled.

use std::{
    borrow::Cow,
    fs::{File, OpenOptions},
    io::{self, Read, Seek},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use flate2::read::MultiGzDecoder;

use super::{error::PluginError, settings::Module};
use crate::model::Digest;

const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The code of a plugin, decompressed.
pub struct ModuleCode<'a> {
    pub bytes: Cow<'a, [u8]>,
    /// The digest of the decompressed bytes.
    pub digest: Digest,
}

/// Reads the code of `module`, at most `max` bytes after decompression.
pub fn read_module(module: &Module, max: usize) -> Result<ModuleCode<'_>, PluginError> {
    let bytes = match module {
        Module::File(file) => Cow::Owned(read_file(file, max)?),
        Module::Fetched { bytes, .. } if bytes.len() > max => return Err(PluginError::TooLarge(max)),
        Module::Fetched { bytes, .. } => Cow::Borrowed(&**bytes),
    };
    Ok(ModuleCode { digest: Digest::sha256(&bytes), bytes })
}

/// Never holds more than `max` bytes, whatever the size of the file and of its decompressed content.
fn read_file(file: &Path, max: usize) -> Result<Vec<u8>, PluginError> {
    // Without O_NONBLOCK, opening a FIFO blocks until somebody writes to it.
    let mut file =
        OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(file).map_err(PluginError::Read)?;
    if !file.metadata().map_err(PluginError::Read)?.is_file() {
        return Err(PluginError::NotAFile);
    }
    let mut head = Vec::new();
    file.by_ref().take(2).read_to_end(&mut head).map_err(PluginError::Read)?;
    file.rewind().map_err(PluginError::Read)?;
    if head == GZIP_MAGIC {
        // Decompressed twice: the size is unknown before, and a gzip bomb must not fill the memory.
        let size = measure(decompress(&file), max).map_err(PluginError::Decompress)?;
        let size = size.ok_or(PluginError::TooLarge(max))?;
        file.rewind().map_err(PluginError::Read)?;
        let bytes = read_all(decompress(&file), size, max).map_err(PluginError::Decompress)?;
        return bytes.ok_or(PluginError::TooLarge(max));
    }
    let size = file.metadata().map_err(PluginError::Read)?.len();
    let size = usize::try_from(size).ok().filter(|size| *size <= max).ok_or(PluginError::TooLarge(max))?;
    read_all(&file, size, max).map_err(PluginError::Read)?.ok_or(PluginError::TooLarge(max))
}

fn decompress(file: &File) -> impl Read {
    MultiGzDecoder::new(io::BufReader::new(file))
}

/// One byte more than `max`, to notice that there is more.
fn one_beyond(max: usize) -> u64 {
    u64::try_from(max).unwrap_or(u64::MAX).saturating_add(1)
}

/// The number of bytes in `reader`. None: more than `max`.
fn measure(reader: impl Read, max: usize) -> io::Result<Option<usize>> {
    let read = io::copy(&mut reader.take(one_beyond(max)), &mut io::sink())?;
    Ok(usize::try_from(read).ok().filter(|read| *read <= max))
}

/// Reads about `size` bytes: the file may have changed since it was measured. None: more than `max`.
fn read_all(reader: impl Read, size: usize, max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    // One byte more, so that reading the end needs no further allocation.
    bytes.try_reserve_exact(size.saturating_add(1)).map_err(io::Error::other)?;
    let read = reader.take(one_beyond(max)).read_to_end(&mut bytes)?;
    Ok((read <= max).then_some(bytes))
}

#[cfg(test)]
mod tests {
    use std::{io::Write, path::PathBuf, sync::Arc};

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn compressed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(content: &[u8], max: usize) -> Result<ModuleCode<'static>, PluginError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        let module = Module::File(file.path().to_owned());
        let ModuleCode { bytes, digest } = read_module(&module, max)?;
        Ok(ModuleCode { bytes: bytes.into_owned().into(), digest })
    }

    #[test]
    fn a_compressed_module_is_the_same_code() {
        let plain = read(b"component", 9).unwrap();
        assert_eq!(&*plain.bytes, b"component");
        assert_eq!(plain.digest, Digest::sha256(b"component"));
        let decompressed = read(&compressed(b"component"), 9).unwrap();
        assert_eq!((&decompressed.bytes, &decompressed.digest), (&plain.bytes, &plain.digest));
        let in_two = [compressed(b"compo"), compressed(b"nent")].concat();
        assert_eq!(&*read(&in_two, 9).unwrap().bytes, b"component");
    }

    #[test]
    fn limits_the_size_after_decompression() {
        assert!(matches!(read(b"component", 8), Err(PluginError::TooLarge(8))));
        let bomb = compressed(&vec![0; 1 << 20]);
        assert!(bomb.len() < 4096 && matches!(read(&bomb, 4096), Err(PluginError::TooLarge(4096))));
        let reference = "ghcr.io/acme/policy:1".parse().unwrap();
        let fetched = Module::Fetched { reference, bytes: Arc::from(b"component".as_slice()) };
        assert!(matches!(read_module(&fetched, 8), Err(PluginError::TooLarge(8))));
    }

    #[test]
    fn rejects_truncated_and_damaged_files() {
        let gzip = compressed(&[7; 1000]);
        assert!(matches!(read(&gzip[..gzip.len() - 3], 1000), Err(PluginError::Decompress(_))));
        let mut damaged = gzip;
        let last = damaged.len() - 6;
        damaged[last] ^= 1;
        assert!(matches!(read(&damaged, 1000), Err(PluginError::Decompress(_))));
        assert_eq!(read(b"", 10).unwrap().bytes.len(), 0);
    }

    #[test]
    fn reads_regular_files_only_without_blocking() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo.wasm");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let socket = folder.path().join("socket.wasm");
        let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let device = PathBuf::from("/dev/zero");
        for file in [fifo, device, folder.path().to_owned()] {
            assert!(matches!(read_module(&Module::File(file), 9), Err(PluginError::NotAFile)));
        }
        assert!(matches!(read_module(&Module::File(socket), 9), Err(PluginError::Read(_))));
    }
}
