//! The command line of `drill`.

use std::{path::PathBuf, time::Duration};

use clap::ValueEnum;

use super::tool::Tool;

/// The format of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DrillFormat {
    /// A line for each image.
    Text,
    /// One JSON object.
    Json,
}

/// The arguments of `drill`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct DrillArgs {
    /// The folder that `restore` wrote, for containerd or crio
    #[arg(long, value_name = "DIR")]
    pub restore: PathBuf,
    /// What pulls [default: containerd for its own files, else podman or skopeo]
    #[arg(long, value_name = "TOOL")]
    pub runtime: Option<Tool>,
    /// The login at the mirror, for podman and skopeo [default: where they look themselves, and the kubelet's]
    #[arg(long, value_name = "FILE")]
    pub auth_file: Option<PathBuf>,
    /// The most seconds for one image
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
    /// Exit with code 1 also if an image did not come up that the restore does not cover
    #[arg(long)]
    pub strict: bool,
    /// The format of the result
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: DrillFormat,
}

impl DrillArgs {
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}
