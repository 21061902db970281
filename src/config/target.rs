//! Where images go: the one target that the original's settings make, or the list `targets:`.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use super::{
    EcrConfig, TargetConfig, credential,
    ecr::EcrSettings,
    mistake::Place,
    reader::{Found, Reader, Section, refuse_twins},
    scalar::{boolean, shown, word},
    target_name::{registry, repo_prefix},
};
use crate::model::{Login, TargetKind};

const KINDS: [(&str, TargetKind); 3] =
    [("ecr", TargetKind::Ecr), ("docker", TargetKind::Docker), ("oci-layout", TargetKind::OciLayout)];

/// The variables that say something about the one target. `AWS_REGION` is not among them: Amazon sets it by itself,
/// and in the list it stands in for a missing `region`.
const VARIABLES: [&str; 10] = [
    "TARGET_KIND",
    "TARGET_REGISTRY",
    "TARGET_REPO_PREFIX",
    "TARGET_USERNAME",
    "TARGET_PASSWORD",
    "TARGET_INSECURE",
    "TARGET_PATH",
    "ECR_ACCOUNT_ID",
    "ECR_REPO_PREFIX",
    "ECR_CREATE_REPO",
];

/// All targets, names distinct.
pub(super) fn targets(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Vec<TargetConfig> {
    let listed = root.sections(reader, "targets");
    if listed.is_empty() {
        return only_target(reader, root).into_iter().collect();
    }
    refuse_only_target(reader, root);
    let mut names = Vec::new();
    let mut targets = Vec::new();
    for section in listed {
        let place = section.place();
        if let Some(target) = listed_target(reader, section) {
            names.push((target.name.clone(), place));
            targets.push(target);
        }
    }
    refuse_twins(reader, "target", names.iter().map(|(name, place)| (name.as_str(), place.clone())));
    refuse_linked_layouts(reader, targets.iter().zip(names.iter().map(|(_, place)| place)));
    targets
}

/// One folder is one layout only under one path: what lies in one place is told by how it is written.
fn refuse_linked_layouts<'t>(reader: &mut Reader<'_>, targets: impl Iterator<Item = (&'t TargetConfig, &'t Place)>) {
    let mut seen: HashMap<PathBuf, &str> = HashMap::new();
    for (target, place) in targets.filter(|(target, _)| target.kind == TargetKind::OciLayout) {
        // A folder that is not there yet is nobody's link.
        let Ok(folder) = Path::new(&target.registry).canonicalize() else { continue };
        match seen.get(&folder) {
            Some(path) if Path::new(path) != Path::new(&target.registry) => {
                let message =
                    format!("{} and {} are one folder; write it the same way", shown(path), shown(&target.registry));
                reader.refuse(place, message);
            }
            _ => drop(seen.insert(folder, &target.registry)),
        }
    }
}

/// Beside a list, the settings of the one target would have no effect.
fn refuse_only_target(reader: &mut Reader<'_>, root: &mut Section<'_>) {
    let why = "says where images go, and so does the list `targets:`; keep one of the two";
    for key in ["targetKind", "repoPrefix", "docker", "ecr", "ociLayout"] {
        if let Some((_, place)) = root.node(key).filter(|(node, _)| !node.is_empty()) {
            reader.refuse(&place, why);
        }
    }
    for name in VARIABLES {
        if let Some(found) = reader.worded_variable(name) {
            reader.refuse(&found.place, why);
        }
    }
}

fn only_target(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Option<TargetConfig> {
    let mistakes = reader.mistakes.len();
    let kind = reader.setting(root, "targetKind", Some("TARGET_KIND"), |text| word(text, &KINDS));
    let kind_is_known = reader.mistakes.len() == mistakes;
    let kind = kind.map_or(TargetKind::Ecr, |kind| kind.value);

    // What another kind needs is read all the same, so that its mistakes show; only what is missing does not matter.
    let mut settings = Settings::default();
    let sections = [("docker", TargetKind::Docker), ("ecr", TargetKind::Ecr), ("ociLayout", TargetKind::OciLayout)];
    for (key, section_kind) in sections {
        let mistakes = reader.mistakes.len();
        let mut section = root.section(reader, key);
        let is_refused = reader.mistakes.len() > mistakes;
        let names = if section_kind == kind { Names::KeysAndVariables } else { Names::Keys };
        let mut read = Settings::of(reader, &mut section, section_kind, names);
        read.faulty |= is_refused;
        section.finish(reader);
        if section_kind == kind {
            settings = read;
        }
    }

    if let Some(prefix) = reader.setting(root, "repoPrefix", None, repo_prefix) {
        match &settings.prefix {
            Some(Found { place: Place::Variable(_), .. }) => {}
            Some(own) => {
                let message = format!("the target has a prefix of its own at {}; keep one of the two", own.place);
                reader.refuse(&prefix.place, message);
            }
            None => settings.prefix = Some(prefix),
        }
    }
    if !kind_is_known {
        return None;
    }
    settings.into_target(reader, "default".to_owned(), kind, &Place::Variable("TARGET_KIND".to_owned()))
}

fn listed_target(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<TargetConfig> {
    let place = section.place();
    let name = reader.setting(&mut section, "name", None, |text| Ok(text.trim().to_owned()));
    if name.is_none() {
        reader.refuse(&place, "this target has no name; give it one: `name: …`");
    }
    let mistakes = reader.mistakes.len();
    let kind = reader.setting(&mut section, "kind", None, |text| word(text, &KINDS));
    let Some(kind) = kind else {
        if reader.mistakes.len() == mistakes {
            reader.refuse(&place, "this target has no kind; write `kind: docker`, `kind: ecr` or `kind: oci-layout`");
        }
        return None;
    };
    let settings = Settings::of(reader, &mut section, kind.value, Names::ListedKeys);
    section.finish(reader);
    settings.into_target(reader, name.map(|name| name.value).unwrap_or_default(), kind.value, &place)
}

/// By which names a target is set.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// The original's keys and variables.
    KeysAndVariables,
    /// The original's keys for a kind that is not chosen: they are checked, and the variables are not meant for it.
    Keys,
    /// The keys of an entry of `targets:`.
    ListedKeys,
}

/// What a target of any kind can have.
#[derive(Default)]
struct Settings {
    registry: Option<Found>,
    prefix: Option<Found>,
    insecure: bool,
    username: Option<Found>,
    password: Option<Found>,
    path: Option<Found>,
    ecr: EcrSettings,
    /// What the kind needs was there and was refused, so that it is not missing.
    faulty: bool,
}

impl Settings {
    fn of(reader: &mut Reader<'_>, section: &mut Section<'_>, kind: TargetKind, names: Names) -> Self {
        match kind {
            TargetKind::Docker => Self::docker(reader, section, names),
            TargetKind::Ecr => Self::ecr(reader, section, names),
            TargetKind::OciLayout => Self::layout(reader, section, names),
        }
    }

    fn docker(reader: &mut Reader<'_>, section: &mut Section<'_>, names: Names) -> Self {
        let variable = |name| (names == Names::KeysAndVariables).then_some(name);
        let mistakes = reader.mistakes.len();
        let registry = reader.text(section, "registry", variable("TARGET_REGISTRY"));
        let settings = Self {
            registry,
            faulty: reader.mistakes.len() > mistakes,
            prefix: reader.setting(section, "repoPrefix", variable("TARGET_REPO_PREFIX"), repo_prefix),
            insecure: reader
                .setting(section, "insecure", variable("TARGET_INSECURE"), boolean)
                .is_some_and(|insecure| insecure.value),
            ..Self::default()
        };
        let username = credential::part(reader, section, "username", "usernameEnv");
        let password = credential::part(reader, section, "password", "passwordEnv");
        Self {
            username: variable("TARGET_USERNAME").and_then(|name| reader.variable(name)).or(username),
            password: variable("TARGET_PASSWORD").and_then(|name| reader.variable(name)).or(password),
            ..settings
        }
    }

    fn ecr(reader: &mut Reader<'_>, section: &mut Section<'_>, names: Names) -> Self {
        let variable = |name| (names == Names::KeysAndVariables).then_some(name);
        let ecr = EcrSettings::read(reader, section, names == Names::KeysAndVariables, names != Names::Keys);
        let prefix = reader.setting(section, "repoPrefix", variable("ECR_REPO_PREFIX"), repo_prefix);
        Self { faulty: ecr.faulty, ecr, prefix, ..Self::default() }
    }

    fn layout(reader: &mut Reader<'_>, section: &mut Section<'_>, names: Names) -> Self {
        let variable = |name| (names == Names::KeysAndVariables).then_some(name);
        let mistakes = reader.mistakes.len();
        let path = reader.setting(section, "path", variable("TARGET_PATH"), layout_path);
        Self {
            path,
            faulty: reader.mistakes.len() > mistakes,
            prefix: reader.setting(section, "repoPrefix", variable("TARGET_REPO_PREFIX"), repo_prefix),
            ..Self::default()
        }
    }

    fn into_target(
        self,
        reader: &mut Reader<'_>,
        name: String,
        kind: TargetKind,
        place: &Place,
    ) -> Option<TargetConfig> {
        let mut login = None;
        let mut ecr = None;
        let registry = match kind {
            TargetKind::Docker => {
                login = login_of(reader, self.username, self.password);
                let Some(found) = self.registry else {
                    if !self.faulty {
                        missing(reader, place, kind, &[("TARGET_REGISTRY", "docker.registry")]);
                    }
                    return None;
                };
                registry(reader, &found)?
            }
            TargetKind::OciLayout => {
                let Some(path) = self.path else {
                    if !self.faulty {
                        missing(reader, place, kind, &[("TARGET_PATH", "ociLayout.path")]);
                    }
                    return None;
                };
                path.value
            }
            TargetKind::Ecr => {
                let (Some(account), Some(region)) = (&self.ecr.account, &self.ecr.region) else {
                    if !self.faulty {
                        let needed = [("ECR_ACCOUNT_ID", "ecr.accountID"), ("AWS_REGION", "ecr.region")];
                        missing(reader, place, kind, &needed);
                    }
                    return None;
                };
                let registry = self.ecr.registry(reader, &account.value, &region.value);
                let name = registry.to_string();
                ecr = Some(EcrConfig {
                    registry,
                    assume_role: self.ecr.assume_role,
                    create_repo: !self.ecr.keep_repositories,
                    new: self.ecr.new,
                });
                name
            }
        };
        let repo_prefix = self.prefix.map(|prefix| prefix.value).unwrap_or_default();
        Some(TargetConfig { name, kind, registry, repo_prefix, insecure: self.insecure, login, ecr })
    }
}

/// Names all that a kind needs, by the names that can be used in this place.
fn missing(reader: &mut Reader<'_>, place: &Place, kind: TargetKind, needed: &[(&str, &str)]) {
    let only = matches!(place, Place::Variable(_));
    let names = needed.iter().map(|(variable, key)| match key.split_once('.') {
        Some((_, key)) if !only => key.to_owned(),
        _ => format!("{variable} (in the file {key})"),
    });
    let default = if only && kind == TargetKind::Ecr { ", the default," } else { "" };
    let names = names.collect::<Vec<_>>().join(" and ");
    reader.refuse_missing(place, format!("the kind {kind}{default} needs {names}"));
}

fn login_of(reader: &mut Reader<'_>, username: Option<Found>, password: Option<Found>) -> Option<Login> {
    match (username, password) {
        (Some(username), Some(password)) => {
            Some(Login::Password { username: username.value, password: password.value.into() })
        }
        (None, None) => None,
        (Some(half), None) => {
            reader.refuse_missing(&half.place, "a user name without a password: set both, or none");
            None
        }
        (None, Some(half)) => {
            reader.refuse_missing(&half.place, "a password without a user name: set both, or none");
            None
        }
    }
}

/// A colon would part the path from the repository in `oci:PATH:REPOSITORY:TAG`.
fn layout_path(text: &str) -> Result<String, String> {
    match text.contains(':') {
        true => Err(format!("the folder {} has a colon in its name, which parts names of images in it", shown(text))),
        false => Ok(text.to_owned()),
    }
}
