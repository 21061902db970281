//! Case files: image uses and the expected answers of a plugin.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use serde::Deserialize;
use serde_json::Value;
use serde_yaml::{MessageFormatter, UserMessageFormatter};

use super::expectation::{ErrorKind, Expectation, ExpectationError};
use crate::{
    model::{
        Container, ContainerKind, Hook, ImageUse, Owner, ReferenceError, Target, TargetKind, Workload, WorkloadId,
        WorkloadKind,
    },
    policy::HookInput,
};

/// Why a case file is invalid.
#[derive(Debug, thiserror::Error)]
pub enum CasesError {
    /// Not YAML, or not the structure of a case file.
    #[error("{0}")]
    Syntax(String),
    /// No cases.
    #[error("no cases")]
    Empty,
    /// Two cases have the same name.
    #[error("duplicate case {0:?}")]
    DuplicateName(String),
    /// One case is invalid.
    #[error("case {case:?}: {error}")]
    Case {
        /// Its name.
        case: String,
        /// Why it is invalid.
        error: CaseError,
    },
}

/// Why a case is invalid.
#[derive(Debug, thiserror::Error)]
pub enum CaseError {
    /// The image reference is invalid; plugins are not called for those.
    #[error(transparent)]
    Image(#[from] ReferenceError),
    /// An expected answer is invalid.
    #[error(transparent)]
    Expectation(#[from] ExpectationError),
    /// The case could never fail.
    #[error("no expected answer; write `configure`, `skip`, `target-selection`, `path-mapping` or `repository-prefix`")]
    NoExpectation,
    /// A plugin that rejects its configuration is not called.
    #[error("`configure` is expected to fail, so no hook can answer; remove one of the expectations")]
    HooksAfterConfigError,
}

/// An image use and the expected answers.
pub struct Case {
    /// Its name.
    pub name: String,
    /// The configuration of the plugin.
    pub config: Option<Value>,
    /// The image use.
    pub input: HookInput,
    /// The configured targets.
    pub targets: Vec<Arc<Target>>,
    /// The expected error of `configure`. None: it should succeed.
    pub config_error: Option<ErrorKind>,
    /// The expected answers in the order of the calls.
    pub answers: BTreeMap<Hook, Expectation>,
}

/// Parses a case file.
///
/// # Errors
/// The first error in it.
pub fn read_cases(text: &str) -> Result<Vec<Case>, CasesError> {
    let syntax = |error: serde_yaml::Error| CasesError::Syntax(error.render_with_formatter(&AuthorMessages));
    let file: CaseFile = serde_yaml::from_str(text).map_err(syntax)?;
    let mut cases: Vec<Case> = Vec::new();
    for spec in &file.cases {
        let name = &spec.name;
        if cases.iter().any(|case| case.name == *name) {
            return Err(CasesError::DuplicateName(name.clone()));
        }
        let case = case(spec, &file).map_err(|error| CasesError::Case { case: name.clone(), error })?;
        cases.push(case);
    }
    if cases.is_empty() { Err(CasesError::Empty) } else { Ok(cases) }
}

/// The parser's messages are for programmers; these are for the author of the file.
struct AuthorMessages;

impl MessageFormatter for AuthorMessages {
    fn format_message<'a>(&self, error: &'a serde_yaml::Error) -> Cow<'a, str> {
        match error {
            serde_yaml::Error::Unexpected { expected: "mapping start", .. } => {
                Cow::Borrowed("expected keys with values (`key: value`)")
            }
            serde_yaml::Error::Unexpected { expected: "sequence start", .. } => {
                Cow::Borrowed("expected a list (`- value`)")
            }
            serde_yaml::Error::Unexpected { expected: "string scalar", .. } => Cow::Borrowed("expected a string"),
            other => UserMessageFormatter.format_message(other),
        }
    }
}

/// An image use and a target for plugins without cases.
pub fn default_input() -> Result<(HookInput, Vec<Arc<Target>>), ReferenceError> {
    let labels = [("app.kubernetes.io/name", "web"), ("team", "payments"), ("tier", "prod")];
    let workload = WorkloadSpec {
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..WorkloadSpec::default()
    };
    let image_use = image_use(&workload, &ContainerSpec::default(), "registry.example.com/shop/web:1.27.3");
    Ok((HookInput::new(&image_use)?, vec![Arc::new(TargetSpec::default().into())]))
}

fn case(spec: &CaseSpec, file: &CaseFile) -> Result<Case, CaseError> {
    let expect = &spec.expect;
    let answers = [
        (Hook::Skip, &expect.skip),
        (Hook::TargetSelection, &expect.target_selection),
        (Hook::PathMapping, &expect.path_mapping),
        (Hook::RepositoryPrefix, &expect.repository_prefix),
    ];
    let answers = answers.into_iter().filter_map(|(hook, value)| Some((hook, value.as_ref()?)));
    let answers: BTreeMap<Hook, Expectation> =
        answers.map(|(hook, value)| Ok((hook, Expectation::parse(hook, value)?))).collect::<Result<_, CaseError>>()?;
    let config_error = expect.configure.as_ref().map(Expectation::parse_config_error).transpose()?.flatten();
    match (&config_error, answers.is_empty()) {
        (Some(_), false) => return Err(CaseError::HooksAfterConfigError),
        (None, true) if expect.configure.is_none() => return Err(CaseError::NoExpectation),
        _ => {}
    }
    let targets = spec.targets.as_ref().or(file.targets.as_ref());
    Ok(Case {
        name: spec.name.clone(),
        config: match &spec.config {
            Some(Value::Null) => None,
            Some(config) => Some(config.clone()),
            None => file.config.clone(),
        },
        input: HookInput::new(&image_use(&spec.workload, &spec.container, &spec.image))?,
        targets: match targets {
            Some(targets) => targets.iter().map(|target| Arc::new(target.clone().into())).collect(),
            None => vec![Arc::new(TargetSpec::default().into())],
        },
        config_error,
        answers,
    })
}

fn image_use(workload: &WorkloadSpec, container: &ContainerSpec, image: &str) -> ImageUse {
    let workload = workload.clone();
    let owners = workload.owners.into_iter();
    ImageUse {
        workload: Arc::new(Workload {
            id: WorkloadId { kind: workload.kind.0, namespace: workload.namespace, name: workload.name },
            uid: String::new(),
            owners: owners.map(|OwnerSpec { group, kind, name }| Owner { group, kind, name }).collect(),
            labels: workload.labels,
            annotations: workload.annotations,
            namespace_labels: workload.namespace_labels.into(),
            created: 0,
        }),
        container: Container { name: container.name.clone(), kind: container.kind.into() },
        image: image.to_owned(),
        running: Vec::new(),
        platforms: None,
        pull_secrets: Vec::new(),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CaseFile {
    config: Option<Value>,
    targets: Option<Vec<TargetSpec>>,
    cases: Vec<CaseSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CaseSpec {
    name: String,
    /// `null` removes the configuration of the file.
    #[serde(default, deserialize_with = "present")]
    config: Option<Value>,
    #[serde(default)]
    workload: WorkloadSpec,
    #[serde(default)]
    container: ContainerSpec,
    image: String,
    targets: Option<Vec<TargetSpec>>,
    expect: ExpectSpec,
}

/// A value that is present, even if it is `null`.
fn present<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ExpectSpec {
    configure: Option<Value>,
    skip: Option<Value>,
    target_selection: Option<Value>,
    path_mapping: Option<Value>,
    repository_prefix: Option<Value>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WorkloadSpec {
    kind: KindSpec,
    namespace: String,
    name: String,
    owners: Vec<OwnerSpec>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    namespace_labels: BTreeMap<String, String>,
}

impl Default for WorkloadSpec {
    fn default() -> Self {
        Self {
            kind: KindSpec(WorkloadKind::Deployment),
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            owners: Vec::new(),
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            namespace_labels: BTreeMap::new(),
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct KindSpec(WorkloadKind);

impl TryFrom<String> for KindSpec {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let known = || WorkloadKind::ALL.map(WorkloadKind::name).join(", ");
        text.parse().map(Self).map_err(|error| format!("{error}; known kinds: {}", known()))
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnerSpec {
    #[serde(default)]
    group: String,
    kind: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ContainerSpec {
    name: String,
    kind: ContainerKindSpec,
}

impl Default for ContainerSpec {
    fn default() -> Self {
        Self { name: "main".to_owned(), kind: ContainerKindSpec::Regular }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ContainerKindSpec {
    Init,
    Regular,
    Ephemeral,
    Volume,
}

impl From<ContainerKindSpec> for ContainerKind {
    fn from(kind: ContainerKindSpec) -> Self {
        match kind {
            ContainerKindSpec::Init => Self::Init,
            ContainerKindSpec::Regular => Self::Regular,
            ContainerKindSpec::Ephemeral => Self::Ephemeral,
            ContainerKindSpec::Volume => Self::Volume,
        }
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TargetSpec {
    name: String,
    kind: TargetKindSpec,
    registry: String,
    prefix: String,
}

impl Default for TargetSpec {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            kind: TargetKindSpec::Docker,
            registry: "mirror.example.com".to_owned(),
            prefix: String::new(),
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TargetKindSpec {
    Ecr,
    Docker,
    OciLayout,
}

impl From<TargetSpec> for Target {
    fn from(spec: TargetSpec) -> Self {
        let kind = match spec.kind {
            TargetKindSpec::Ecr => TargetKind::Ecr,
            TargetKindSpec::Docker => TargetKind::Docker,
            TargetKindSpec::OciLayout => TargetKind::OciLayout,
        };
        Self { name: spec.name, kind, registry: spec.registry, repo_prefix: spec.prefix }
    }
}
