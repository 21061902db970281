//! Finds circles of imports among the files of a crate.
//!
//! Paths that start with `crate`, `self` or `super` are resolved to files, in `use` items and elsewhere, through re-exports
//! of a parent module too. Between a module and its descendants arrows are not counted: they are one subject.

use std::collections::{BTreeMap, BTreeSet};

/// A module path, such as `["report", "metrics"]`.
type Module = Vec<String>;

/// The text of each file, by module.
pub type Sources = BTreeMap<Module, String>;

/// Modules that import each other, directly or through others.
pub fn circles(sources: &Sources) -> Vec<Vec<String>> {
    let exports: BTreeMap<&Module, _> = sources.iter().map(|(module, text)| (module, names(module, text))).collect();
    let arrows: BTreeMap<&Module, BTreeSet<&Module>> = sources
        .iter()
        .map(|(module, text)| {
            let imported = paths(module, text).into_iter().filter_map(|path| resolve(sources, &exports, &path, 0));
            (
                module,
                imported.filter(|imported| !imported.starts_with(module) && !module.starts_with(imported)).collect(),
            )
        })
        .collect();
    let reachable: BTreeMap<&Module, BTreeSet<&Module>> =
        arrows.keys().map(|module| (*module, reachable_from(module, &arrows))).collect();
    let mut circles = BTreeSet::new();
    for (module, from_module) in &reachable {
        if from_module.contains(module) {
            let circle = from_module.iter().filter(|other| reachable[*other].contains(module));
            circles.insert(circle.map(|member| member.join("::")).collect::<Vec<_>>());
        }
    }
    circles.into_iter().collect()
}

fn reachable_from<'a>(start: &Module, arrows: &BTreeMap<&'a Module, BTreeSet<&'a Module>>) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&Module> = arrows[start].iter().copied().collect();
    while let Some(module) = next.pop() {
        if reached.insert(module) {
            next.extend(&arrows[module]);
        }
    }
    reached
}

/// The file that defines what `path` names; none for paths outside `sources`.
fn resolve<'a>(
    sources: &'a Sources,
    exports: &BTreeMap<&Module, BTreeMap<String, Module>>,
    path: &[String],
    depth: usize,
) -> Option<&'a Module> {
    const MAX_REEXPORTS: usize = 5;
    let length = (1..=path.len()).rev().find(|length| sources.contains_key(&path[..*length]))?;
    let (module, _) = sources.get_key_value(&path[..length])?;
    let reexported = path.get(length).and_then(|name| exports[module].get(name));
    match reexported {
        Some(target) if depth < MAX_REEXPORTS && target.starts_with(module) && target.as_slice() != path => {
            let target: Module = target.iter().chain(&path[length + 1..]).cloned().collect();
            resolve(sources, exports, &target, depth + 1)
        }
        _ => Some(module),
    }
}

/// The names that `use` items bring into a module, with their paths.
fn names(module: &Module, text: &str) -> BTreeMap<String, Module> {
    let mut names = BTreeMap::new();
    for item in text.split(';') {
        let Some(at) = item.rfind("use ") else { continue };
        for path in expand(&item[at + "use ".len()..]) {
            let path = absolute(module, &path);
            if let Some(name) = path.last() {
                names.insert(name.clone(), path.clone());
            }
        }
    }
    names
}

/// All paths in a file that start with `crate`, `self` or `super`, from the root of the crate.
fn paths(module: &Module, text: &str) -> Vec<Module> {
    let mut paths = Vec::new();
    for prefix in ["crate::", "self::", "super::"] {
        for (at, _) in text.match_indices(prefix) {
            let before = text[..at].chars().next_back();
            if before.is_none_or(|before| !before.is_alphanumeric() && before != '_' && before != ':') {
                paths.extend(expand(&text[at..]).iter().map(|path| absolute(module, path)));
            }
        }
    }
    paths
}

fn absolute(module: &Module, path: &[&str]) -> Module {
    let mut absolute = if path.first() == Some(&"crate") { Module::new() } else { module.clone() };
    for segment in path {
        match *segment {
            "crate" | "self" => {}
            "super" => drop(absolute.pop()),
            name => absolute.push(name.to_owned()),
        }
    }
    absolute
}

/// The paths in `a::{b::C, d}`: `a::b::C` and `a::d`.
fn expand(text: &str) -> Vec<Vec<&str>> {
    let text = text.trim_start();
    if let Some(group) = text.strip_prefix('{') {
        return members(group).into_iter().flat_map(expand).collect();
    }
    let length = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(length);
    let start = if name.is_empty() { Vec::new() } else { vec![name] };
    match rest.trim_start().strip_prefix("::") {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '{') => {
            expand(rest).into_iter().map(|path| [start.clone(), path].concat()).collect()
        }
        _ if start.is_empty() => Vec::new(),
        _ => vec![start],
    }
}

/// The parts of `a, b::{c, d}}…`, up to the closing brace.
fn members(group: &str) -> Vec<&str> {
    let (mut members, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                members.push(&group[start..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(&group[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    members.retain(|member| !member.trim().is_empty());
    members
}

#[test]
fn circles_are_found_in_all_forms_of_paths() {
    let circles_of = |files: &[(&str, &str)]| {
        let sources =
            files.iter().map(|(module, text)| (module.split("::").map(str::to_owned).collect(), (*text).to_owned()));
        circles(&sources.collect())
    };
    let circle = vec![vec!["a::x".to_owned(), "a::y".to_owned()]];
    let parent = ("a", "mod x;\nmod y;\npub use x::X;\nuse y::Y;\n");
    for (x, y) in [
        ("use super::y::Y;", "use crate::a::x::X;"),
        ("use super::{y::{Y, Z}, w};", "use crate::{a::x, b::B};"),
        ("fn f() { super::y::g() }", "use super::x;"),
        ("use super::y::Y;", "use super::X;"),
        ("use crate::a::Y;", "use crate::{\n    a::{\n        X,\n    },\n};"),
    ] {
        assert_eq!(circles_of(&[parent, ("a::x", x), ("a::y", y), ("b", "")]), circle, "{x} {y}");
    }
    for (x, y) in [("use super::y::Y;", "use crate::b::B;"), ("mycrate::a::y::f();", "use super::x::X;"), ("", "")] {
        assert!(circles_of(&[parent, ("a::x", x), ("a::y", y), ("b", "")]).is_empty(), "{x} {y}");
    }
    let three =
        [("a", "use crate::b::B;"), ("b", "use crate::c::C;"), ("c", "use crate::a::A;"), ("d", "use crate::a::A;")];
    assert_eq!(circles_of(&three), [["a", "b", "c"].map(str::to_owned).to_vec()]);
}
