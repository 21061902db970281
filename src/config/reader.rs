//! Reads settings one by one from variables and from the tree of the file, and collects errors. Kept by hand: serde
//! stops at the first error.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    error::{ConfigError, SourceLocation},
    value::{closest, quoted, quoted_key},
    yaml::{Entry, Node, Position, Value},
};

/// The environment, and the errors and warnings so far.
pub(super) struct Reader<'e> {
    env: &'e dyn Fn(&str) -> Option<String>,
    pub errors: Vec<ConfigError>,
    pub warnings: Vec<String>,
    /// The files and folders that were read or looked for.
    pub files: Vec<PathBuf>,
    /// False if the configuration file can't be read: then no setting is reported as missing, as it may be in the file.
    pub config_is_readable: bool,
}

/// A value and its location.
#[derive(Clone, Debug)]
pub(super) struct Spanned<T = String> {
    pub value: T,
    pub location: SourceLocation,
}

impl<'e> Reader<'e> {
    pub fn new(env: &'e dyn Fn(&str) -> Option<String>) -> Self {
        Self { env, errors: Vec::new(), warnings: Vec::new(), files: Vec::new(), config_is_readable: true }
    }

    pub fn reject(&mut self, location: &SourceLocation, message: impl Into<String>) {
        self.errors.push(ConfigError { location: location.clone(), message: message.into() });
    }

    /// Reports a missing setting, unless it may be in a file that can't be read.
    pub fn reject_missing(&mut self, location: &SourceLocation, message: impl Into<String>) {
        if self.config_is_readable {
            self.reject(location, message);
        }
    }

    pub fn warn(&mut self, location: &SourceLocation, message: impl AsRef<str>) {
        self.warnings.push(format!("{location}: {}", message.as_ref()));
    }

    /// Records a file or folder on which the settings depend. It is watched for changes.
    pub fn track_file(&mut self, file: &Path) {
        self.files.push(file.to_owned());
    }

    /// The exact value of a variable; an empty one counts as unset.
    pub fn variable(&self, name: &str) -> Option<Spanned> {
        let value = (self.env)(name).filter(|value| !value.is_empty())?;
        Some(Spanned { value, location: SourceLocation::Variable(name.to_owned()) })
    }

    /// A variable whose parser trims it; a blank one counts as unset.
    pub fn nonblank_variable(&self, name: &str) -> Option<Spanned> {
        self.variable(name).filter(|found| !found.value.trim().is_empty())
    }

    /// Parses a text; an error is collected.
    pub fn parse<T>(&mut self, found: &Spanned, parse: impl Fn(&str) -> Result<T, String>) -> Option<Spanned<T>> {
        match parse(&found.value) {
            Ok(value) => Some(Spanned { value, location: found.location.clone() }),
            Err(message) => {
                self.reject(&found.location, message);
                None
            }
        }
    }

    /// A scalar setting: from the variable, else from the file. Both are checked. Blank texts count as unset.
    pub fn setting<T>(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        variable: Option<&str>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Spanned<T>> {
        let in_file = section.scalar(self, key).filter(|found| !found.value.trim().is_empty());
        let in_file = in_file.and_then(|found| self.parse(&found, &parse));
        let in_variable = variable.and_then(|name| self.nonblank_variable(name));
        in_variable.and_then(|found| self.parse(&found, &parse)).or(in_file)
    }

    /// The exact text of a setting: from the variable, else from the file. An empty text counts as unset.
    pub fn text(&mut self, section: &mut Section<'_>, key: &'static str, variable: Option<&str>) -> Option<Spanned> {
        let in_file = section.scalar(self, key).filter(|found| !found.value.is_empty());
        variable.and_then(|name| self.variable(name)).or(in_file)
    }

    /// A list: from the variable, else from the file. Entries are split at commas and trimmed; blank ones are dropped.
    pub fn list(&mut self, section: &mut Section<'_>, key: &'static str, variable: Option<&str>) -> Vec<Spanned> {
        let in_file = section.list(self, key);
        let entries = match variable.and_then(|name| self.nonblank_variable(name)) {
            Some(found) => vec![found],
            None => in_file,
        };
        let mut list = Vec::new();
        for Spanned { value, location } in entries {
            let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
            list.extend(parts.map(|part| Spanned { value: part.to_owned(), location: location.clone() }));
        }
        list
    }

    /// A list with parsed entries.
    pub fn list_of<T>(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        variable: Option<&str>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let entries = self.list(section, key, variable);
        entries.iter().filter_map(|found| self.parse(found, &parse)).map(|found| found.value).collect()
    }
}

/// A mapping of the file. [`Section::finish`] rejects all keys that were not read, so there is no separate list of
/// known keys.
pub(super) struct Section<'n> {
    file: Arc<Path>,
    path: String,
    position: Position,
    entries: &'n [Entry],
    known_keys: Vec<&'static str>,
}

impl<'n> Section<'n> {
    /// The whole document.
    pub fn root(reader: &mut Reader<'_>, file: Arc<Path>, document: Option<&'n Node>) -> Self {
        let empty = Self {
            file,
            path: String::new(),
            position: Position { line: 1, column: 1 },
            entries: &[],
            known_keys: Vec::new(),
        };
        match document {
            Some(node) => {
                reader.config_is_readable &= matches!(node.value, Value::Map(_) | Value::Null);
                empty.nested(reader, String::new(), node)
            }
            None => empty,
        }
    }

    /// The mapping in `node`; empty if it is something else.
    fn nested(&self, reader: &mut Reader<'_>, path: String, node: &'n Node) -> Self {
        let entries: &[Entry] = match &node.value {
            Value::Null => &[],
            Value::Map(entries) => entries,
            Value::Scalar(_) | Value::List(_) => {
                let found = if matches!(node.value, Value::List(_)) { "a list" } else { "a single value" };
                let location = self.location_at(node.position, path.clone());
                reader.reject(&location, format!("expected keys with values (`key: value`), found {found}"));
                &[]
            }
        };
        Self { file: Arc::clone(&self.file), path, position: node.position, entries, known_keys: Vec::new() }
    }

    fn location_at(&self, position: Position, path: String) -> SourceLocation {
        SourceLocation::Key { file: Arc::clone(&self.file), line: position.line, column: position.column, path }
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The start of the section.
    pub fn location(&self) -> SourceLocation {
        self.location_at(self.position, self.path.clone())
    }

    /// The value of a key. None: missing or null.
    pub fn node(&mut self, key: &'static str) -> Option<(&'n Node, SourceLocation)> {
        self.known_keys.push(key);
        let entry = self.entries.iter().find(|entry| entry.key == key)?;
        if matches!(entry.value.value, Value::Null) {
            return None;
        }
        Some((&entry.value, self.location_at(entry.position, self.path_of(key))))
    }

    /// The text of a scalar.
    pub fn scalar(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Option<Spanned> {
        let (node, location) = self.node(key)?;
        text_of(reader, node, location)
    }

    fn list(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Vec<Spanned> {
        let items = self.items(reader, key);
        items.into_iter().filter_map(|(node, location)| text_of(reader, node, location)).collect()
    }

    fn items(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Vec<(&'n Node, SourceLocation)> {
        let Some((node, location)) = self.node(key) else { return Vec::new() };
        let Value::List(items) = &node.value else {
            reader.reject(&location, "expected a list: `[a, b]`, or a line `- a` for each entry");
            return Vec::new();
        };
        let items = items.iter().enumerate();
        let items = items
            .map(|(index, item)| (item, self.location_at(item.position, format!("{}[{index}]", self.path_of(key)))));
        items.filter(|(item, _)| !matches!(item.value, Value::Null)).collect()
    }

    /// Whether a key has keys of its own.
    pub fn is_section(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key && matches!(entry.value.value, Value::Map(_)))
    }

    /// The mapping at a key; empty if there is none.
    pub fn section(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Self {
        let path = self.path_of(key);
        match self.node(key) {
            Some((node, _)) => self.nested(reader, path, node),
            None => Self {
                file: Arc::clone(&self.file),
                path,
                position: self.position,
                entries: &[],
                known_keys: Vec::new(),
            },
        }
    }

    /// The mappings of a list.
    pub fn sections(&mut self, reader: &mut Reader<'_>, key: &'static str) -> Vec<Self> {
        let mut sections = Vec::new();
        for (node, location) in self.items(reader, key) {
            let SourceLocation::Key { path, .. } = location else { continue };
            sections.push(self.nested(reader, path, node));
        }
        sections
    }

    /// Rejects all keys that were not read.
    pub fn finish(self, reader: &mut Reader<'_>) {
        #[cfg(test)]
        super::known_keys::record(&self.path, &self.known_keys);
        for entry in self.entries.iter().filter(|entry| !self.known_keys.contains(&entry.key.as_str())) {
            let message = match closest(&entry.key, &self.known_keys) {
                _ if matches!(entry.key.as_str(), "startupPush" | "offline") && self.path.is_empty() => {
                    "this key is obsolete; remove it".to_owned()
                }
                Some(name) => format!("unknown key; did you mean {name:?}?"),
                None => format!("unknown key; known keys: {}", self.known_keys.join(", ")),
            };
            reader.reject(&self.location_at(entry.position, self.path_of(quoted_key(&entry.key))), message);
        }
    }
}

fn text_of(reader: &mut Reader<'_>, node: &Node, location: SourceLocation) -> Option<Spanned> {
    match &node.value {
        Value::Null => None,
        Value::Scalar(scalar) => Some(Spanned { value: scalar.text.clone(), location }),
        Value::List(_) | Value::Map(_) => {
            let found = if matches!(node.value, Value::List(_)) { "a list" } else { "keys with values" };
            reader.reject(&location, format!("expected a single value, found {found}"));
            None
        }
    }
}

/// Rejects names that occur twice.
pub(super) fn reject_duplicates<'s>(
    reader: &mut Reader<'_>,
    what: &str,
    names: impl Iterator<Item = (&'s str, SourceLocation)>,
) {
    let mut seen: Vec<&str> = Vec::new();
    for (name, location) in names {
        if seen.contains(&name) {
            reader.reject(&location, format!("duplicate {what} {}; names must differ", quoted(name)));
        }
        seen.push(name);
    }
}
