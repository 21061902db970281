//! Container runtimes, and what their configuration can express.

use serde::{Deserialize, Serialize};

/// What reads the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// containerd: `hosts.toml`.
    Containerd,
    /// CRI-O, podman and skopeo: `registries.conf`.
    Crio,
    /// k3s and RKE2: `registries.yaml`.
    K3s,
    /// Talos Linux: `RegistryMirrorConfig`.
    Talos,
    /// OpenShift: `ImageDigestMirrorSet` and `ImageTagMirrorSet`.
    Openshift,
    /// Docker Engine: `daemon.json`.
    Docker,
    /// No runtime: kustomize changes the names in the manifests.
    Kustomize,
}

/// Which names one rule of a runtime can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// All of a registry: a prefix precedes every repository.
    Registry,
    /// A repository and those below it, or a registry; the longest rule wins.
    Subtree,
    /// Exactly one repository, or all of a registry.
    Repository,
    /// All of Docker Hub, without a prefix.
    DockerHub,
    /// A name as it is written in a manifest.
    Written,
}

impl Runtime {
    /// Every runtime.
    pub const ALL: [Self; 7] =
        [Self::Containerd, Self::Crio, Self::K3s, Self::Talos, Self::Openshift, Self::Docker, Self::Kustomize];

    /// As on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Crio => "crio",
            Self::K3s => "k3s",
            Self::Talos => "talos",
            Self::Openshift => "openshift",
            Self::Docker => "docker",
            Self::Kustomize => "kustomize",
        }
    }

    /// Whether a rule can hold for images named by digest alone, and leave tags to the source registry.
    pub fn can_leave_tags(self) -> bool {
        matches!(self, Self::Containerd | Self::Crio | Self::Openshift)
    }

    /// As its users write it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Crio => "CRI-O",
            Self::K3s => "k3s",
            Self::Talos => "Talos",
            Self::Openshift => "OpenShift",
            Self::Docker => "Docker",
            Self::Kustomize => "kustomize",
        }
    }

    pub(super) fn reach(self) -> Reach {
        match self {
            Self::Containerd | Self::Talos => Reach::Registry,
            Self::Crio | Self::Openshift => Reach::Subtree,
            Self::K3s => Reach::Repository,
            Self::Docker => Reach::DockerHub,
            Self::Kustomize => Reach::Written,
        }
    }

    /// Whether an image name without a registry means Docker Hub only if the node is configured so.
    pub(super) fn searches_registries(self) -> bool {
        matches!(self, Self::Crio | Self::Openshift)
    }
}
