//! A YAML document as a small tree that keeps of each value what the text says: its scalars as they are written, and
//! where they stand. Typed reading stops at the first mistake, and turns `0123` and `yes` into something else; here
//! each setting is read from the tree on its own.

use std::collections::{BTreeMap, BTreeSet};

use granit_parser::{Event, Marker, Parser, ScalarStyle, StrInput, Tag};
use serde_json::Value as Json;

use super::scalar::shown_key;

/// A position, both from 1; the column counts characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub line: usize,
    pub column: usize,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub mark: Mark,
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
    /// Neither quoted, nor a block, nor tagged as text.
    pub plain: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: String,
    pub mark: Mark,
    pub value: Node,
}

/// What is wrong with a document, wherever its values are used.
#[derive(Debug)]
pub(super) struct Fault {
    pub mark: Mark,
    pub message: String,
}

/// Aliases multiply what they name: without a bound a few lines make billions of values.
const MOST_NODES: usize = 100_000;
/// Of their texts together, in bytes: four times of what a file may have.
const MOST_TEXT: usize = 4 << 20;
const DEEPEST: usize = 64;

/// The tree of the one document in the text, none for an empty one, and the mistakes that reading could pass over.
/// After an error in the syntax nothing more can be read.
pub(super) fn parse(text: &str) -> Result<(Option<Node>, Vec<Fault>), Fault> {
    let options = granit_parser::options! {
        emit_comments: false,
        block_nesting_limit: DEEPEST,
        flow_nesting_limit: DEEPEST,
    };
    let events = Parser::new_from_str_with_options(text, options);
    let mut loader = Loader { events, anchors: BTreeMap::new(), size: Size::default(), faults: Vec::new() };
    let document = loader.document()?;
    Ok((document, loader.faults))
}

struct Loader<'t> {
    events: Parser<'t, StrInput<'t>>,
    anchors: BTreeMap<usize, Node>,
    size: Size,
    faults: Vec<Fault>,
}

impl<'t> Loader<'t> {
    fn document(&mut self) -> Result<Option<Node>, Fault> {
        let mut document = None;
        loop {
            let (event, mark) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::StreamEnd => return Ok(document),
                Event::DocumentStart(..) if document.is_some() => {
                    return Err(fault(mark, "a second document begins here; one is read"));
                }
                Event::DocumentStart(..) => {
                    let (event, mark) = self.next()?;
                    document = Some(self.node(event, mark)?);
                }
                _ => return Err(fault(mark, "this stands outside of a document")),
            }
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Mark), Fault> {
        match self.events.next_event() {
            Some(Ok((event, span))) => Ok((event, mark(&span.start))),
            // The parser's text says which rule was broken and quotes no more of the source than one character.
            Some(Err(error)) => Err(fault(mark(error.marker()), &format!("this is not YAML: {}", error.info()))),
            None => Ok((Event::StreamEnd, Mark { line: 1, column: 1 })),
        }
    }

    fn node(&mut self, event: Event<'t>, mark: Mark) -> Result<Node, Fault> {
        let (value, anchor) = match event {
            Event::Alias(anchor) => {
                let Some(named) = self.anchors.get(&anchor) else {
                    return Err(fault(mark, "this alias stands inside of what it names"));
                };
                // Before there is a copy of it.
                self.size.grow(size(named), mark)?;
                return Ok(Node { mark, value: named.value.clone() });
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.check_tag(tag.as_deref(), mark);
                let as_text = tag.as_deref().is_some_and(|tag| tag.core_suffix() == Some("str"));
                (scalar(&text, style == ScalarStyle::Plain && !as_text), anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), mark);
                (self.list()?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                self.check_tag(tag.as_deref(), mark);
                (self.map()?, anchor)
            }
            _ => return Err(fault(mark, "a value is missing here")),
        };
        let node = Node { mark, value };
        self.size.grow(own_size(&node), mark)?;
        if anchor != 0 {
            // A copy, too: anchors in anchors multiply as well.
            self.size.grow(size(&node), mark)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn list(&mut self) -> Result<Value, Fault> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, mark) => items.push(self.node(event, mark)?),
            }
        }
    }

    fn map(&mut self) -> Result<Value, Fault> {
        let mut entries = Vec::new();
        let mut keys = BTreeSet::new();
        loop {
            let (event, mark) = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Value::Map(entries)),
                next => next,
            };
            let key = self.node(event, mark)?;
            let (event, value_mark) = self.next()?;
            let value = self.node(event, value_mark)?;
            match key.value {
                Value::Scalar(Scalar { text: key, .. }) => {
                    if keys.insert(key.clone()) {
                        entries.push(Entry { key, mark, value });
                    } else {
                        self.faults.push(fault(mark, &format!("the key {} is there twice", shown_key(&key))));
                    }
                }
                _ => self.faults.push(fault(mark, "a key must be a single word")),
            }
        }
    }

    fn check_tag(&mut self, tag: Option<&Tag>, mark: Mark) {
        if tag.is_some_and(Tag::is_custom) {
            self.faults.push(fault(mark, "tags (`!…`) have no meaning here; quote what begins with `!`"));
        }
    }
}

/// How much a tree holds.
#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    text: usize,
}

impl Size {
    fn and(self, other: Self) -> Self {
        Self { nodes: self.nodes.saturating_add(other.nodes), text: self.text.saturating_add(other.text) }
    }

    fn grow(&mut self, more: Self, mark: Mark) -> Result<(), Fault> {
        *self = self.and(more);
        if self.nodes > MOST_NODES {
            return Err(fault(mark, &format!("the document has more than {MOST_NODES} values, aliases followed")));
        }
        if self.text > MOST_TEXT {
            return Err(fault(mark, &format!("the document has more than {MOST_TEXT} bytes, aliases followed")));
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
    values.map(size).fold(own_size(node), Size::and)
}

/// Without the values in it, and with its keys.
fn own_size(node: &Node) -> Size {
    let text = match &node.value {
        Value::Null | Value::List(_) => 0,
        Value::Scalar(scalar) => scalar.text.len(),
        Value::Map(entries) => entries.iter().map(|entry| entry.key.len()).sum(),
    };
    Size { nodes: 1, text }
}

fn mark(marker: &Marker) -> Mark {
    Mark { line: marker.line(), column: marker.col() + 1 }
}

fn fault(mark: Mark, message: &str) -> Fault {
    Fault { mark, message: message.to_owned() }
}

impl Node {
    /// Whether the value asks for nothing: it is null, blank, or holds only what asks for nothing.
    pub fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Scalar(scalar) => scalar.text.trim().is_empty(),
            Value::List(items) => items.iter().all(Self::is_empty),
            Value::Map(entries) => entries.iter().all(|entry| entry.value.is_empty()),
        }
    }

    /// The text of a single value.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Scalar(scalar) => Some(&scalar.text),
            Value::Null | Value::List(_) | Value::Map(_) => None,
        }
    }

    /// The same value in JSON. What an unquoted scalar is (`12`, `1.5`, `yes`) is serde-saphyr's to say.
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
        let (node, faults) = parse(text).unwrap();
        assert!(faults.is_empty(), "{faults:?}");
        node.unwrap().to_json()
    }

    #[test]
    fn plain_scalars_get_types_and_quoted_ones_stay_text() {
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
    fn aliases_are_followed() {
        assert_eq!(json_of("a: &x [1, 2]\nb: *x\n"), json!({"a": [1, 2], "b": [1, 2]}));
    }

    #[test]
    fn a_few_lines_cannot_make_billions_of_values() {
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
    fn a_few_lines_cannot_make_gigabytes_of_text() {
        let long = "x".repeat(100_000);
        for (what, text) in [
            ("a text", format!("a: &a {long}\nb: [{}]\n", vec!["*a"; 5_000].join(", "))),
            ("a key", format!("a: &a {{ {}: 1 }}\nb: [{}]\n", "k".repeat(1_000), vec!["*a"; 5_000].join(", "))),
            ("a key that is an alias", format!("a: &a {long}\nb:\n{}", "- { *a : 1 }\n".repeat(5_000))),
            ("anchors in anchors", format!("a: {} {long} {}\n", "&a [".repeat(60), "]".repeat(60))),
        ] {
            let fault = parse(&text).unwrap_err();
            assert!(fault.message.contains("more than 4194304 bytes, aliases followed"), "{what}: {}", fault.message);
        }
        let nodes = vec!["1"; 5_000].join(", ");
        let nested = format!("a: {} {nodes} {}\n", "&a [".repeat(60), "]".repeat(60));
        assert!(parse(&nested).unwrap_err().message.contains("more than 100000 values"));
    }

    #[test]
    fn faults_that_can_be_passed_over_are_all_told() {
        let (node, faults) = parse("a: 1\na: 2\n[x]: 3\nb: !vault y\n").unwrap();
        assert!(node.is_some());
        let lines: Vec<_> = faults.iter().map(|fault| fault.mark.line).collect();
        assert_eq!(lines, [2, 3, 4]);
    }

    #[test]
    fn an_empty_text_has_no_document() {
        for text in ["", "\n\n", "# nothing\n"] {
            let (node, faults) = parse(text).unwrap();
            assert!(node.is_none() && faults.is_empty(), "{text:?}");
        }
    }

    #[test]
    fn syntax_errors_say_where_and_show_nothing() {
        let fault = parse("docker:\n  password: 'hunter2\n").unwrap_err();
        assert!(!fault.message.contains("hunter2"), "{}", fault.message);
        assert!(parse("a: 1\n---\nb: 2\n").is_err());
    }
}
