//! Keys, sections and the kinds of values, as JSON Schema.

use serde_json::{Map, Value as Json, json};

use crate::config::value::{MAX_COUNT, MAX_HOURS};

/// One key of a section.
pub(super) struct Key {
    name: &'static str,
    schema: Json,
}

pub(super) fn key(name: &'static str, schema: Json, about: impl Into<String>) -> Key {
    let mut schema = schema;
    if let Json::Object(schema) = &mut schema {
        schema.insert("description".to_owned(), about.into().into());
    }
    Key { name, schema }
}

impl Key {
    pub(super) fn default(self, value: impl Into<Json>) -> Self {
        self.with("default", value)
    }

    /// A variable takes precedence over the key.
    pub(super) fn variable(mut self, name: &str) -> Self {
        if let Some(Json::String(about)) = self.schema.get_mut("description") {
            about.push_str(&format!(" Variable: {name}."));
        }
        self
    }

    pub(super) fn with(mut self, property: &str, value: impl Into<Json>) -> Self {
        if let Json::Object(schema) = &mut self.schema {
            schema.insert(property.to_owned(), value.into());
        }
        self
    }
}

pub(super) fn section(keys: Vec<Key>) -> Json {
    section_with(keys, &[])
}

pub(super) fn section_with(keys: Vec<Key>, required: &[&str]) -> Json {
    let properties: Map<String, Json> = keys.into_iter().map(|key| (key.name.to_owned(), key.schema)).collect();
    let mut schema = json!({ "type": ["object", "null"], "additionalProperties": false, "properties": properties });
    if let (Json::Object(schema), false) = (&mut schema, required.is_empty()) {
        schema.insert("required".to_owned(), json!(required));
    }
    schema
}

pub(super) fn sections(keys: Vec<Key>, required: &[&str]) -> Json {
    json!({ "type": ["array", "null"], "items": section_with(keys, required) })
}

pub(super) fn boolean() -> Json {
    json!({ "$ref": "#/$defs/boolean" })
}

pub(super) fn text() -> Json {
    json!({ "$ref": "#/$defs/text" })
}

pub(super) fn texts() -> Json {
    json!({ "$ref": "#/$defs/texts" })
}

/// A number, or its text. None: no bound.
pub(super) fn integer(minimum: Option<i64>, maximum: Option<i64>) -> Json {
    let mut number = json!({ "type": ["integer", "null"] });
    if let Json::Object(number) = &mut number {
        number.extend(minimum.map(|minimum| ("minimum".to_owned(), minimum.into())));
        number.extend(maximum.map(|maximum| ("maximum".to_owned(), maximum.into())));
    }
    json!({ "anyOf": [number, { "type": "string", "pattern": "^\\s*(-?[0-9]+)?\\s*$" }] })
}

/// Also fractions of an hour.
pub(super) fn hours() -> Json {
    let number = json!({ "type": ["number", "null"], "maximum": MAX_HOURS });
    json!({ "anyOf": [number, { "type": "string", "pattern": "^\\s*(-?[0-9]+([.][0-9]+)?)?\\s*$" }] })
}

pub(super) fn count() -> Json {
    integer(Some(1), Some(MAX_COUNT))
}

pub(super) fn words<T>(words: &[(&'static str, T)]) -> Json {
    let names = words.iter().map(|(word, _)| json!(word)).chain([Json::Null]);
    json!({ "enum": names.collect::<Vec<_>>() })
}

pub(super) fn list_of_words(words: &[&str]) -> Json {
    let names = words.iter().map(|word| json!(word)).chain([Json::Null]);
    json!({ "type": ["array", "null"], "items": { "enum": names.collect::<Vec<_>>() } })
}

/// A duration such as `500ms`, or a size such as `64Mi`.
pub(super) fn quantity(example: &str) -> Json {
    json!({ "type": ["string", "number", "null"], "examples": [example] })
}
