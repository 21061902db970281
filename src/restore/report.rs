//! What the files cover, and what they leave out.

use serde::{Deserialize, Serialize};

use super::{rule::Scope, runtime::Runtime};

/// The version of [`Report`]; fields may be added within it.
pub const API_VERSION: &str = "k8s-copycat/v1";
/// The kind of [`Report`].
pub const KIND: &str = "RestoreReport";

/// The whole report. All texts are safe to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `k8s-copycat/v1`
    pub api_version: String,
    /// `RestoreReport`
    pub kind: String,
    /// What the files are for.
    pub runtime: Runtime,
    /// The mirror that they lead to.
    pub target: ReportedTarget,
    /// Whether tags are left to the source registries on request.
    pub digest_only: bool,
    /// Counts.
    pub summary: Counts,
    /// Every image, by name.
    pub images: Vec<ReportedImage>,
    /// Names that the runtime would resolve differently from the mirror, or that rules must not be about for that reason.
    pub differences: Vec<Difference>,
    /// What else to know before the files are used.
    pub notes: Vec<String>,
    /// What the runtime is told.
    pub rules: Vec<ReportedRule>,
    /// The files, apart from this one.
    pub files: Vec<LaidFile>,
}

/// The mirror.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedTarget {
    /// Its name in the configuration.
    pub name: String,
    /// `host[:port][/path]`
    pub registry: String,
    /// `http` or `https`
    pub scheme: String,
}

/// Counts of images; all are always there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// All.
    pub images: usize,
    /// They would come from the mirror under their own names.
    pub covered: usize,
    /// They would not.
    pub uncovered: usize,
    /// They are named as images of the mirror, and need no rule.
    pub named_at_mirror: usize,
    /// Entries of `differences`.
    pub differences: usize,
    /// Entries of `rules`.
    pub rules: usize,
    /// Entries of `files`.
    pub files: usize,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedImage {
    /// The full reference, or the text if it is none.
    pub image: String,
    /// Whether it would come from the mirror.
    pub status: Status,
    /// How a runtime asks for it; none for a malformed name.
    pub by: Option<PulledBy>,
    /// Where the mirror has it; none if it does not, or if the image is not covered.
    pub mirror: Option<String>,
    /// Why it is not covered.
    pub reason: Option<String>,
    /// What would cover it, if there is such a thing.
    pub remedy: Option<String>,
    /// The number of containers that use it.
    pub uses: usize,
    /// Its workloads as `kind namespace/name`, the first twenty.
    pub workloads: Vec<String>,
}

/// Whether an image would come from the mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Status {
    /// It would.
    Covered,
    /// It would not.
    Uncovered,
    /// It is named as an image of the mirror.
    NamedAtMirror,
}

/// What a runtime asks a registry for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum PulledBy {
    /// A digest: exactly these bytes.
    Digest,
    /// A tag, whose meaning the answering registry decides.
    Tag,
}

/// A name that means something else than in the mirror.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// The name.
    pub name: String,
    /// Why.
    pub kind: DifferenceKind,
    /// The same for people.
    pub text: String,
}

/// Why a name means something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DifferenceKind {
    /// The mirror has another name's image where the rule would lead.
    AnotherImage,
    /// It has no registry, and the node's configuration decides which one is meant.
    ShortName,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportedRule {
    /// A registry, a repository with its registry, or for kustomize a written name.
    pub name: String,
    /// What it is about; none for kustomize.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<ReportedScope>,
    /// What it becomes in the mirror, with the registry.
    pub mirror: String,
    /// Whether the mirror is asked for tags too.
    pub tags: bool,
}

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ReportedScope {
    /// All repositories of a registry.
    Registry,
    /// A repository and those below it.
    Subtree,
    /// One repository.
    Repository,
}

impl From<&Scope> for ReportedScope {
    fn from(scope: &Scope) -> Self {
        match scope {
            Scope::Registry => Self::Registry,
            Scope::Subtree(_) => Self::Subtree,
            Scope::Repository(_) => Self::Repository,
        }
    }
}

/// A file of the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LaidFile {
    /// Relative to the folder, with `/`.
    pub path: String,
    /// The SHA-256 of its content as written, in hex.
    pub sha256: String,
}
