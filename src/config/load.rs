//! From flags, variables and the file to one [`Config`], or to everything that is wrong with them.

use std::path::{Path, PathBuf};

use super::{
    Config, Flags,
    access::registries,
    copy::copy,
    credential::credentials,
    file::read_tree,
    mistake::{Mistakes, Place},
    policy::policy,
    process::process,
    reader::{Reader, Section},
    target::targets,
    watch::watch,
    yaml::Node,
};

/// A configuration that can be used.
#[derive(Debug)]
pub struct Loaded {
    /// Everything that was set.
    pub config: Config,
    /// The files and folders that were looked at, whether they are there or not: when one of them changes, loading again
    /// can give something else.
    pub files: Vec<PathBuf>,
    /// What is right and yet to be told to the user: each a line, with its place.
    pub warnings: Vec<String>,
}

/// Reads everything: flags win over variables (`env`), these over the file, and this over the defaults. The file is the
/// one of `--config`, else of `CONFIG_PATH`, else `/config/config.yaml`; the latter two need not exist. Plugins are
/// looked for on disk; they are not loaded.
///
/// # Errors
///
/// All mistakes of all sources; none of them passes by itself.
pub fn load(flags: &Flags, env: &dyn Fn(&str) -> Option<String>) -> Result<Loaded, Mistakes> {
    let mut reader = Reader::new(env);
    let file = file(&mut reader, flags);
    let document = read_tree(&mut reader, &file, flags.config.is_some());
    settle(reader, &file, document.as_ref(), flags)
}

/// The settings, the file's tree being read.
pub(super) fn settle(
    mut reader: Reader<'_>,
    file: &Path,
    document: Option<&Node>,
    flags: &Flags,
) -> Result<Loaded, Mistakes> {
    let mut root = Section::root(&mut reader, file.into(), document);
    let config = Config {
        targets: targets(&mut reader, &mut root),
        watch: watch(&mut reader, &mut root),
        policy: policy(&mut reader, &mut root),
        copy: copy(&mut reader, &mut root, flags),
        registries: registries(&mut reader, &mut root),
        credentials: credentials(&mut reader, &mut root),
        process: process(&mut reader, &mut root, flags),
    };
    root.finish(&mut reader);
    if reader.mistakes.is_empty() {
        Ok(Loaded { config, files: reader.files, warnings: reader.warnings })
    } else {
        Err(Mistakes::new(reader.mistakes, config.policy.plugins, reader.files))
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
        reader.warn(&Place::Variable("CONFIG_PATH".to_owned()), format!("there is no file {}", found.value));
    }
    PathBuf::from(found.value)
}
