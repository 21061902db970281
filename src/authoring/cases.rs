//! Case files: image uses, and what a plugin is expected to answer.

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
    policy::Question,
};

/// What is wrong with a case file.
#[derive(Debug, thiserror::Error)]
pub enum CasesError {
    /// It does not have the form of a case file.
    #[error("{0}")]
    Syntax(String),
    /// There is nothing to try.
    #[error("there are no cases in it")]
    Empty,
    /// Who reads a difference could not tell which case it is of.
    #[error("two cases are named {0:?}")]
    SameName(String),
    /// One case can't be used.
    #[error("case {case:?}: {fault}")]
    Case {
        /// Its name.
        case: String,
        /// What is wrong with it.
        fault: CaseFault,
    },
}

/// What is wrong with one case.
#[derive(Debug, thiserror::Error)]
pub enum CaseFault {
    /// Plugins are not asked about such an image.
    #[error(transparent)]
    Image(#[from] ReferenceError),
    /// An expectation can't be read.
    #[error(transparent)]
    Expectation(#[from] ExpectationError),
    /// It could never fail.
    #[error("it expects nothing; write `configure`, `skip`, `target-selection`, `path-mapping` or `repository-prefix`")]
    ExpectsNothing,
    /// A plugin that refuses its configuration is asked nothing more.
    #[error("it expects `configure` to fail, and answers of hooks")]
    AfterFailure,
}

/// An image use, and what is expected of a plugin that is asked about it.
pub struct Case {
    /// Its name.
    pub name: String,
    /// What the plugin is configured with.
    pub config: Option<Value>,
    /// What it is asked about.
    pub question: Question,
    /// The targets that are configured.
    pub targets: Vec<Arc<Target>>,
    /// How `configure` is expected to fail; none where it is expected to succeed.
    pub refusal: Option<ErrorKind>,
    /// The expected answers, in the order asked.
    pub answers: BTreeMap<Hook, Expectation>,
}

/// Reads a case file.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn read(text: &str) -> Result<Vec<Case>, CasesError> {
    let told = |error: serde_yaml::Error| CasesError::Syntax(error.render_with_formatter(&Words));
    let file: FileText = serde_yaml::from_str(text).map_err(told)?;
    let mut cases: Vec<Case> = Vec::new();
    for written in &file.cases {
        let name = &written.name;
        if cases.iter().any(|case| case.name == *name) {
            return Err(CasesError::SameName(name.clone()));
        }
        let case = case(written, &file).map_err(|fault| CasesError::Case { case: name.clone(), fault })?;
        cases.push(case);
    }
    if cases.is_empty() { Err(CasesError::Empty) } else { Ok(cases) }
}

/// What a parser's error says to the author of the file: by itself it speaks to who calls the parser.
struct Words;

impl MessageFormatter for Words {
    fn format_message<'a>(&self, error: &'a serde_yaml::Error) -> Cow<'a, str> {
        match error {
            serde_yaml::Error::Unexpected { expected: "mapping start", .. } => {
                Cow::Borrowed("keys with values are expected here, as `key: value`")
            }
            serde_yaml::Error::Unexpected { expected: "sequence start", .. } => {
                Cow::Borrowed("a list is expected here, as `- value`")
            }
            serde_yaml::Error::Unexpected { expected: "string scalar", .. } => Cow::Borrowed("a text is expected here"),
            other => UserMessageFormatter.format_message(other),
        }
    }
}

/// A question that any plugin may be asked, and a target.
pub fn built_in() -> Result<(Question, Vec<Arc<Target>>), ReferenceError> {
    let labels = [("app.kubernetes.io/name", "web"), ("team", "payments"), ("tier", "prod")];
    let workload = WorkloadText {
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..WorkloadText::default()
    };
    let image_use = image_use(&workload, &ContainerText::default(), "registry.example.com/shop/web:1.27.3");
    Ok((Question::about(&image_use)?, vec![Arc::new(TargetText::default().into())]))
}

fn case(written: &CaseText, file: &FileText) -> Result<Case, CaseFault> {
    let expect = &written.expect;
    let answers = [
        (Hook::Skip, &expect.skip),
        (Hook::TargetSelection, &expect.target_selection),
        (Hook::PathMapping, &expect.path_mapping),
        (Hook::RepositoryPrefix, &expect.repository_prefix),
    ];
    let answers = answers.into_iter().filter_map(|(hook, value)| Some((hook, value.as_ref()?)));
    let answers: BTreeMap<Hook, Expectation> =
        answers.map(|(hook, value)| Ok((hook, Expectation::read(hook, value)?))).collect::<Result<_, CaseFault>>()?;
    let refusal = expect.configure.as_ref().map(Expectation::read_refusal).transpose()?.flatten();
    match (&refusal, answers.is_empty()) {
        (Some(_), false) => return Err(CaseFault::AfterFailure),
        (None, true) if expect.configure.is_none() => return Err(CaseFault::ExpectsNothing),
        _ => {}
    }
    let targets = written.targets.as_ref().or(file.targets.as_ref());
    Ok(Case {
        name: written.name.clone(),
        config: match &written.config {
            Some(Value::Null) => None,
            Some(config) => Some(config.clone()),
            None => file.config.clone(),
        },
        question: Question::about(&image_use(&written.workload, &written.container, &written.image))?,
        targets: match targets {
            Some(targets) => targets.iter().map(|target| Arc::new(target.clone().into())).collect(),
            None => vec![Arc::new(TargetText::default().into())],
        },
        refusal,
        answers,
    })
}

fn image_use(workload: &WorkloadText, container: &ContainerText, image: &str) -> ImageUse {
    let workload = workload.clone();
    let owners = workload.owners.into_iter();
    ImageUse {
        workload: Arc::new(Workload {
            id: WorkloadId { kind: workload.kind.0, namespace: workload.namespace, name: workload.name },
            uid: String::new(),
            owners: owners.map(|OwnerText { group, kind, name }| Owner { group, kind, name }).collect(),
            labels: workload.labels,
            annotations: workload.annotations,
            namespace_labels: workload.namespace_labels.into(),
            created: 0,
        }),
        container: Container { name: container.name.clone(), kind: container.kind.into() },
        image: image.to_owned(),
        running: Vec::new(),
        platforms: None,
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct FileText {
    config: Option<Value>,
    targets: Option<Vec<TargetText>>,
    cases: Vec<CaseText>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct CaseText {
    name: String,
    /// `null` takes that of the file away.
    #[serde(default, deserialize_with = "given")]
    config: Option<Value>,
    #[serde(default)]
    workload: WorkloadText,
    #[serde(default)]
    container: ContainerText,
    image: String,
    targets: Option<Vec<TargetText>>,
    expect: ExpectText,
}

/// A value that is written down, `null` too.
fn given<'de, D: serde::Deserializer<'de>>(value: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(value).map(Some)
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct ExpectText {
    configure: Option<Value>,
    skip: Option<Value>,
    target_selection: Option<Value>,
    path_mapping: Option<Value>,
    repository_prefix: Option<Value>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct WorkloadText {
    kind: KindText,
    namespace: String,
    name: String,
    owners: Vec<OwnerText>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    namespace_labels: BTreeMap<String, String>,
}

impl Default for WorkloadText {
    fn default() -> Self {
        Self {
            kind: KindText(WorkloadKind::Deployment),
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
struct KindText(WorkloadKind);

impl TryFrom<String> for KindText {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let known = || WorkloadKind::ALL.map(WorkloadKind::name).join(", ");
        text.parse().map(Self).map_err(|error| format!("{error}; there are {}", known()))
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct OwnerText {
    #[serde(default)]
    group: String,
    kind: String,
    name: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ContainerText {
    name: String,
    kind: ContainerKindText,
}

impl Default for ContainerText {
    fn default() -> Self {
        Self { name: "main".to_owned(), kind: ContainerKindText::Regular }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ContainerKindText {
    Init,
    Regular,
    Ephemeral,
}

impl From<ContainerKindText> for ContainerKind {
    fn from(kind: ContainerKindText) -> Self {
        match kind {
            ContainerKindText::Init => Self::Init,
            ContainerKindText::Regular => Self::Regular,
            ContainerKindText::Ephemeral => Self::Ephemeral,
        }
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TargetText {
    name: String,
    kind: TargetKindText,
    registry: String,
    prefix: String,
}

impl Default for TargetText {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            kind: TargetKindText::Docker,
            registry: "mirror.example.com".to_owned(),
            prefix: String::new(),
        }
    }
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TargetKindText {
    Ecr,
    Docker,
    OciLayout,
}

impl From<TargetText> for Target {
    fn from(text: TargetText) -> Self {
        let kind = match text.kind {
            TargetKindText::Ecr => TargetKind::Ecr,
            TargetKindText::Docker => TargetKind::Docker,
            TargetKindText::OciLayout => TargetKind::OciLayout,
        };
        Self { name: text.name, kind, registry: text.registry, repo_prefix: text.prefix }
    }
}
