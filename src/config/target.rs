//! Settings of targets: the list `targets:`, or the single target of the original program's settings.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use super::{
    EcrConfig, TargetConfig,
    credential::{PASSWORD, PartKeys, USERNAME, credential_part},
    ecr::EcrSettings,
    error::SourceLocation,
    reader::{Reader, Section, Spanned, reject_duplicates},
    referrers::scope,
    registry_name::{registry, repo_prefix},
    secret_file::read_secret,
    value::{boolean, keyword, quoted},
};
use crate::model::{Login, TargetKind};

/// The words of `targetKind` and `kind`.
pub(super) const KINDS: [(&str, TargetKind); 3] =
    [("ecr", TargetKind::Ecr), ("docker", TargetKind::Docker), ("oci-layout", TargetKind::OciLayout)];

/// The variables of the single target. `AWS_REGION` is not one of them: AWS sets it by itself, and it is the default of
/// `region` in the list.
const SINGLE_TARGET_VARIABLES: [&str; 12] = [
    "TARGET_KIND",
    "TARGET_REGISTRY",
    "TARGET_REPO_PREFIX",
    "TARGET_USERNAME",
    "TARGET_USERNAME_FILE",
    "TARGET_PASSWORD",
    "TARGET_PASSWORD_FILE",
    "TARGET_INSECURE",
    "TARGET_PATH",
    "ECR_ACCOUNT_ID",
    "ECR_REPO_PREFIX",
    "ECR_CREATE_REPO",
];

/// All targets; names distinct.
pub(super) fn targets(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Vec<TargetConfig> {
    let listed = root.sections(reader, "targets");
    if listed.is_empty() {
        return single_target(reader, root).into_iter().collect();
    }
    reject_single_target_settings(reader, root);
    let mut names = Vec::new();
    let mut targets = Vec::new();
    for section in listed {
        let location = section.location();
        if let Some(target) = listed_target(reader, section) {
            names.push((target.name.clone(), location));
            targets.push(target);
        }
    }
    reject_duplicates(reader, "target", names.iter().map(|(name, location)| (name.as_str(), location.clone())));
    reject_linked_layouts(reader, targets.iter().zip(names.iter().map(|(_, location)| location)));
    targets
}

/// Layouts are distinguished by their paths, so two paths must not lead to one folder.
fn reject_linked_layouts<'t>(
    reader: &mut Reader<'_>,
    targets: impl Iterator<Item = (&'t TargetConfig, &'t SourceLocation)>,
) {
    let mut seen: HashMap<PathBuf, &str> = HashMap::new();
    for (target, location) in targets.filter(|(target, _)| target.kind == TargetKind::OciLayout) {
        // A folder that does not exist yet has no links.
        let Ok(folder) = Path::new(&target.registry).canonicalize() else { continue };
        match seen.get(&folder) {
            Some(path) if Path::new(path) != Path::new(&target.registry) => {
                let message = format!(
                    "{} and {} are one folder; use the same path for both",
                    quoted(path),
                    quoted(&target.registry)
                );
                reader.reject(location, message);
            }
            _ => drop(seen.insert(folder, &target.registry)),
        }
    }
}

/// With a list of targets, the settings of the single target would have no effect.
fn reject_single_target_settings(reader: &mut Reader<'_>, root: &mut Section<'_>) {
    let why = "configures a target, and so does the list `targets:`; keep one of the two";
    for key in ["targetKind", "repoPrefix", "docker", "ecr", "ociLayout"] {
        if let Some((_, location)) = root.node(key).filter(|(node, _)| !node.is_empty()) {
            reader.reject(&location, why);
        }
    }
    for name in SINGLE_TARGET_VARIABLES {
        if let Some(found) = reader.nonblank_variable(name) {
            reader.reject(&found.location, why);
        }
    }
}

fn single_target(reader: &mut Reader<'_>, root: &mut Section<'_>) -> Option<TargetConfig> {
    let errors = reader.errors.len();
    let kind = reader.setting(root, "targetKind", Some("TARGET_KIND"), |text| keyword(text, &KINDS));
    let kind_is_valid = reader.errors.len() == errors;
    let kind = kind.map_or(TargetKind::Ecr, |kind| kind.value);

    // The sections of other kinds are checked too, except for missing keys.
    let mut settings = TargetSettings::default();
    let sections = [("docker", TargetKind::Docker), ("ecr", TargetKind::Ecr), ("ociLayout", TargetKind::OciLayout)];
    for (key, section_kind) in sections {
        let errors = reader.errors.len();
        let mut section = root.section(reader, key);
        let is_rejected = reader.errors.len() > errors;
        let names = if section_kind == kind { SettingNames::KeysAndVariables } else { SettingNames::Keys };
        let mut section_settings = TargetSettings::read(reader, &mut section, section_kind, names);
        section_settings.has_errors |= is_rejected;
        section.finish(reader);
        if section_kind == kind {
            settings = section_settings;
        }
    }

    if let Some(prefix) = reader.setting(root, "repoPrefix", None, repo_prefix) {
        match &settings.prefix {
            Some(Spanned { location: SourceLocation::Variable(_), .. }) => {}
            Some(own) => {
                let message = format!("the target already has a prefix at {}; keep one of the two", own.location);
                reader.reject(&prefix.location, message);
            }
            None => settings.prefix = Some(prefix),
        }
    }
    if !kind_is_valid {
        return None;
    }
    settings.into_target(reader, "default".to_owned(), kind, &SourceLocation::Variable("TARGET_KIND".to_owned()))
}

fn listed_target(reader: &mut Reader<'_>, mut section: Section<'_>) -> Option<TargetConfig> {
    let location = section.location();
    let name = reader.setting(&mut section, "name", None, |text| Ok(text.trim().to_owned()));
    if name.is_none() {
        reader.reject(&location, "the target has no name; write `name: NAME`");
    }
    let errors = reader.errors.len();
    let kind = reader.setting(&mut section, "kind", None, |text| keyword(text, &KINDS));
    let Some(kind) = kind else {
        if reader.errors.len() == errors {
            reader.reject(&location, "the target has no kind; write `kind: docker`, `kind: ecr` or `kind: oci-layout`");
        }
        return None;
    };
    let referrers = scope(reader, &mut section, None);
    let settings = TargetSettings::read(reader, &mut section, kind.value, SettingNames::ListedKeys);
    section.finish(reader);
    let name = name.map(|name| name.value).unwrap_or_default();
    let target = settings.into_target(reader, name, kind.value, &location)?;
    Some(TargetConfig { referrers, ..target })
}

/// The keys and variables that configure a target.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SettingNames {
    /// The keys and variables of the original program.
    KeysAndVariables,
    /// The original program's keys of a kind that is not selected: only checked, and without variables.
    Keys,
    /// The keys of an entry of `targets:`.
    ListedKeys,
}

/// The settings of a target of any kind.
#[derive(Default)]
struct TargetSettings {
    registry: Option<Spanned>,
    prefix: Option<Spanned>,
    insecure: bool,
    username: Option<Spanned>,
    password: Option<Spanned>,
    path: Option<Spanned>,
    ecr: EcrSettings,
    /// A required setting was set but invalid, and so is not missing.
    has_errors: bool,
}

impl TargetSettings {
    fn read(reader: &mut Reader<'_>, section: &mut Section<'_>, kind: TargetKind, names: SettingNames) -> Self {
        match kind {
            TargetKind::Docker => Self::docker(reader, section, names),
            TargetKind::Ecr => Self::ecr(reader, section, names),
            TargetKind::OciLayout => Self::layout(reader, section, names),
        }
    }

    fn docker(reader: &mut Reader<'_>, section: &mut Section<'_>, names: SettingNames) -> Self {
        let variable = |name| (names == SettingNames::KeysAndVariables).then_some(name);
        let errors = reader.errors.len();
        let registry = reader.text(section, "registry", variable("TARGET_REGISTRY"));
        let settings = Self {
            registry,
            has_errors: reader.errors.len() > errors,
            prefix: reader.setting(section, "repoPrefix", variable("TARGET_REPO_PREFIX"), repo_prefix),
            insecure: reader
                .setting(section, "insecure", variable("TARGET_INSECURE"), boolean)
                .is_some_and(|insecure| insecure.value),
            ..Self::default()
        };
        let mut part = |keys: &PartKeys, in_variable, file_in_variable| {
            let preferred = variable(in_variable).and_then(|name| reader.variable(name)).or_else(|| {
                let file = variable(file_in_variable).and_then(|name| reader.nonblank_variable(name))?;
                Some(read_secret(reader, &file))
            });
            credential_part(reader, section, keys, preferred)
        };
        Self {
            username: part(&USERNAME, "TARGET_USERNAME", "TARGET_USERNAME_FILE"),
            password: part(&PASSWORD, "TARGET_PASSWORD", "TARGET_PASSWORD_FILE"),
            ..settings
        }
    }

    fn ecr(reader: &mut Reader<'_>, section: &mut Section<'_>, names: SettingNames) -> Self {
        let variable = |name| (names == SettingNames::KeysAndVariables).then_some(name);
        let ecr =
            EcrSettings::read(reader, section, names == SettingNames::KeysAndVariables, names != SettingNames::Keys);
        let prefix = reader.setting(section, "repoPrefix", variable("ECR_REPO_PREFIX"), repo_prefix);
        Self { has_errors: ecr.has_errors, ecr, prefix, ..Self::default() }
    }

    fn layout(reader: &mut Reader<'_>, section: &mut Section<'_>, names: SettingNames) -> Self {
        let variable = |name| (names == SettingNames::KeysAndVariables).then_some(name);
        let errors = reader.errors.len();
        let path = reader.setting(section, "path", variable("TARGET_PATH"), layout_path);
        Self {
            path,
            has_errors: reader.errors.len() > errors,
            prefix: reader.setting(section, "repoPrefix", variable("TARGET_REPO_PREFIX"), repo_prefix),
            ..Self::default()
        }
    }

    fn into_target(
        self,
        reader: &mut Reader<'_>,
        name: String,
        kind: TargetKind,
        location: &SourceLocation,
    ) -> Option<TargetConfig> {
        let mut login = None;
        let mut ecr = None;
        let registry = match kind {
            TargetKind::Docker => {
                login = login_of(reader, self.username, self.password);
                let Some(found) = self.registry else {
                    if !self.has_errors {
                        reject_missing_settings(reader, location, kind, &[("TARGET_REGISTRY", "docker.registry")]);
                    }
                    return None;
                };
                registry(reader, &found)?
            }
            TargetKind::OciLayout => {
                let Some(path) = self.path else {
                    if !self.has_errors {
                        reject_missing_settings(reader, location, kind, &[("TARGET_PATH", "ociLayout.path")]);
                    }
                    return None;
                };
                path.value
            }
            TargetKind::Ecr => {
                let (Some(account), Some(region)) = (&self.ecr.account, &self.ecr.region) else {
                    if !self.has_errors {
                        let required = [("ECR_ACCOUNT_ID", "ecr.accountID"), ("AWS_REGION", "ecr.region")];
                        reject_missing_settings(reader, location, kind, &required);
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
        Some(TargetConfig { name, kind, registry, repo_prefix, insecure: self.insecure, login, referrers: None, ecr })
    }
}

/// Reports the settings that a kind requires, by the names that are valid at this location.
fn reject_missing_settings(
    reader: &mut Reader<'_>,
    location: &SourceLocation,
    kind: TargetKind,
    required: &[(&str, &str)],
) {
    let is_single = matches!(location, SourceLocation::Variable(_));
    let names = required.iter().map(|(variable, key)| match key.split_once('.') {
        Some((_, key)) if !is_single => key.to_owned(),
        _ => format!("{variable} (in the file {key})"),
    });
    let default = if is_single && kind == TargetKind::Ecr { " (default)" } else { "" };
    let names = names.collect::<Vec<_>>().join(" and ");
    reader.reject_missing(location, format!("the kind {kind}{default} requires {names}"));
}

fn login_of(reader: &mut Reader<'_>, username: Option<Spanned>, password: Option<Spanned>) -> Option<Login> {
    match (username, password) {
        (Some(username), Some(password)) => {
            Some(Login::Password { username: username.value, password: password.value.into() })
        }
        (None, None) => None,
        (Some(username), None) => {
            reader.reject_missing(&username.location, "user name without a password: set both or none");
            None
        }
        (None, Some(password)) => {
            reader.reject_missing(&password.location, "password without a user name: set both or none");
            None
        }
    }
}

/// In `oci:PATH:REPOSITORY:TAG` a colon ends the path.
fn layout_path(text: &str) -> Result<String, String> {
    match text.contains(':') {
        true => Err(format!("the folder {} must not contain a colon, which ends the path in references", quoted(text))),
        false => Ok(text.to_owned()),
    }
}
