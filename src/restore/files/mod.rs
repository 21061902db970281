//! The files for each runtime.

mod containerd;
mod daemon_set;
mod docker;
mod k3s;
mod kustomize;
mod openshift;
mod registries_conf;
mod talos;

use super::{access::MirrorAccess, runtime::Runtime, solution::Solution};
use crate::model::canonical_registry;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct File {
    /// Relative to the folder, with `/`.
    pub path: String,
    /// The content.
    pub text: String,
}

/// What the files lay down.
pub struct Laid<'a> {
    pub runtime: Runtime,
    /// The mirror's `host[:port]`.
    pub host: &'a str,
    pub access: &'a MirrorAccess,
    pub solution: &'a Solution,
}

impl Laid<'_> {
    fn url(&self, path: &str) -> String {
        // Docker Hub's API has another name than its images.
        let host = if canonical_registry(self.host) == "docker.io" { "registry-1.docker.io" } else { self.host };
        format!("{}://{host}{path}", self.access.scheme())
    }
}

impl File {
    fn new(path: impl Into<String>, text: impl Into<String>) -> Self {
        Self { path: path.into(), text: text.into() }
    }
}

/// All files, sorted by path; none if there is nothing to lay down.
pub fn files(laid: &Laid<'_>, notes: &mut Vec<String>) -> Vec<File> {
    if laid.solution.rules.is_empty() && laid.solution.renames.is_empty() {
        return Vec::new();
    }
    let mut files = match laid.runtime {
        Runtime::Containerd => containerd::files(laid, notes),
        Runtime::Crio => registries_conf::files(laid),
        Runtime::K3s => k3s::files(laid),
        Runtime::Talos => talos::files(laid),
        Runtime::Openshift => openshift::files(laid),
        Runtime::Docker => docker::files(laid),
        Runtime::Kustomize => kustomize::files(laid),
    };
    files.sort();
    files
}

/// The first line of every file that can have comments.
const ORIGIN: &str = "# Written by `k8s-copycat restore` from the decisions for this cluster.\n";
