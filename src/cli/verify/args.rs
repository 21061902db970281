//! The flags of `verify`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::model::Wholeness;

/// The flags of `verify`.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct VerifyArgs {
    /// Read workloads from these instead of the cluster: files, folders, `-` for standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE", num_args = 1..)]
    pub files: Vec<PathBuf>,
    /// Read every blob, and compare its bytes with its digest
    #[arg(long)]
    pub deep: bool,
    /// With --deep: read at most so many bytes, such as 10Gi
    #[arg(long, value_name = "BYTES", requires = "deep", value_parser = quantity)]
    pub bytes: Option<u64>,
    /// With --deep: read at most so many bytes per second, such as 50Mi
    #[arg(long, value_name = "BYTES", requires = "deep", value_parser = quantity)]
    pub rate: Option<u64>,
    /// With --deep: continue where the verification that wrote this file ended, and write it again
    #[arg(long, value_name = "FILE", requires = "deep")]
    pub progress: Option<PathBuf>,
    /// Do not ask the sources what their tags mean now
    #[arg(long)]
    pub no_source: bool,
    /// The format of the result
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: VerifyFormat,
    /// Exit with code 1 if an image is one of these, separated by commas
    #[arg(
        long,
        value_name = "RESULT",
        value_delimiter = ',',
        default_values = ["missing", "incomplete", "corrupt", "unknown"]
    )]
    fail_on: Vec<FailOn>,
}

/// The format of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerifyFormat {
    /// A table that fits the terminal, with the reasons below its rows.
    Text,
    /// One JSON document.
    Json,
    /// `JUnit` XML, as CI systems show it: one test case for each image at each destination.
    Junit,
}

/// A result that a verification can fail on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// The target does not have the image.
    Missing,
    /// Parts of it are missing.
    Incomplete,
    /// Parts of it have other bytes.
    Corrupt,
    /// It could not be verified.
    Unknown,
    /// The source has something else now.
    Drifted,
}

impl VerifyArgs {
    /// What the verification fails on.
    pub fn fail_on(&self) -> Vec<Wholeness> {
        let wholeness = |fail_on: &FailOn| match fail_on {
            FailOn::Missing => Wholeness::Missing,
            FailOn::Incomplete => Wholeness::Incomplete,
            FailOn::Corrupt => Wholeness::Corrupt,
            FailOn::Unknown => Wholeness::Unknown,
            FailOn::Drifted => Wholeness::Drifted,
        };
        self.fail_on.iter().map(wholeness).collect()
    }
}

/// Bytes, with a unit as Kubernetes writes it.
fn quantity(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 8] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
    ];
    let text = text.trim();
    let unit = UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)));
    let (number, factor) = unit.unwrap_or((text, 1));
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    bytes.filter(|bytes| *bytes > 0).ok_or_else(|| "write a number of bytes, such as 500Mi or 10Gi".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_those_of_kubernetes() {
        for (text, bytes) in [
            ("7", 7),
            ("2k", 2_000),
            ("1Ki", 1024),
            ("3 Mi".replace(' ', "").as_str(), 3 << 20),
            ("1T", 1_000_000_000_000),
        ] {
            assert_eq!(quantity(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "-1", "1.5Gi", "Gi", "5 apples", "99999999999999999999", "99999999Ti"] {
            assert!(quantity(text).unwrap_err().contains("10Gi"), "{text}");
        }
    }
}
