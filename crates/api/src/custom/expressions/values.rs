//! An object's parts as rules see them, by their schema: texts that are times or bytes, numbers that are floating, and
//! only those fields that are declared.

use std::sync::Arc;

use base64::Engine as _;
use cel::{Key, Map, Value as Cel};
use serde_json::Value;

use super::declare::says_whole;
use super::names::escape;
use crate::rules::view::View as _;

/// How JSON becomes a value.
#[derive(Debug)]
pub(super) enum Form {
    /// As it is.
    Plain,
    Double,
    Bytes,
    Duration,
    Timestamp,
    List(Box<Form>),
    Map(Box<Form>),
    /// Fields with their names in objects and in rules.
    Object(Vec<(String, Arc<str>, Form)>),
}

impl Form {
    /// The form that a schema gives.
    pub(super) fn of(schema: &Value, whole: bool) -> Form {
        if schema.is("x-kubernetes-int-or-string") {
            return Form::Plain;
        }
        match (schema.text("type"), schema.text("format")) {
            ("array", _) => Form::List(Box::new(Form::child(schema.at("items")))),
            ("object", _) if schema.at("additionalProperties").is_object() => {
                Form::Map(Box::new(Form::child(schema.at("additionalProperties"))))
            }
            ("object", _) => Form::object(schema, whole),
            ("number", _) => Form::Double,
            ("string", "byte") => Form::Bytes,
            ("string", "duration") => Form::Duration,
            ("string", "date" | "date-time") => Form::Timestamp,
            _ => Form::Plain,
        }
    }

    fn child(schema: &Value) -> Form {
        Form::of(schema, schema.is("x-kubernetes-embedded-resource"))
    }

    fn object(schema: &Value, whole: bool) -> Form {
        let whole = whole && !says_whole(schema);
        let mut fields = Vec::new();
        let mut add = |name: &str, form| {
            if let Some(escaped) = escape(name) {
                fields.push((name.to_owned(), Arc::from(escaped), form));
            }
        };
        for (name, of) in schema.map("properties").into_iter().flatten() {
            if !(whole && matches!(name.as_str(), "kind" | "apiVersion" | "metadata")) {
                add(name, Form::child(of));
            }
        }
        if whole {
            add("kind", Form::Plain);
            add("apiVersion", Form::Plain);
            let text = |name: &str| (name.to_owned(), Arc::from(name), Form::Plain);
            add("metadata", Form::Object(vec![text("name"), text("generateName")]));
        }
        Form::Object(fields)
    }

    /// A part of an object as a value. What doesn't fit its schema was told before, and stays as it is.
    pub(super) fn value(&self, json: &Value) -> Cel {
        match (self, json) {
            (Form::Double, Value::Number(number)) => Cel::Double(number.as_f64().unwrap_or_default()),
            (Form::Bytes, Value::String(text)) => {
                let decoded = base64::engine::general_purpose::STANDARD.decode(text);
                decoded.map_or_else(|_| Cel::from_json(json), |bytes| Cel::Bytes(Arc::from(bytes)))
            }
            (Form::Duration, Value::String(text)) => {
                let parsed = cel::parse_duration(text);
                parsed.map_or_else(|_| Cel::from_json(json), Cel::Duration)
            }
            (Form::Timestamp, Value::String(text)) => {
                // A date is its first moment.
                let parsed = cel::parse_timestamp(text).or_else(|_| cel::parse_timestamp(&format!("{text}T00:00:00Z")));
                parsed.map_or_else(|_| Cel::from_json(json), Cel::Timestamp)
            }
            (Form::List(of), Value::Array(items)) => Cel::list(items.iter().map(|item| of.value(item)).collect()),
            (Form::Map(of), Value::Object(entries)) => {
                let entries = entries.iter();
                map(entries.map(|(key, value)| (Arc::from(key.as_str()), of.value(value))))
            }
            (Form::Object(fields), Value::Object(object)) => map(fields.iter().filter_map(|(name, escaped, form)| {
                let value = object.get(name)?;
                Some((Arc::clone(escaped), form.value(value)))
            })),
            _ => Cel::from_json(json),
        }
    }
}

fn map(entries: impl Iterator<Item = (Arc<str>, Cel)>) -> Cel {
    Cel::Map(Arc::new(Map {
        name: None,
        entries: entries.map(|(key, value)| (Key::String(key), value)).collect(),
    }))
}
