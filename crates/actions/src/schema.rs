//! JSON schemas in the spelling of the action catalogue.
//!
//! Objects are closed. What may be null is `anyOf` of its type and `null`, with the default `null`; a part that is an object
//! of its own stands under `$defs`.

use serde_json::{Map, Value, json};

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Integer,
    Boolean,
    /// An object with any keys.
    Free,
}

impl Kind {
    fn schema(self) -> Value {
        match self {
            Self::Text => json!({"type": "string"}),
            Self::Integer => json!({"type": "integer"}),
            Self::Boolean => json!({"type": "boolean"}),
            Self::Free => json!({"type": "object", "additionalProperties": true}),
        }
    }
}

#[derive(Debug)]
pub(crate) struct InputField {
    pub name: &'static str,
    pub kind: Kind,
    pub is_required: bool,
    pub about: &'static str,
}

/// What a field of an output is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shape {
    /// A value or null.
    Maybe(Kind),
    /// An object with any keys, never null.
    Always,
    /// A part or null.
    Part(Part),
    /// A list of parts, never null.
    Parts(Part),
    /// A list of texts, never null.
    Texts,
}

/// A closed object that is part of outputs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pub name: &'static str,
    pub fields: &'static [(&'static str, Shape)],
}

/// `exit_code` as `Exit Code`.
pub(crate) fn title(name: &str) -> String {
    let words = name.split('_').map(|word| {
        let mut letters = word.chars();
        let first = letters.next().map(|letter| letter.to_ascii_uppercase());
        first.into_iter().chain(letters).collect::<String>()
    });
    words.collect::<Vec<_>>().join(" ")
}

/// `get_sandbox` and `Input` as `GetSandboxInput`.
fn type_name(action: &str, suffix: &str) -> String {
    format!("{}{suffix}", title(action).replace(' ', ""))
}

pub(crate) fn input(action: &str, fields: &[InputField]) -> Value {
    let properties: Map<String, Value> = fields
        .iter()
        .map(|field| {
            let mut schema = field.kind.schema();
            schema["title"] = title(field.name).into();
            schema["description"] = field.about.into();
            (field.name.to_owned(), schema)
        })
        .collect();
    let required = fields.iter().filter(|field| field.is_required);
    let required: Vec<&str> = required.map(|field| field.name).collect();
    json!({
        "title": type_name(action, "Input"),
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "required": required,
    })
}

pub(crate) fn output(action: &str, fields: &[(&str, Shape)]) -> Value {
    let mut parts = Map::new();
    let mut properties = Map::new();
    properties.insert(
        "success".to_owned(),
        json!({"title": "Success", "type": "boolean"}),
    );
    let error = shape("error", Shape::Maybe(Kind::Text), &mut parts);
    properties.insert("error".to_owned(), error);
    for (name, kind) in fields {
        properties.insert((*name).to_owned(), shape(name, *kind, &mut parts));
    }
    let mut schema = json!({
        "title": type_name(action, "Output"),
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
        "required": ["success"],
    });
    if !parts.is_empty() {
        schema["$defs"] = parts.into();
    }
    schema
}

fn shape(name: &str, shape: Shape, parts: &mut Map<String, Value>) -> Value {
    match shape {
        Shape::Maybe(kind) => json!({
            "title": title(name),
            "anyOf": [kind.schema(), {"type": "null"}],
            "default": null,
        }),
        Shape::Always => json!({
            "title": title(name), "type": "object", "additionalProperties": true,
        }),
        Shape::Part(part) => json!({
            "anyOf": [reference(part, parts), {"type": "null"}],
            "default": null,
        }),
        Shape::Parts(part) => json!({
            "title": title(name), "type": "array", "items": reference(part, parts),
        }),
        Shape::Texts => json!({
            "title": title(name), "type": "array", "items": {"type": "string"},
        }),
    }
}

fn reference(part: Part, parts: &mut Map<String, Value>) -> Value {
    if !parts.contains_key(part.name) {
        let fields = part.fields.iter();
        let properties: Map<String, Value> = fields
            .map(|(name, kind)| ((*name).to_owned(), self::shape(name, *kind, parts)))
            .collect();
        let schema = json!({
            "title": part.name,
            "type": "object",
            "additionalProperties": false,
            "properties": properties,
        });
        parts.insert(part.name.to_owned(), schema);
    }
    json!({"$ref": format!("#/$defs/{}", part.name)})
}
