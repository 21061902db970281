//! What `status` asks, and how it shows the answer.

use clap::{Args, ValueEnum};

/// What `status` asks, and how it shows the answer.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
pub struct StatusArgs {
    /// Ask the program at this address, such as http://localhost:8080, instead of through the API server
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// The namespace that the program is installed in
    #[arg(long, value_name = "NAMESPACE", default_value = "k8s-copycat")]
    pub install_namespace: String,
    /// The program's Service
    #[arg(long, value_name = "NAME", default_value = "k8s-copycat")]
    pub service: String,
    /// Only images in these states or activities, separated by commas: missing, stale, conflict, undecided, unknown,
    /// unverified, dry_run, mirrored, skipped, waiting, copying, cooldown
    #[arg(long, value_name = "STATE", value_delimiter = ',')]
    pub state: Vec<String>,
    /// Only images of workloads in this namespace
    #[arg(short, long, value_name = "NAMESPACE")]
    pub namespace: Option<String>,
    /// Only images of this workload: NAME or NAMESPACE/NAME
    #[arg(long, value_name = "WORKLOAD")]
    pub workload: Option<String>,
    /// Only images from this source registry
    #[arg(long, value_name = "HOST")]
    pub registry: Option<String>,
    /// Only images at the target with this name
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,
    /// Only images with this text in image, source, destination, reason or workload
    #[arg(long, value_name = "TEXT")]
    pub text: Option<String>,
    /// List mirrored and skipped images too
    #[arg(long)]
    pub all: bool,
    /// The largest number of images in the list
    #[arg(long, value_name = "NUMBER", default_value_t = 100)]
    pub limit: usize,
    /// The format of the status
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: StatusFormat,
    /// Show it again every two seconds, until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
}

/// The format of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StatusFormat {
    /// A summary and a table that fit the terminal.
    Text,
    /// The same, with long lines.
    Wide,
    /// The JSON of `/status`.
    Json,
}
