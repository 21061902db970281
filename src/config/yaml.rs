//! Parses YAML to a tree with the exact text and the position of each scalar. Kept by hand: serde stops at the first
//! error, and converts `0123` and `yes` before the setting's own parser sees them.

use std::collections::{BTreeMap, BTreeSet};

use granit_parser::{Event, Marker, Parser, ScalarStyle, StrInput, Tag};
use serde_json::Value as Json;

use super::value::quoted_key;

/// Line and column, both from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub line: usize,
    pub column: usize,
}

/// A value and its position.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub position: Position,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    /// `null`, `~`, or nothing.
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(super) struct Scalar {
    pub text: String,
    /// Not quoted, not a block, not tagged as a string.
    pub plain: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub position: Position,
    pub value: Node,
}

/// An error in the document itself.
#[derive(Debug)]
pub(super) struct YamlError {
    pub position: Position,
    pub message: String,
}

/// Aliases multiply their anchors: without a limit, a few lines make billions of values.
const MAX_NODES: usize = 100_000;
/// The total size of all texts, in bytes: four times the maximum size of a file.
const MAX_TEXT: usize = 4 << 20;
const MAX_DEPTH: usize = 64;

/// The tree of the only document (None: empty), and the errors after which parsing could continue.
///
/// # Errors
/// A syntax error, which ends parsing.
pub(super) fn parse(text: &str) -> Result<(Option<Node>, Vec<YamlError>), YamlError> {
    let options = granit_parser::options! {
        emit_comments: false,
        block_nesting_limit: MAX_DEPTH,
        flow_nesting_limit: MAX_DEPTH,
    };
    let events = Parser::new_from_str_with_options(text, options);
    let mut loader = Loader { events, anchors: BTreeMap::new(), size: Size::default(), errors: Vec::new() };
    let document = loader.document()?;
    Ok((document, loader.errors))
}

struct Loader<'t> {
    events: Parser<'t, StrInput<'t>>,
    anchors: BTreeMap<usize, Node>,
    size: Size,
    errors: Vec<YamlError>,
}

impl<'t> Loader<'t> {
    fn document(&mut self) -> Result<Option<Node>, YamlError> {
        let mut document = None;
        loop {
            let (event, position) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::StreamEnd => return Ok(document),
                Event::DocumentStart(..) if document.is_some() => {
                    return Err(error_at(position, "a second document; only one is allowed"));
                }
                Event::DocumentStart(..) => {
                    let (event, position) = self.next()?;
                    document = Some(self.node(event, position)?);
                }
                _ => return Err(error_at(position, "content outside of a document")),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Position), YamlError> {
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, position(&span.start))),
            // The parser's message quotes at most one character of the text, and so no secret.
            Some(Err(error)) => Err(error_at(position(error.marker()), &format!("invalid YAML: {}", error.info()))),
            None => Ok((Event::StreamEnd, Position { line: 1, column: 1 })),
        }
    }

    fn node(&mut self, event: Event<'t>, position: Position) -> Result<Node, YamlError> {
        let (value, anchor) = match event {
            Event::Alias(anchor) => {
                let Some(anchored) = self.anchors.get(&anchor) else {
                    return Err(error_at(position, "this alias is inside its own anchor"));
                };
                // Counted before it is copied.
                self.size.grow(size(anchored), position)?;
                return Ok(Node { position, value: anchored.value.clone() });
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.check_tag(tag.as_deref(), position);
                let as_text = tag.as_deref().is_some_and(|tag| tag.core_suffix() == Some("str"));
                (scalar(&text, style == ScalarStyle::Plain && !as_text), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), position);
                (self.list()?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), position);
                (self.map()?, anchor)
            }
            _ => return Err(error_at(position, "missing value")),
        };
        let node = Node { position, value };
        self.size.grow(own_size(&node), position)?;
        if anchor != 0 {
            // A copy too: nested anchors multiply as well.
            self.size.grow(size(&node), position)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self) -> Result<Value, YamlError> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, position) => items.push(self.node(event, position)?),
            }
        }
    }

    fn map(&mut self) -> Result<Value, YamlError> {
        let mut entries = Vec::new();
        let mut keys = BTreeSet::new();
        loop {
            let (event, position) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Map(entries)),
                next => next,
            };
            let key = self.node(event, position)?;
            let (event, value_mark) = self.next()?;
            let value = self.node(event, value_mark)?;
            match key.value {
                Value::Scalar(Scalar { text: key, .. }) => {
                    if keys.insert(key.clone()) {
                        entries.push(Entry { key, position, value });
                    } else {
                        self.errors.push(error_at(position, &format!("duplicate key {}", quoted_key(&key))));
                    }
                }
                _ => self.errors.push(error_at(position, "a key must be a scalar")),
            }
        }
    }

    fn check_tag(&mut self, tag: Option<&Tag>, position: Position) {
        if tag.is_some_and(Tag::is_custom) {
            self.errors.push(error_at(position, "tags (`!…`) are not supported; quote texts that begin with `!`"));
        }
    }
}

/// The size of a tree.
#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    text: usize,
}

impl Size {
    fn plus(self, other: Self) -> Self {
        Self { nodes: self.nodes.saturating_add(other.nodes), text: self.text.saturating_add(other.text) }
    }

    fn grow(&mut self, more: Self, position: Position) -> Result<(), YamlError> {
        *self = self.plus(more);
        if self.nodes > MAX_NODES {
            return Err(error_at(
                position,
                &format!("the document has more than {MAX_NODES} values, aliases followed"),
            ));
        }
        if self.text > MAX_TEXT {
            return Err(error_at(position, &format!("the document has more than {MAX_TEXT} bytes, aliases followed")));
        }
        Ok(())
    }
}

fn scalar(text: &str, plain: bool) -> Value {
    if plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
        Value::Null
    } else {
        Value::Scalar(Scalar { text: text.to_owned(), plain })
    }
}

fn size(node: &Node) -> Size {
    let values: Box<dyn Iterator<Item = &Node>> = match &node.value {
        Value::Null | Value::Scalar(_) => Box::new(std::iter::empty()),
        Value::List(items) => Box::new(items.iter()),
        Value::Map(entries) => Box::new(entries.iter().map(|entry| &entry.value)),
    };
    values.map(size).fold(own_size(node), Size::plus)
}

/// The node with its keys, without its child nodes.
fn own_size(node: &Node) -> Size {
    let text = match &node.value {
        Value::Null | Value::List(_) => 0,
        Value::Scalar(scalar) => scalar.text.len(),
        Value::Map(entries) => entries.iter().map(|entry| entry.key.len()).sum(),
    };
    Size { nodes: 1, text }
}

fn position(marker: &Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}

fn error_at(position: Position, message: &str) -> YamlError {
    YamlError { position, message: message.to_owned() }
}

impl Node {
    /// Whether the value is null, blank, or contains only such values.
    pub fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Scalar(scalar) => scalar.text.trim().is_empty(),
            Value::List(items) => items.iter().all(Self::is_empty),
            Value::Map(entries) => entries.iter().all(|entry| entry.value.is_empty()),
        }
    }

    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The value as JSON. serde-saphyr decides about the type of plain scalars (`12`, `1.5`, `yes`).
    pub fn to_json(&self) -> Json {
        match &self.value {
            Value::Null => Json::Null,
            Value::Scalar(Scalar { text, plain: false }) => Json::String(text.clone()),
            Value::Scalar(Scalar { text, plain: true }) => {
                serde_yaml::from_str(text).unwrap_or_else(|_| Json::String(text.clone()))
            }
            Value::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Value::Map(entries) => {
                Json::Object(entries.iter().map(|entry| (entry.key.clone(), entry.value.to_json())).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn json_of(text: &str) -> Json {
        let (node, errors) = parse(text).unwrap();
        assert!(errors.is_empty(), "{errors:?}");
        node.unwrap().to_json()
    }

    #[test]
    fn types_plain_scalars_and_keeps_quoted_ones_as_strings() {
        let text = "{a: 12, b: '12', c: yes, d: \"yes\", e: 1.5, f: ~, g: , h: [x, -1], i: !!str 7, j: a b}";
        let json = json_of(text);
        assert_eq!(json["h"], json!(["x", -1]));
        for (key, value) in [
            ("a", json!(12)),
            ("b", json!("12")),
            ("c", json!(true)),
            ("d", json!("yes")),
            ("e", json!(1.5)),
            ("f", json!(null)),
            ("g", json!(null)),
            ("i", json!("7")),
            ("j", json!("a b")),
        ] {
            assert_eq!(json[key], value, "{key}");
        }
    }

    #[test]
    fn follows_aliases() {
        assert_eq!(json_of("a: &x [1, 2]\nb: *x\n"), json!({"a": [1, 2], "b": [1, 2]}));
    }

    #[test]
    fn limits_the_number_of_values() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..10 {
            let before = format!("*a{}", n - 1);
            text.push_str(&format!("a{n}: &a{n} [{}]\n", [before.as_str(); 10].join(", ")));
        }
        assert!(parse(&text).unwrap_err().message.contains("more than 100000"));
        assert!(parse("a: &a [*a]\n").unwrap_err().message.contains("alias"));
        assert!(parse(&format!("a: {}", "[".repeat(5_000))).is_err());
    }

    #[test]
    fn limits_the_size_of_texts() {
        let long = "x".repeat(100_000);
        for (what, text) in [
            ("a text", format!("a: &a {long}\nb: [{}]\n", vec!["*a"; 5_000].join(", "))),
            ("a key", format!("a: &a {{ {}: 1 }}\nb: [{}]\n", "k".repeat(1_000), vec!["*a"; 5_000].join(", "))),
            ("a key that is an alias", format!("a: &a {long}\nb:\n{}", "- { *a : 1 }\n".repeat(5_000))),
            ("anchors in anchors", format!("a: {} {long} {}\n", "&a [".repeat(60), "]".repeat(60))),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.message.contains("more than 4194304 bytes, aliases followed"), "{what}: {}", error.message);
        }
        let nodes = vec!["1"; 5_000].join(", ");
        let nested = format!("a: {} {nodes} {}\n", "&a [".repeat(60), "]".repeat(60));
        assert!(parse(&nested).unwrap_err().message.contains("more than 100000 values"));
    }

    #[test]
    fn collects_all_recoverable_errors() {
        let (node, errors) = parse("a: 1\na: 2\n[x]: 3\nb: !vault y\n").unwrap();
        assert!(node.is_some());
        let lines: Vec<_> = errors.iter().map(|error| error.position.line).collect();
        assert_eq!(lines, [2, 3, 4]);
    }

    #[test]
    fn an_empty_text_has_no_document() {
        for text in ["", "\n\n", "# nothing\n"] {
            let (node, errors) = parse(text).unwrap();
            assert!(node.is_none() && errors.is_empty(), "{text:?}");
        }
    }

    #[test]
    fn syntax_errors_do_not_quote_the_text() {
        let error = parse("docker:\n  password: 'hunter2\n").unwrap_err();
        assert!(!error.message.contains("hunter2"), "{}", error.message);
        assert!(parse("a: 1\n---\nb: 2\n").is_err());
    }
}
