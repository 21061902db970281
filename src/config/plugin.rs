//! The user's plugins: those of the list, in its order, then the files of the plugin folder, by name.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    OnFailure, PluginConfig, PluginLimitsConfig, PluginModule,
    file::read_tree,
    mistake::Place,
    reader::{Found, Reader, Section, refuse_twins},
    scalar::{count, duration, memory, shown, word},
};
use crate::model::Reference;

/// The name of an entry of which nothing gives it one.
const UNNAMED: &str = "unnamed";
/// What a plugin's file is called: as it is, or compressed with gzip.
const EXTENSIONS: [&str; 2] = [".wasm", ".wasm.gz"];

pub(super) fn plugins(
    reader: &mut Reader<'_>,
    root: &mut Section<'_>,
    dir: &Path,
    dir_is_explicit: Option<&Place>,
) -> Vec<PluginConfig> {
    let mut plugins = Vec::new();
    let mut taken = Vec::new();
    for section in root.sections(reader, "plugins") {
        let place = section.place();
        if let Some((plugin, real)) = listed(reader, section, dir) {
            plugins.push((plugin, place));
            taken.extend(real);
        }
    }
    for (stem, module) in modules(reader, dir, dir_is_explicit) {
        reader.looks_at(&module);
        match real_file(&module) {
            Ok(real) if taken.contains(&real) => warn_of_idle_settings(reader, &dir.join(stem)),
            Ok(_) => plugins.extend(discovered(reader, &stem, module)),
            Err(error) => reader.refuse(&Place::File(module), format!("can't be read: {error}")),
        }
    }
    refuse_twins(reader, "plugin", plugins.iter().map(|(plugin, place)| (plugin.name.as_str(), place.clone())));
    plugins.into_iter().map(|(plugin, _)| plugin).collect()
}

/// An entry of the list, and its file's real path if it is one.
fn listed(reader: &mut Reader<'_>, mut section: Section<'_>, dir: &Path) -> Option<(PluginConfig, Option<PathBuf>)> {
    let place = section.place();
    let filled = |found: &Found| !found.value.trim().is_empty();
    let file = section.scalar(reader, "module").filter(filled);
    let oci = section.scalar(reader, "oci").filter(filled);
    match (file, oci) {
        (Some(file), None) => {
            let path = dir.join(file.value.trim());
            let stem = path.file_name().map(|name| stem(&name.to_string_lossy()).to_owned()).unwrap_or_default();
            let plugin = entry(reader, section, &stem, PluginModule::File(path.clone()));
            reader.looks_at(&path);
            match real_file(&path) {
                Ok(real) => Some((plugin?, Some(real))),
                Err(error) => {
                    reader.refuse(&file.place, format!("{} can't be read: {error}", path.display()));
                    None
                }
            }
        }
        (None, Some(oci)) => {
            let reference = reader.read(&oci, pinned).map(|found| found.value);
            let repository = reference.as_ref().map(Reference::repository).unwrap_or_default();
            let stem = repository.rsplit('/').next().filter(|stem| !stem.is_empty()).unwrap_or(UNNAMED).to_owned();
            let module = reference.clone().map_or_else(nowhere, PluginModule::Oci);
            let plugin = entry(reader, section, &stem, module);
            reference.and(Some((plugin?, None)))
        }
        (file, oci) => {
            let _ = entry(reader, section, UNNAMED, nowhere());
            let message = match (file, oci) {
                (Some(_), Some(_)) => "this plugin has a module and an oci; keep one of the two",
                _ => "this plugin has no module; write `module: FILE.wasm`, or `oci: REFERENCE@sha256:…`",
            };
            reader.refuse(&place, message);
            None
        }
    }
}

/// Of an entry that is refused, and read to its end all the same, so that every mistake in it shows.
fn nowhere() -> PluginModule {
    PluginModule::File(PathBuf::new())
}

/// A tag can be moved by whoever may push; what decides about a cluster's images must not move with it.
fn pinned(text: &str) -> Result<Reference, String> {
    let reference: Reference = text.trim().parse().map_err(|error| format!("{error}"))?;
    if reference.digest().is_none() {
        let advice = "add the digest that `plugin push` printed: a tag alone can be moved to something else";
        return Err(format!("{} names no digest; {advice}", shown(text)));
    }
    Ok(reference)
}

/// A file's name without what says that it is a plugin.
fn stem(name: &str) -> &str {
    EXTENSIONS.iter().find_map(|extension| name.strip_suffix(extension)).unwrap_or(name)
}

fn real_file(path: &Path) -> io::Result<PathBuf> {
    let real = fs::canonicalize(path)?;
    if fs::metadata(&real)?.is_file() { Ok(real) } else { Err(io::Error::other("it is not a regular file")) }
}

/// The keys that an entry of the list and a file beside a module have in common.
fn entry(reader: &mut Reader<'_>, mut section: Section<'_>, stem: &str, module: PluginModule) -> Option<PluginConfig> {
    let name = reader.setting(&mut section, "name", None, name);
    let config = section.node("config").map(|(node, _)| node.to_json());
    let limits = limits(reader, &mut section);
    let on_failure = [("fail", OnFailure::Fail), ("pass", OnFailure::Pass)];
    let on_failure = reader.setting(&mut section, "onFailure", None, |text| word(text, &on_failure));
    let place = section.place();
    section.finish(reader);
    let name = match name {
        Some(name) => name.value,
        None => reader.read(&Found { value: stem.to_owned(), place }, self::name)?.value,
    };
    let on_failure = on_failure.map_or(OnFailure::Fail, |on_failure| on_failure.value);
    Some(PluginConfig { name, module, config, limits, on_failure })
}

fn limits(reader: &mut Reader<'_>, section: &mut Section<'_>) -> PluginLimitsConfig {
    let timeout = reader.setting(section, "timeout", None, duration);
    let configure_timeout = reader.setting(section, "configureTimeout", None, duration);
    let mut bytes = |key| reader.setting(section, key, None, memory).map(|found| found.value);
    let (memory, module_size, output) = (bytes("memory"), bytes("moduleSize"), bytes("output"));
    let instances = reader.setting(section, "instances", None, count);
    let log_lines = reader.setting(section, "logLines", None, lines);
    PluginLimitsConfig {
        timeout: timeout.map(|found| found.value),
        configure_timeout: configure_timeout.map(|found| found.value),
        memory,
        module_size,
        output,
        instances: instances.map(|found| found.value),
        log_lines: log_lines.map(|found| found.value),
    }
}

fn lines(text: &str) -> Result<u32, String> {
    text.trim().parse().map_err(|_| format!("{} is no number of lines; write 0 or more", shown(text)))
}

/// It labels metrics and log lines.
fn name(text: &str) -> Result<String, String> {
    let text = text.trim();
    if !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    {
        return Ok(text.to_owned());
    }
    Err(format!("{} is no name for a plugin; write up to 64 of a-z, A-Z, 0-9, `.`, `_` and `-`", shown(text)))
}

/// Every `*.wasm` and `*.wasm.gz` of the folder, by name, its stem first. A mounted ConfigMap has names that begin with a
/// dot, which are its own.
fn modules(reader: &mut Reader<'_>, dir: &Path, is_explicit: Option<&Place>) -> Vec<(String, PathBuf)> {
    let refused = |reader: &mut Reader<'_>, error: &io::Error| {
        let place = is_explicit.cloned().unwrap_or_else(|| Place::File(dir.to_owned()));
        reader.refuse(&place, format!("the plugin folder {} can't be read: {error}", dir.display()));
    };
    reader.looks_at(dir);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_explicit.is_none() => return Vec::new(),
        Err(error) => {
            refused(reader, &error);
            return Vec::new();
        }
    };
    let mut modules = Vec::new();
    for entry in entries {
        match entry {
            Ok(entry) => {
                let name = entry.file_name().to_string_lossy().into_owned();
                let stem = stem(&name);
                if !name.starts_with('.') && stem != name {
                    modules.push((stem.to_owned(), entry.path()));
                }
            }
            Err(error) => refused(reader, &error),
        }
    }
    modules.sort();
    modules
}

/// A module of the folder, with the settings of the file beside it.
fn discovered(reader: &mut Reader<'_>, stem: &str, module: PathBuf) -> Option<(PluginConfig, Place)> {
    let beside = module.with_file_name(format!("{stem}.yaml"));
    let document = read_tree(reader, &beside, false);
    let file: Arc<Path> = if document.is_some() { beside.into() } else { module.as_path().into() };
    let section = Section::root(reader, Arc::clone(&file), document.as_ref());
    let plugin = entry(reader, section, stem, PluginModule::File(module))?;
    Some((plugin, Place::File(file.to_path_buf())))
}

/// The settings of a plugin in the list stand there; a file beside its module is not read.
fn warn_of_idle_settings(reader: &mut Reader<'_>, stem: &Path) {
    let mut beside = stem.as_os_str().to_owned();
    beside.push(".yaml");
    let beside = PathBuf::from(beside);
    if beside.is_file() {
        reader.warn(&Place::File(beside), "not read: this plugin is in the list `plugins:`, its settings belong there");
    }
}
