//! The command line of `restore`.

use std::path::PathBuf;

use clap::{
    ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};

use crate::restore::Runtime;

/// The format of the report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// A table that fits the terminal.
    Text,
    /// One JSON object.
    Json,
}

/// The arguments of `restore`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct RestoreArgs {
    /// The folder for the files; a new or an empty one
    #[arg(short = 'o', long = "directory", value_name = "DIR")]
    pub directory: PathBuf,
    /// What reads the files (crio: podman and skopeo too; k3s: RKE2 too)
    #[arg(long, value_name = "RUNTIME", value_parser = runtime())]
    pub runtime: Runtime,
    /// Read workloads from these instead of the cluster: files, folders, `-` for standard input
    #[arg(short = 'f', long = "filename", value_name = "FILE", num_args = 1..)]
    pub files: Vec<PathBuf>,
    /// The target that nodes pull from [default: the one that covers most]
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Serve images by digest alone; what a tag means is left to its registry (containerd, crio, openshift)
    #[arg(long)]
    pub digest_only: bool,
    /// Let the mirror say what a tag means too, where no name can get another image (the default)
    #[arg(long, conflicts_with = "digest_only")]
    pub tags: bool,
    /// Exit with code 1 if an image is not covered
    #[arg(long)]
    pub strict: bool,
    /// Replace the files of an earlier restore in the folder; edited ones are kept as NAME.edited
    #[arg(long)]
    pub force: bool,
    /// The format of the report
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub output: ReportFormat,
}

pub fn runtime() -> impl TypedValueParser<Value = Runtime> {
    PossibleValuesParser::new(Runtime::ALL.map(Runtime::name))
        .try_map(|given| Runtime::ALL.into_iter().find(|runtime| runtime.name() == given).ok_or("unknown runtime"))
}
