//! The list `sources:`, where images may be had when their registries can't give them.

use std::path::PathBuf;

use super::{
    FurtherSourceConfig, FurtherSourcePlace, TargetConfig,
    reader::{Reader, Section, reject_duplicates},
    registry_name::registry,
    value::{closest, quoted},
};
use crate::model::canonical_registry;

/// In the order in which they are asked.
pub(super) fn further_sources(
    reader: &mut Reader<'_>,
    root: &mut Section<'_>,
    targets: &[TargetConfig],
) -> Vec<FurtherSourceConfig> {
    let mut sources = Vec::new();
    let mut names = Vec::new();
    for section in root.sections(reader, "sources") {
        let location = section.location();
        if let Some(source) = further_source(reader, section, targets) {
            names.push((source.to_string(), location));
            sources.push(source);
        }
    }
    reject_duplicates(reader, "source", names.iter().map(|(name, location)| (name.as_str(), location.clone())));
    sources
}

fn further_source(
    reader: &mut Reader<'_>,
    mut section: Section<'_>,
    targets: &[TargetConfig],
) -> Option<FurtherSourceConfig> {
    let location = section.location();
    let errors = reader.errors.len();
    let registry_text = reader.text(&mut section, "registry", None);
    let target = reader.text(&mut section, "target", None);
    let layout = reader.text(&mut section, "layout", None);
    let prefix = reader.text(&mut section, "prefix", None);
    section.finish(reader);
    let prefix = prefix.and_then(|found| registry(reader, &found)).map(|prefix| canonical_prefix(&prefix));
    let place = match (registry_text, target, layout) {
        (Some(found), None, None) => FurtherSourcePlace::Registry(registry(reader, &found)?),
        (None, Some(found), None) => {
            let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
            // A target with errors of its own is not among them.
            if !names.contains(&found.value.as_str()) && reader.errors.is_empty() {
                let known = match closest(&found.value, &names) {
                    Some(name) => format!("did you mean {}?", quoted(name)),
                    None => format!("known targets: {}", names.join(", ")),
                };
                let message = format!("there is no target {}; {known}", quoted(&found.value));
                reader.reject(&found.location, message);
            }
            FurtherSourcePlace::Target(found.value)
        }
        (None, None, Some(found)) => FurtherSourcePlace::Layout(PathBuf::from(found.value)),
        _ if reader.errors.len() > errors => return None,
        _ => {
            let message =
                "a source is one of three: write `registry: HOST[:PORT][/PATH]`, `target: NAME` or `layout: PATH`";
            reader.reject(&location, message);
            return None;
        }
    };
    Some(FurtherSourceConfig { place, prefix })
}

/// As in fully qualified references.
fn canonical_prefix(prefix: &str) -> String {
    match prefix.split_once('/') {
        Some((host, path)) => format!("{}/{path}", canonical_registry(host)),
        None => canonical_registry(prefix),
    }
}
