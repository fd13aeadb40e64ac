//! OpenAPI v2 in protobuf, in the messages of the gnostic project (`openapi.v2.Document`), written along a small table of
//! its fields. What isn't in the table and begins with `x-` goes along as an extension; anything else is left out.

use serde_json::{Map, Value};

/// The fields of a message: name in JSON, tag, and what it holds.
struct Message(&'static [(&'static str, u32, Holds)]);

enum Holds {
    Text,
    Flag,
    Whole,
    Number,
    Texts,
    /// Any JSON, as text in a message of its own.
    Any,
    Anys,
    One(&'static Message),
    Many(&'static Message),
    /// A message in the first field of another one.
    Wrapped(&'static Message),
    /// Entries of an object, as named messages in the first field of another one.
    Named(&'static Message),
    /// A text or texts, in the first field of a message.
    Type,
    /// A schema or a flag.
    SchemaOrFlag,
    Parameters,
    Responses,
}

static SCHEMA: Message = Message(&[
    ("$ref", 1, Holds::Text),
    ("format", 2, Holds::Text),
    ("title", 3, Holds::Text),
    ("description", 4, Holds::Text),
    ("default", 5, Holds::Any),
    ("multipleOf", 6, Holds::Number),
    ("maximum", 7, Holds::Number),
    ("exclusiveMaximum", 8, Holds::Flag),
    ("minimum", 9, Holds::Number),
    ("exclusiveMinimum", 10, Holds::Flag),
    ("maxLength", 11, Holds::Whole),
    ("minLength", 12, Holds::Whole),
    ("pattern", 13, Holds::Text),
    ("maxItems", 14, Holds::Whole),
    ("minItems", 15, Holds::Whole),
    ("uniqueItems", 16, Holds::Flag),
    ("maxProperties", 17, Holds::Whole),
    ("minProperties", 18, Holds::Whole),
    ("required", 19, Holds::Texts),
    ("enum", 20, Holds::Anys),
    ("additionalProperties", 21, Holds::SchemaOrFlag),
    ("type", 22, Holds::Type),
    ("items", 23, Holds::Wrapped(&SCHEMA)),
    ("allOf", 24, Holds::Many(&SCHEMA)),
    ("properties", 25, Holds::Named(&SCHEMA)),
    ("example", 30, Holds::Any),
    ("x-", 31, Holds::Any),
]);

static INFO: Message = Message(&[("title", 1, Holds::Text), ("version", 2, Holds::Text)]);

static OPERATION: Message = Message(&[
    ("tags", 1, Holds::Texts),
    ("summary", 2, Holds::Text),
    ("description", 3, Holds::Text),
    ("operationId", 5, Holds::Text),
    ("produces", 6, Holds::Texts),
    ("consumes", 7, Holds::Texts),
    ("parameters", 8, Holds::Parameters),
    ("responses", 9, Holds::Responses),
    ("schemes", 10, Holds::Texts),
    ("x-", 13, Holds::Any),
]);

static PATH: Message = Message(&[
    ("get", 2, Holds::One(&OPERATION)),
    ("put", 3, Holds::One(&OPERATION)),
    ("post", 4, Holds::One(&OPERATION)),
    ("delete", 5, Holds::One(&OPERATION)),
    ("options", 6, Holds::One(&OPERATION)),
    ("head", 7, Holds::One(&OPERATION)),
    ("patch", 8, Holds::One(&OPERATION)),
    ("parameters", 9, Holds::Parameters),
    ("x-", 10, Holds::Any),
]);

static BODY: Message = Message(&[
    ("description", 1, Holds::Text),
    ("name", 2, Holds::Text),
    ("in", 3, Holds::Text),
    ("required", 4, Holds::Flag),
    ("schema", 5, Holds::One(&SCHEMA)),
]);

static QUERY: Message = Message(&[
    ("required", 1, Holds::Flag),
    ("in", 2, Holds::Text),
    ("description", 3, Holds::Text),
    ("name", 4, Holds::Text),
    ("type", 6, Holds::Text),
    ("format", 7, Holds::Text),
    ("uniqueItems", 20, Holds::Flag),
]);

static IN_PATH: Message = Message(&[
    ("required", 1, Holds::Flag),
    ("in", 2, Holds::Text),
    ("description", 3, Holds::Text),
    ("name", 4, Holds::Text),
    ("type", 5, Holds::Text),
    ("format", 6, Holds::Text),
    ("uniqueItems", 18, Holds::Flag),
]);

static RESPONSE: Message = Message(&[("description", 1, Holds::Text), ("schema", 2, Holds::Wrapped(&SCHEMA))]);

static API_KEY: Message = Message(&[
    ("type", 1, Holds::Text),
    ("name", 2, Holds::Text),
    ("in", 3, Holds::Text),
    ("description", 4, Holds::Text),
]);

/// Appends paths to the message of all paths.
pub(super) fn paths(out: &mut Vec<u8>, paths: &Map<String, Value>) {
    for (path, item) in paths {
        bytes(out, 2, &named(path, &message(&PATH, item)));
    }
}

/// Appends definitions to the message of all definitions.
pub(super) fn definitions(out: &mut Vec<u8>, definitions: &Map<String, Value>) {
    for (name, schema) in definitions {
        bytes(out, 1, &named(name, &message(&SCHEMA, schema)));
    }
}

/// The whole document.
pub(super) fn document(info: &Value, paths: &[u8], definitions: &[u8], schemes: &Value, security: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(paths.len() + definitions.len() + 256);
    bytes(&mut out, 1, b"2.0");
    bytes(&mut out, 2, &message(&INFO, info));
    bytes(&mut out, 8, paths);
    bytes(&mut out, 9, definitions);
    for requirement in security.as_array().into_iter().flatten() {
        let mut all = Vec::new();
        for (name, scopes) in requirement.as_object().into_iter().flatten() {
            bytes(&mut all, 1, &named(name, &texts(1, scopes)));
        }
        bytes(&mut out, 12, &all);
    }
    let mut all = Vec::new();
    for (name, scheme) in schemes.as_object().into_iter().flatten() {
        bytes(&mut all, 1, &named(name, &wrapped(2, &message(&API_KEY, scheme))));
    }
    bytes(&mut out, 13, &all);
    out
}

fn message(message: &Message, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in value.as_object().into_iter().flatten() {
        let known = message.0.iter().find(|(name, ..)| name == key);
        match known {
            Some((_, tag, holds)) => field(&mut out, *tag, holds, value),
            None if key.starts_with("x-") => {
                if let Some((_, tag, _)) = message.0.iter().find(|(name, ..)| *name == "x-") {
                    bytes(&mut out, *tag, &named(key, &any(value)));
                }
            }
            None => {}
        }
    }
    out
}

fn field(out: &mut Vec<u8>, tag: u32, holds: &Holds, value: &Value) {
    let items = || value.as_array().into_iter().flatten();
    match holds {
        Holds::Text => bytes(out, tag, value.as_str().unwrap_or_default().as_bytes()),
        Holds::Flag => varint_field(out, tag, u64::from(value.as_bool().unwrap_or_default())),
        Holds::Whole => varint_field(out, tag, value.as_i64().unwrap_or_default().cast_unsigned()),
        Holds::Number => {
            varint(out, u64::from(tag) << 3 | 1);
            out.extend_from_slice(&value.as_f64().unwrap_or_default().to_le_bytes());
        }
        Holds::Texts => out.extend_from_slice(&texts(tag, value)),
        Holds::Any => bytes(out, tag, &any(value)),
        Holds::Anys => items().for_each(|item| bytes(out, tag, &any(item))),
        Holds::One(inner) => bytes(out, tag, &message(inner, value)),
        Holds::Many(inner) => items().for_each(|item| bytes(out, tag, &message(inner, item))),
        Holds::Wrapped(inner) => bytes(out, tag, &wrapped(1, &message(inner, value))),
        Holds::Named(inner) => {
            let mut all = Vec::new();
            for (name, value) in value.as_object().into_iter().flatten() {
                bytes(&mut all, 1, &named(name, &message(inner, value)));
            }
            bytes(out, tag, &all);
        }
        Holds::Type if value.is_string() => bytes(out, tag, &texts(1, &Value::Array(vec![value.clone()]))),
        Holds::Type => bytes(out, tag, &texts(1, value)),
        Holds::SchemaOrFlag if value.is_boolean() => {
            let mut either = Vec::new();
            varint_field(&mut either, 2, u64::from(value.as_bool().unwrap_or_default()));
            bytes(out, tag, &either);
        }
        Holds::SchemaOrFlag => bytes(out, tag, &wrapped(1, &message(&SCHEMA, value))),
        Holds::Parameters => items().for_each(|item| bytes(out, tag, &wrapped(1, &parameter(item)))),
        Holds::Responses => {
            let mut all = Vec::new();
            for (code, response) in value.as_object().into_iter().flatten() {
                bytes(&mut all, 1, &named(code, &wrapped(1, &message(&RESPONSE, response))));
            }
            bytes(out, tag, &all);
        }
    }
}

fn parameter(value: &Value) -> Vec<u8> {
    match value["in"].as_str() {
        Some("body") => wrapped(1, &message(&BODY, value)),
        Some("path") => wrapped(2, &wrapped(4, &message(&IN_PATH, value))),
        _ => wrapped(2, &wrapped(3, &message(&QUERY, value))),
    }
}

/// JSON is YAML, which is what readers take the text for.
fn any(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    bytes(&mut out, 2, format!("{value}\n").as_bytes());
    out
}

fn named(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + value.len() + 8);
    bytes(&mut out, 1, name.as_bytes());
    bytes(&mut out, 2, value);
    out
}

fn wrapped(tag: u32, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len() + 8);
    bytes(&mut out, tag, value);
    out
}

fn texts(tag: u32, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for text in value.as_array().into_iter().flatten().filter_map(Value::as_str) {
        bytes(&mut out, tag, text.as_bytes());
    }
    out
}

fn varint_field(out: &mut Vec<u8>, tag: u32, value: u64) {
    varint(out, u64::from(tag) << 3);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, tag: u32, value: &[u8]) {
    varint(out, u64::from(tag) << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// The length-delimited fields of a message.
    pub(in crate::openapi) fn fields(mut bytes: &[u8]) -> Vec<(u32, Vec<u8>)> {
        fn take(bytes: &mut &[u8]) -> u64 {
            let (mut value, mut shift) = (0, 0);
            loop {
                let byte = bytes[0];
                *bytes = &bytes[1..];
                value |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        }
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let key = take(&mut bytes);
            assert_eq!(key & 7, 2, "a field with a length");
            let length = take(&mut bytes) as usize;
            all.push(((key >> 3) as u32, bytes[..length].to_vec()));
            bytes = &bytes[length..];
        }
        all
    }

    #[test]
    fn a_schema_is_written_by_its_tags() {
        let schema = json!({"type": "object", "x-kubernetes-map-type": "atomic", "unknown": 1,
            "properties": {"a": {"$ref": "#/definitions/b"}}});
        let written = fields(&message(&SCHEMA, &schema));
        let properties = &written.iter().find(|(tag, _)| *tag == 25).unwrap().1;
        let entry = fields(&fields(properties)[0].1);
        assert_eq!(entry[0], (1, b"a".to_vec()));
        assert_eq!(fields(&entry[1].1), [(1, b"#/definitions/b".to_vec())]);
        let extension = fields(&written.iter().find(|(tag, _)| *tag == 31).unwrap().1);
        assert_eq!(extension[0], (1, b"x-kubernetes-map-type".to_vec()));
        assert_eq!(fields(&extension[1].1), [(2, b"\"atomic\"\n".to_vec())]);
        assert_eq!(written.len(), 3);
    }
}
