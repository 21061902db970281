//! What a file is, before anybody runs it.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};

use crate::{
    model::Hook,
    policy::{Probe, ProbeError},
};

/// No more is unpacked to be measured.
const MOST_UNPACKED: u64 = 1 << 30;

/// What can be told of any file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Its size, unpacked.
    pub bytes: usize,
    /// Its size after the best of gzip; its own where it is compressed already.
    pub gzip_bytes: usize,
}

/// What can be told of a plugin.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What it answers, in the order asked.
    pub hooks: Vec<Hook>,
    /// Whether it takes a configuration.
    pub takes_config: bool,
    /// The version of the contract that it was built against.
    pub contract: String,
    /// The interfaces that it imports.
    pub imports: Vec<String>,
    /// How long reading, compiling and checking took.
    pub compile: Duration,
}

impl Size {
    /// Of a file.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn of(file: &Path) -> io::Result<Self> {
        let mut content = Vec::new();
        File::open(file)?.read_to_end(&mut content)?;
        let bytes = content.len();
        if content.starts_with(&[0x1f, 0x8b]) {
            let mut unpacked = MultiGzDecoder::new(content.as_slice()).take(MOST_UNPACKED);
            // What can't be unpacked is told by who loads it.
            let unpacked = io::copy(&mut unpacked, &mut io::sink()).ok().and_then(|size| size.try_into().ok());
            return Ok(Self { bytes: unpacked.unwrap_or(bytes), gzip_bytes: bytes });
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&content)?;
        Ok(Self { bytes, gzip_bytes: encoder.finish()?.len() })
    }
}

/// Compiles a plugin and looks at it.
///
/// # Errors
/// When it is none.
pub fn inspect(file: &Path) -> Result<Inspection, ProbeError> {
    let start = Instant::now();
    let probe = Probe::read(file)?;
    let compile = start.elapsed();
    Ok(Inspection {
        hooks: probe.hooks().to_vec(),
        takes_config: probe.takes_config(),
        contract: probe.contract().to_owned(),
        imports: probe.imports(),
        compile,
    })
}
