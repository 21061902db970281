//! Builds a [`Config`] from flags, variables and the file, or reports all errors in them.

use std::path::{Path, PathBuf};

use super::{
    Config, Flags,
    access::registries,
    copy::copy,
    credential::credentials,
    docker_config::docker_logins,
    error::{ConfigErrors, SourceLocation},
    file::read_yaml,
    further_sources::further_sources,
    policy::policy,
    process::process,
    reader::{Reader, Section},
    target::targets,
    watch::watch,
    yaml::Node,
};

/// A valid configuration.
#[derive(Debug)]
pub struct Loaded {
    /// All settings.
    pub config: Config,
    /// The files and folders that were read or looked for: if one changes, the configuration may change.
    pub files: Vec<PathBuf>,
    /// Warnings for the user, one line each, with their locations.
    pub warnings: Vec<String>,
}

/// Loads the configuration: flags take precedence over variables (`env`), over the file, over defaults. The file is
/// that of `--config`, else of `CONFIG_PATH`, else `/config/config.yaml`; the latter two need not exist. Plugins are
/// looked for on disk, but not loaded.
///
/// # Errors
///
/// All errors of all sources. A retry does not help.
pub fn load(flags: &Flags, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, ConfigErrors> {
    let mut reader = Reader::new(env);
    let file = file(&mut reader, flags);
    let document = read_yaml(&mut reader, &file, flags.config.is_some());
    build_config(reader, &file, document.as_ref(), flags)
}

/// Builds the configuration from the parsed file.
pub(super) fn build_config(
    mut reader: Reader<'_>,
    file: &Path,
    document: Option<&Node>,
    flags: &Flags,
) -> Result<Loaded, ConfigErrors> {
    let mut root = Section::root(&mut reader, file.into(), document);
    let targets = targets(&mut reader, &mut root);
    let config = Config {
        further_sources: further_sources(&mut reader, &mut root, &targets),
        targets,
        watch: watch(&mut reader, &mut root),
        policy: policy(&mut reader, &mut root),
        copy: copy(&mut reader, &mut root, flags),
        registries: registries(&mut reader, &mut root),
        credentials: credentials(&mut reader, &mut root),
        docker_logins: docker_logins(&mut reader, &mut root, flags.user_logins),
        process: process(&mut reader, &mut root, flags),
    };
    root.finish(&mut reader);
    if reader.errors.is_empty() {
        Ok(Loaded { config, files: reader.files, warnings: reader.warnings })
    } else {
        Err(ConfigErrors::new(reader.errors, config.policy.plugins, reader.files))
    }
}

fn file(reader: &mut Reader<'_>, flags: &Flags) -> PathBuf {
    if let Some(file) = &flags.config {
        return file.clone();
    }
    let Some(found) = reader.variable("CONFIG_PATH") else {
        return PathBuf::from("/config/config.yaml");
    };
    if !Path::new(&found.value).exists() {
        reader
            .warn(&SourceLocation::Variable("CONFIG_PATH".to_owned()), format!("file {} does not exist", found.value));
    }
    PathBuf::from(found.value)
}
