//! Why an image would not come from the mirror, and what would change that.

use super::{holdings::Foreign, runtime::Runtime};
use crate::model::{Target, TargetKind};

/// Why an image would not come from the mirror.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Obstacle {
    #[error("conflict: {other} has the same destination {place}, and only one of the two can be there")]
    Conflict { other: String, place: String },
    #[error("it is undecided, and so not in the mirror: {0}")]
    Undecided(String),
    #[error("it is skipped, and so not in the mirror: {0}")]
    Skipped(String),
    #[error("it is not mirrored to target {0}")]
    OtherTarget(String),
    #[error("it is named by tag alone, and --digest-only leaves tags to its registry")]
    Tag,
    #[error("its tag in the mirror is {0}, and no runtime changes tags")]
    OtherTag(String),
    #[error(
        "the mirror has it at {place}, which does not end with {repository}: {runtime} can only put a prefix before it"
    )]
    NoPrefix { runtime: &'static str, place: String, repository: String },
    #[error("Docker's registry-mirrors are for Docker Hub alone")]
    NotDockerHub,
    #[error("the mirror has it at {0}, and Docker's registry-mirrors have no path")]
    Path(String),
    #[error("a rule for {subject} would give {} the image of {} (at {})", .foreign.name, .foreign.owner, .foreign.place)]
    Foreign { subject: String, foreign: Foreign },
    #[error("the mirror has it at {0}, and k3s may look for library/ there: a place for Docker Hub needs a slash")]
    NoSlash(String),
    #[error("images of {subject} are at too many places of the mirror; at most {limit} are asked for each image")]
    TooMany { subject: String, limit: usize },
    #[error("kustomize renames {name} in every manifest, and {other} is not in the mirror")]
    NameOfOther { name: String, other: String },
    #[error("kustomize renames {0} in every manifest, and its workloads have it at different places of the mirror")]
    DifferentPlaces(String),
    #[error("kustomize takes the name {name} for {other} as well")]
    NamePattern { name: String, other: String },
    #[error("kustomize renames no image with this name or digest, and none of a volume")]
    NotRenamed,
}

impl Obstacle {
    /// What to change; none if nothing about the naming in the mirror would help.
    pub fn remedy(&self, runtime: Runtime, target: &Target) -> Option<String> {
        let has_registry = target.repo_prefix.contains("$registry");
        let own_paths = match (has_registry, target.kind) {
            (false, TargetKind::Ecr) => "set `repoPrefix: mirror/$registry` and map no paths of it",
            (false, _) => "set `repoPrefix: $registry` and map no paths of it",
            (true, _) => "map no paths of it (`pathMap`, plugins): `repoPrefix: $registry` alone is enough",
        };
        match self {
            Self::NoPrefix { .. } | Self::NoSlash(_) | Self::TooMany { .. } | Self::DifferentPlaces(_) => {
                Some(own_paths.to_owned())
            }
            Self::Conflict { .. } | Self::Foreign { .. } if has_registry => {
                Some("map no paths (`pathMap`, plugins) so that two names share one repository".to_owned())
            }
            Self::Conflict { .. } | Self::Foreign { .. } => {
                Some("set `repoPrefix: $registry`, so that each registry has a path of its own".to_owned())
            }
            Self::Path(_) | Self::NotDockerHub => {
                Some("use containerd, or `--runtime kustomize` for what stays with Docker".to_owned())
            }
            Self::OtherTarget(_) => Some("name its target with --target".to_owned()),
            Self::Tag if runtime.can_leave_tags() => Some("leave out --digest-only, or name it by digest".to_owned()),
            Self::OtherTag(_) => Some("use `--runtime kustomize`".to_owned()),
            Self::Undecided(_) => Some("correct what it says; `k8s-copycat plan` shows it too".to_owned()),
            Self::Skipped(_) => Some("let the policy mirror it".to_owned()),
            Self::NameOfOther { .. } | Self::NamePattern { .. } | Self::NotRenamed | Self::Tag => None,
        }
    }
}
