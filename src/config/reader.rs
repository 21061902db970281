//! Reading settings one by one from variables and from the file's tree, and collecting what is wrong with them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    mistake::{Mistake, Place},
    scalar::{near, shown, shown_key},
    yaml::{Entry, Mark, Node, Value},
};

/// The variables, and what was found wrong so far.
pub(super) struct Reader<'e> {
    env: &'e dyn Fn(&str) -> Option<String>,
    pub mistakes: Vec<Mistake>,
    pub warnings: Vec<String>,
    /// Files and folders that were looked at, whether they are there or not.
    pub files: Vec<PathBuf>,
    /// Whether what stands in the configuration file is known. Where it can't be read, nothing is called missing: it may
    /// be there.
    pub file_is_known: bool,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Found<T = String> {
    pub value: T,
    pub place: Place,
}

impl<'e> Reader<'e> {
    pub fn new(env: &'e dyn Fn(&str) -> Option<String>) -> Self {
        Self { env, mistakes: Vec::new(), warnings: Vec::new(), files: Vec::new(), file_is_known: true }
    }

    pub fn refuse(&mut self, place: &Place, message: impl Into<String>) {
        self.mistakes.push(Mistake { place: place.clone(), message: message.into() });
    }

    /// Refuses that something is not there, unless it may stand in a file that can't be read.
    pub fn refuse_missing(&mut self, place: &Place, message: impl Into<String>) {
        if self.file_is_known {
            self.refuse(place, message);
        }
    }

    pub fn warn(&mut self, place: &Place, message: impl AsRef<str>) {
        self.warnings.push(format!("{place}: {}", message.as_ref()));
    }

    /// A file or folder is about to be looked at: when it changes, so may the settings.
    pub fn looks_at(&mut self, file: &Path) {
        self.files.push(file.to_owned());
    }

    /// A variable, as it is; an empty one counts as unset.
    pub fn variable(&self, name: &str) -> Option<Found> {
        let value = (self.env)(name).filter(|value| !value.is_empty())?;
        Some(Found { value, place: Place::Variable(name.to_owned()) })
    }

    /// A variable that is trimmed where it is read; a blank one counts as unset.
    pub fn worded_variable(&self, name: &str) -> Option<Found> {
        self.variable(name).filter(|found| !found.value.trim().is_empty())
    }

    /// The value that a text stands for; what it can't be is collected.
    pub fn read<T>(&mut self, found: &Found, parse: impl Fn(&str) -> Result<T, String>) -> Option<Found<T>> {
        match parse(&found.value) {
            Ok(value) => Some(Found { value, place: found.place.clone() }),
            Err(message) => {
                self.refuse(&found.place, message);
                None
            }
        }
    }

    /// A setting of one word: the variable's, else the file's. Both are checked. Blank ones count as unset.
    pub fn setting<T>(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        variable: Option<&str>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Found<T>> {
        let in_file = section.scalar(self, key).filter(|found| !found.value.trim().is_empty());
        let in_file = in_file.and_then(|found| self.read(&found, &parse));
        let in_variable = variable.and_then(|name| self.worded_variable(name));
        in_variable.and_then(|found| self.read(&found, &parse)).or(in_file)
    }

    /// A setting whose text is taken as it is: the variable's, else the file's; an empty one counts as unset.
    pub fn text(&mut self, section: &mut Section<'_>, key: &'static str, variable: Option<&str>) -> Option<Found> {
        let in_file = section.scalar(self, key).filter(|found| !found.value.is_empty());
        variable.and_then(|name| self.variable(name)).or(in_file)
    }

    /// A list: the variable's, which replaces the file's, else the file's. Entries are split at commas and trimmed,
    /// blank ones dropped.
    pub fn list(&mut self, section: &mut Section<'_>, key: &'static str, variable: Option<&str>) -> Vec<Found> {
        let in_file = section.list(self, key);
        let entries = match variable.and_then(|name| self.worded_variable(name)) {
            Some(found) => vec![found],
            None => in_file,
        };
        let mut list = Vec::new();
        for Found { value, place } in entries {
            let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
            list.extend(parts.map(|part| Found { value: part.to_owned(), place: place.clone() }));
        }
        list
    }

    /// A list of which each entry is read on its own.
    pub fn list_of<T>(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        variable: Option<&str>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let entries = self.list(section, key, variable);
        entries.iter().filter_map(|found| self.read(found, &parse)).map(|found| found.value).collect()
    }
}

/// A mapping of the file. It remembers which keys were asked for; at its end all others are mistakes, so that no key
/// can be known without being read.
pub(super) struct Section<'n> {
    file: Arc<Path>,
    path: String,
    mark: Mark,
    entries: &'n [Entry],
    asked: Vec<&'static str>,
}

impl<'n> Section<'n> {
    /// The document as a whole.
    pub fn root(reader: &mut Reader<'_>, file: Arc<Path>, document: Option<&'n Node>) -> Self {
        let empty =
            Self { file, path: String::new(), mark: Mark { line: 1, column: 1 }, entries: &[], asked: Vec::new() };
        match document {
            Some(node) => {
                reader.file_is_known &= matches!(node.value, Value::Map(_) | Value::Null);
                empty.inside(reader, String::new(), node)
            }
            None => empty,
        }
    }

    /// The mapping that a value of this section is; an empty one where it is something else.
    fn inside(&self, reader: &mut Reader<'_>, path: String, node: &'n Node) -> Self {
        let entries: &[Entry] = match &node.value {
            Value::Null => &[],
            Value::Map(entries) => entries,
            Value::Scalar(_) | Value::List(_) => {
                let found = if matches!(node.value, Value::List(_)) { "a list" } else { "a single value" };
                let place = self.at(node.mark, path.clone());
                reader.refuse(&place, format!("found {found}; keys with values (`key: value`) are wanted here"));
                &[]
            }
        };
        Self { file: Arc::clone(&self.file), path, mark: node.mark, entries, asked: Vec::new() }
    }

    fn at(&self, mark: Mark, path: String) -> Place {
        Place::Key { file: Arc::clone(&self.file), line: mark.line, column: mark.column, path }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Where the section begins.
    pub fn place(&self) -> Place {
        self.at(self.mark, self.path.clone())
    }

    /// The value of a key, none where it has none.
    pub fn node(&mut self, key: &'static str) -> Option<(&'n Node, Place)> {
        self.asked.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        if matches!(entry.value.value, Value::Null) {
            return None;
        }
        Some((&entry.value, self.at(entry.mark, self.path_of(key))))
    }

    /// The text of a single value.
    pub fn scalar(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Option<Found> {
        let (node, place) = self.node(key)?;
        text_of(reader, node, place)
    }

    fn list(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Vec<Found> {
        let items = self.items(reader, key);
        items.into_iter().filter_map(|(node, place)| text_of(reader, node, place)).collect()
    }

    fn items(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Vec<(&'n Node, Place)> {
        let Some((node, place)) = self.node(key) else { return Vec::new() };
        let Value::List(items) = &node.value else {
            reader.refuse(&place, "a list is wanted here: `[a, b]`, or a line `- a` for each entry");
            return Vec::new();
        };
        let items = items.iter().enumerate();
        let items = items.map(|(index, item)| (item, self.at(item.mark, format!("{}[{index}]", self.path_of(key)))));
        items.filter(|(item, _)| !matches!(item.value, Value::Null)).collect()
    }

    /// The mapping at a key; an empty one where there is none.
    pub fn section(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Self {
        let path = self.path_of(key);
        match self.node(key) {
            Some((node, _)) => self.inside(reader, path, node),
            None => Self { file: Arc::clone(&self.file), path, mark: self.mark, entries: &[], asked: Vec::new() },
        }
    }

    /// The mappings of a list.
    pub fn sections(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Vec<Self> {
        let mut sections = Vec::new();
        for (node, place) in self.items(reader, key) {
            let Place::Key { path, .. } = place else { continue };
            sections.push(self.inside(reader, path, node));
        }
        sections
    }

    /// Tells the keys that nobody asked for.
    pub fn finish(self, reader: &mut Reader<'_>) {
        for entry in self.entries.iter().filter(|entry| !self.asked.contains(&entry.key.as_str())) {
            let message = match near(&entry.key, &self.asked) {
                _ if matches!(entry.key.as_str(), "startupPush" | "offline") && self.path.is_empty() => {
                    "this key has no meaning any more; remove it".to_owned()
                }
                Some(meant) => format!("unknown key; did you mean {meant:?}?"),
                None => format!("unknown key; known here: {}", self.asked.join(", ")),
            };
            reader.refuse(&self.at(entry.mark, self.path_of(shown_key(&entry.key))), message);
        }
    }
}

fn text_of(reader: &mut Reader<'_>, node: &Node, place: Place) -> Option<Found> {
    match &node.value {
        Value::Null => None,
        Value::Scalar(scalar) => Some(Found { value: scalar.text.clone(), place }),
        Value::List(_) | Value::Map(_) => {
            let found = if matches!(node.value, Value::List(_)) { "a list" } else { "keys with values" };
            reader.refuse(&place, format!("found {found}; a single value is wanted here"));
            None
        }
    }
}

/// Refuses names that occur twice.
pub(super) fn refuse_twins<'s>(reader: &mut Reader<'_>, what: &str, names: impl Iterator<Item = (&'s str, Place)>) {
    let mut seen: Vec<&str> = Vec::new();
    for (name, place) in names {
        if seen.contains(&name) {
            reader.refuse(&place, format!("there is another {what} named {}; names must differ", shown(name)));
        }
        seen.push(name);
    }
}
