//! The columns that a definition adds to the table of its objects.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::json_path::JsonPath;
use crate::rules::since;
use crate::rules::view::View as _;

const NAME_IS: &str = "Name must be unique within a namespace. Is required when creating resources, although some \
                       resources may allow a client to request the generation of an appropriate name automatically. \
                       Name is primarily intended for creation idempotence and configuration definition. Cannot be \
                       updated. More info: \
                       https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names";
const CREATED_IS: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. \
                          It is not guaranteed to be set in happens-before order across separate operations. Clients \
                          may not set this value. It is represented in RFC3339 form and is in UTC.\n\nPopulated by \
                          the system. Read-only. Null for lists. More info: \
                          https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// A column of a definition.
#[derive(Debug)]
pub(crate) struct Column {
    name: String,
    kind: String,
    format: String,
    description: String,
    priority: i64,
    path: Option<JsonPath>,
}

/// The columns of a version; the age when it names none.
pub(crate) fn read(version: &Value) -> Vec<Column> {
    let columns = version.list("additionalPrinterColumns");
    if columns.is_empty() {
        return vec![Column {
            name: "Age".to_owned(),
            kind: "date".to_owned(),
            format: String::new(),
            description: CREATED_IS.to_owned(),
            priority: 0,
            path: JsonPath::parse(".metadata.creationTimestamp").ok(),
        }];
    }
    let text = |column: &Value, key: &str| column.text(key).to_owned();
    columns
        .iter()
        .map(|column| Column {
            name: text(column, "name"),
            kind: text(column, "type"),
            format: text(column, "format"),
            description: match column.text("description") {
                "" => format!(
                    "Custom resource definition column (in JSONPath format): {}",
                    column.text("jsonPath")
                ),
                own => own.to_owned(),
            },
            priority: column.int("priority").unwrap_or(0),
            path: JsonPath::parse(column.text("jsonPath")).ok(),
        })
        .collect()
}

/// The heads of a table.
pub(crate) fn heads(columns: &[Column]) -> Vec<Value> {
    let name = json!({"name": "Name", "type": "string", "format": "name", "description": NAME_IS, "priority": 0});
    let own = columns.iter().map(|column| {
        json!({"name": column.name, "type": column.kind, "format": column.format, "description": column.description,
            "priority": column.priority})
    });
    std::iter::once(name).chain(own).collect()
}

/// One object's cells.
pub(crate) fn cells(columns: &[Column], object: &Value, now: Timestamp) -> Vec<Value> {
    let name = object.at("metadata").at("name").clone();
    let own = columns.iter().map(|column| {
        let found = column.path.as_ref().map(|path| path.find(object)).unwrap_or_default();
        found
            .first()
            .map_or(Value::Null, |value| cell(&column.kind, value, now))
    });
    std::iter::once(name).chain(own).collect()
}

fn cell(kind: &str, value: &Value, now: Timestamp) -> Value {
    match (kind, value) {
        (_, Value::Null) if kind != "string" => Value::Null,
        ("integer", Value::Number(number)) => match number.as_i64() {
            Some(whole) => whole.into(),
            None => (number.as_f64().unwrap_or_default() as i64).into(),
        },
        ("number", Value::Number(number)) => json!(number.as_f64()),
        ("boolean", Value::Bool(_)) => value.clone(),
        ("string", value) => text(value).into(),
        ("date", Value::String(time)) => match time.parse::<Timestamp>() {
            Ok(_) => since(time, now).into(),
            Err(_) => "<invalid>".into(),
        },
        _ => Value::Null,
    }
}

/// A value as kubectl's paths print it.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "<nil>".to_owned(),
        other => other.to_string(),
    }
}
