//! Inspects a plugin file without running it.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};

use crate::{
    model::Hook,
    policy::{TestPlugin, TestPluginError},
};

/// In bytes.
const MAX_DECOMPRESSED: u64 = 1 << 30;

/// The size of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// In bytes, after decompression.
    pub bytes: usize,
    /// In bytes, compressed with gzip at its best level; the size of the file if it is compressed already.
    pub gzip_bytes: usize,
}

/// The properties of a plugin.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The exported hooks in the order of their calls.
    pub hooks: Vec<Hook>,
    /// Whether it takes a configuration.
    pub takes_config: bool,
    /// The version of the contract that it was built against.
    pub contract: String,
    /// The imported interfaces.
    pub imports: Vec<String>,
    /// The duration of reading, checking and compiling.
    pub compile: Duration,
}

impl Size {
    /// Measures a file.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn of(file: &Path) -> io::Result<Self> {
        let mut content = Vec::new();
        File::open(file)?.read_to_end(&mut content)?;
        let bytes = content.len();
        if content.starts_with(&[0x1f, 0x8b]) {
            let mut decompressed = MultiGzDecoder::new(content.as_slice()).take(MAX_DECOMPRESSED);
            // `inspect` reports damaged data.
            let decompressed = io::copy(&mut decompressed, &mut io::sink()).ok().and_then(|size| size.try_into().ok());
            return Ok(Self { bytes: decompressed.unwrap_or(bytes), gzip_bytes: bytes });
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&content)?;
        Ok(Self { bytes, gzip_bytes: encoder.finish()?.len() })
    }
}

/// Checks and compiles a plugin, and returns its properties.
///
/// # Errors
/// Not a usable plugin.
pub fn inspect(file: &Path) -> Result<Inspection, TestPluginError> {
    let start = Instant::now();
    let plugin = TestPlugin::read(file)?;
    let compile = start.elapsed();
    Ok(Inspection {
        hooks: plugin.hooks().to_vec(),
        takes_config: plugin.takes_config(),
        contract: plugin.contract().to_owned(),
        imports: plugin.imports(),
        compile,
    })
}
