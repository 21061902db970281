//! Settings of the user's plugins: those in the list `plugins`, in its order, then the files of the plugin folder by
//! name.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    PluginConfig, PluginLimitsConfig, PluginModule,
    error::SourceLocation,
    file::read_yaml,
    reader::{Reader, Section, Spanned, reject_duplicates},
    value::{count, duration, keyword, memory, quoted},
};
use crate::model::{OnFailure, Reference};

/// The name of an entry with neither a name nor a module.
const UNNAMED: &str = "unnamed";
/// Extensions of plugins, plain and compressed with gzip.
const EXTENSIONS: [&str; 2] = [".wasm", ".wasm.gz"];

/// The words of `onFailure`.
pub(super) const ON_FAILURE: [(&str, OnFailure); 2] = [("fail", OnFailure::Fail), ("pass", OnFailure::Pass)];

pub(super) fn plugins(
    reader: &mut Reader<'_>,
    root: &mut Section<'_>,
    dir: &Path,
    dir_is_explicit: Option<&SourceLocation>,
) -> Vec<PluginConfig> {
    let mut plugins = Vec::new();
    let mut listed_files = Vec::new();
    for section in root.sections(reader, "plugins") {
        let location = section.location();
        if let Some((plugin, real)) = listed_plugin(reader, section, dir) {
            plugins.push((plugin, location));
            listed_files.extend(real);
        }
    }
    for (stem, module) in find_modules(reader, dir, dir_is_explicit) {
        reader.track_file(&module);
        match real_file(&module) {
            Ok(real) if listed_files.contains(&real) => warn_about_ignored_settings(reader, &dir.join(stem)),
            Ok(_) => plugins.extend(found_plugin(reader, &stem, module)),
            Err(error) => reader.reject(&SourceLocation::File(module), format!("can't be read: {error}")),
        }
    }
    reject_duplicates(
        reader,
        "plugin",
        plugins.iter().map(|(plugin, location)| (plugin.name.as_str(), location.clone())),
    );
    plugins.into_iter().map(|(plugin, _)| plugin).collect()
}

/// An entry of the list, and the real path of its file if it has one.
fn listed_plugin(
    reader: &mut Reader<'_>,
    mut section: Section<'_>,
    dir: &Path,
) -> Option<(PluginConfig, Option<PathBuf>)> {
    let location = section.location();
    let filled = |found: &Spanned| !found.value.trim().is_empty();
    let file = section.scalar(reader, "module").filter(filled);
    let oci = section.scalar(reader, "oci").filter(filled);
    match (file, oci) {
        (Some(file), None) => {
            let path = dir.join(file.value.trim());
            let stem = path.file_name().map(|name| stem(&name.to_string_lossy()).to_owned()).unwrap_or_default();
            let plugin = entry(reader, section, &stem, PluginModule::File(path.clone()));
            reader.track_file(&path);
            match real_file(&path) {
                Ok(real) => Some((plugin?, Some(real))),
                Err(error) => {
                    reader.reject(&file.location, format!("{} can't be read: {error}", path.display()));
                    None
                }
            }
        }
        (None, Some(oci)) => {
            let reference = reader.parse(&oci, pinned_reference).map(|found| found.value);
            let repository = reference.as_ref().map(Reference::repository).unwrap_or_default();
            let stem = repository.rsplit('/').next().filter(|stem| !stem.is_empty()).unwrap_or(UNNAMED).to_owned();
            let module = reference.clone().map_or_else(no_module, PluginModule::Oci);
            let plugin = entry(reader, section, &stem, module);
            reference.and(Some((plugin?, None)))
        }
        (file, oci) => {
            let _ = entry(reader, section, UNNAMED, no_module());
            let message = match (file, oci) {
                (Some(_), Some(_)) => "the plugin has both module and oci; keep one of the two",
                _ => "the plugin has no module; write `module: FILE.wasm` or `oci: REFERENCE@sha256:…`",
            };
            reader.reject(&location, message);
            None
        }
    }
}

/// A placeholder for a rejected entry, whose other settings are checked nevertheless.
fn no_module() -> PluginModule {
    PluginModule::File(PathBuf::new())
}

/// A reference with a digest: anybody who may push could move a tag, and so change the policy.
fn pinned_reference(text: &str) -> Result<Reference, String> {
    let reference: Reference = text.trim().parse().map_err(|error| format!("{error}"))?;
    if reference.digest().is_none() {
        let advice = "add the digest that `plugin push` printed, since tags can be moved";
        return Err(format!("{} has no digest; {advice}", quoted(text)));
    }
    Ok(reference)
}

/// The file name without its extension.
fn stem(name: &str) -> &str {
    EXTENSIONS.iter().find_map(|extension| name.strip_suffix(extension)).unwrap_or(name)
}

fn real_file(path: &Path) -> io::Result<PathBuf> {
    let real = fs::canonicalize(path)?;
    if fs::metadata(&real)?.is_file() { Ok(real) } else { Err(io::Error::other("not a regular file")) }
}

/// The keys that an entry of the list and a file next to a module have in common.
fn entry(reader: &mut Reader<'_>, mut section: Section<'_>, stem: &str, module: PluginModule) -> Option<PluginConfig> {
    let name = reader.setting(&mut section, "name", None, name);
    let config = section.node("config").map(|(node, _)| node.to_json());
    let limits = limits(reader, &mut section);
    let on_failure = reader.setting(&mut section, "onFailure", None, |text| keyword(text, &ON_FAILURE));
    let location = section.location();
    section.finish(reader);
    let name = match name {
        Some(name) => name.value,
        None => reader.parse(&Spanned { value: stem.to_owned(), location }, self::name)?.value,
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
    text.trim().parse().map_err(|_| format!("{} is not a number of lines; write 0 or more", quoted(text)))
}

/// A name for metrics and log lines.
fn name(text: &str) -> Result<String, String> {
    let text = text.trim();
    if !text.is_empty()
        && text.len() <= 64
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    {
        return Ok(text.to_owned());
    }
    Err(format!("{} is not a valid plugin name; write up to 64 of a-z, A-Z, 0-9, `.`, `_` and `-`", quoted(text)))
}

/// Every `*.wasm` and `*.wasm.gz` of the folder: stem and path, sorted. Names of a mounted ConfigMap that start with a
/// dot are internal.
fn find_modules(reader: &mut Reader<'_>, dir: &Path, is_explicit: Option<&SourceLocation>) -> Vec<(String, PathBuf)> {
    let unreadable = |reader: &mut Reader<'_>, error: &io::Error| {
        let location = is_explicit.cloned().unwrap_or_else(|| SourceLocation::File(dir.to_owned()));
        reader.reject(&location, format!("the plugin folder {} can't be read: {error}", dir.display()));
    };
    reader.track_file(dir);
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound && is_explicit.is_none() => return Vec::new(),
        Err(error) => {
            unreadable(reader, &error);
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
            Err(error) => unreadable(reader, &error),
        }
    }
    modules.sort();
    modules
}

/// A module of the folder, with the settings of the YAML file next to it.
fn found_plugin(reader: &mut Reader<'_>, stem: &str, module: PathBuf) -> Option<(PluginConfig, SourceLocation)> {
    let settings_file = module.with_file_name(format!("{stem}.yaml"));
    let document = read_yaml(reader, &settings_file, false);
    let file: Arc<Path> = if document.is_some() { settings_file.into() } else { module.as_path().into() };
    let section = Section::root(reader, Arc::clone(&file), document.as_ref());
    let plugin = entry(reader, section, stem, PluginModule::File(module))?;
    Some((plugin, SourceLocation::File(file.to_path_buf())))
}

/// A plugin in the list has its settings there; the YAML file next to its module is ignored.
fn warn_about_ignored_settings(reader: &mut Reader<'_>, stem: &Path) {
    let mut settings_file = stem.as_os_str().to_owned();
    settings_file.push(".yaml");
    let settings_file = PathBuf::from(settings_file);
    if settings_file.is_file() {
        reader.warn(
            &SourceLocation::File(settings_file),
            "ignored: this plugin is in the list `plugins:`, its settings belong there",
        );
    }
}
