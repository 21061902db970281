//! The user's plugins: those of the list, in its order, then the files of the plugin folder, by name.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    OnFailure, PluginConfig,
    file::read_tree,
    mistake::Place,
    reader::{Found, Reader, Section, refuse_twins},
    scalar::{duration, memory, shown, word},
};

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
            taken.push(real);
        }
    }
    for module in modules(reader, dir, dir_is_explicit) {
        match real_file(&module) {
            Ok(real) if taken.contains(&real) => warn_of_idle_settings(reader, &module),
            Ok(_) => plugins.extend(discovered(reader, &module)),
            Err(error) => reader.refuse(&Place::File(module), format!("can't be read: {error}")),
        }
    }
    refuse_twins(reader, "plugin", plugins.iter().map(|(plugin, place)| (plugin.name.as_str(), place.clone())));
    plugins.into_iter().map(|(plugin, _)| plugin).collect()
}

/// An entry of the list, and its module's real path.
fn listed(reader: &mut Reader<'_>, mut section: Section<'_>, dir: &Path) -> Option<(PluginConfig, PathBuf)> {
    let place = section.place();
    let module = section.scalar(reader, "module").filter(|module| !module.value.trim().is_empty());
    let Some(module) = module else {
        let _ = entry(reader, section, PathBuf::new());
        reader.refuse(&place, "this plugin has no module; write `module: FILE.wasm`");
        return None;
    };
    let path = dir.join(module.value.trim());
    let plugin = entry(reader, section, path.clone());
    match real_file(&path) {
        Ok(real) => Some((plugin?, real)),
        Err(error) => {
            reader.refuse(&module.place, format!("{} can't be read: {error}", path.display()));
            None
        }
    }
}

fn real_file(path: &Path) -> io::Result<PathBuf> {
    let real = fs::canonicalize(path)?;
    if fs::metadata(&real)?.is_file() { Ok(real) } else { Err(io::Error::other("it is not a file")) }
}

/// The keys that an entry of the list and a file beside a module have in common.
fn entry(reader: &mut Reader<'_>, mut section: Section<'_>, module: PathBuf) -> Option<PluginConfig> {
    let stem = module.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    let name = reader.setting(&mut section, "name", None, name);
    let config = section.node("config").map(|(node, _)| node.to_json());
    let timeout = reader.setting(&mut section, "timeout", None, duration);
    let configure_timeout = reader.setting(&mut section, "configureTimeout", None, duration);
    let memory = reader.setting(&mut section, "memory", None, memory);
    let on_failure = [("fail", OnFailure::Fail), ("pass", OnFailure::Pass)];
    let on_failure = reader.setting(&mut section, "onFailure", None, |text| word(text, &on_failure));
    let place = section.place();
    section.finish(reader);
    let name = match name {
        Some(name) => name.value,
        None => reader.read(&Found { value: stem, place }, self::name)?.value,
    };
    Some(PluginConfig {
        name,
        module,
        config,
        timeout: timeout.map_or(Duration::from_secs(1), |timeout| timeout.value),
        configure_timeout: configure_timeout.map_or(Duration::from_secs(5), |timeout| timeout.value),
        memory: memory.map_or(64 << 20, |memory| memory.value),
        on_failure: on_failure.map_or(OnFailure::Fail, |on_failure| on_failure.value),
    })
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

/// Every `*.wasm` of the folder, by name. A mounted ConfigMap has names that begin with a dot, which are its own.
fn modules(reader: &mut Reader<'_>, dir: &Path, is_explicit: Option<&Place>) -> Vec<PathBuf> {
    let refused = |reader: &mut Reader<'_>, error: &io::Error| {
        let place = is_explicit.cloned().unwrap_or_else(|| Place::File(dir.to_owned()));
        reader.refuse(&place, format!("the plugin folder {} can't be read: {error}", dir.display()));
    };
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
                let hidden = entry.file_name().to_string_lossy().starts_with('.');
                let path = entry.path();
                if !hidden && path.extension().is_some_and(|extension| extension == "wasm") {
                    modules.push(path);
                }
            }
            Err(error) => refused(reader, &error),
        }
    }
    modules.sort();
    modules
}

/// A module of the folder, with the settings of the file beside it.
fn discovered(reader: &mut Reader<'_>, module: &Path) -> Option<(PluginConfig, Place)> {
    let beside = module.with_extension("yaml");
    let document = read_tree(reader, &beside, false);
    let file: Arc<Path> = if document.is_some() { beside.into() } else { module.into() };
    let section = Section::root(reader, Arc::clone(&file), document.as_ref());
    let plugin = entry(reader, section, module.to_owned())?;
    Some((plugin, Place::File(file.to_path_buf())))
}

/// The settings of a plugin in the list stand there; a file beside its module is not read.
fn warn_of_idle_settings(reader: &mut Reader<'_>, module: &Path) {
    let beside = module.with_extension("yaml");
    if beside.is_file() {
        reader.warn(&Place::File(beside), "not read: this plugin is in the list `plugins:`, its settings belong there");
    }
}
