//! What `self` is in a rule: the type that a schema gives it, and how large it can be, as Kubernetes estimates it for the
//! costs of rules (`k8s.io/apiserver/pkg/cel/common`, `SchemaDeclType`).

use std::collections::BTreeMap;

use cel::{Declaration, Type};
use serde_json::{Value, json};

use super::names::escape;
use crate::rules::view::View as _;

/// No request is larger.
const REQUEST: u64 = 3 << 20;
/// The longest span and the longest point in time, in quotes.
const LONGEST_TIME: u64 = 32;
const DATE: u64 = 12;
const SHORTEST_TIMESTAMP: u64 = 21;
const SHORTEST_DURATION: u64 = 3;

/// A declaration, and the fewest bytes that a value of it takes in a request.
#[derive(Clone, Debug)]
pub(super) struct Sized {
    pub(super) declared: Declaration,
    pub(super) least: u64,
}

impl Sized {
    fn simple(ty: Type, largest: u64, least: u64) -> Sized {
        Sized {
            declared: Declaration::simple(ty, largest),
            least,
        }
    }

    /// At most so many values of it fit into a request.
    pub(super) fn most(&self) -> u64 {
        REQUEST / (self.least + 1)
    }
}

/// Declares the objects of a kind by its published schema, without references; none when it is of no known type.
pub(crate) fn declare_published(schema: &Value, name: &str) -> Option<Declaration> {
    declare(schema, true, name).map(|sized| sized.declared)
}

/// Declares a schema; none when it is of no type that rules know. `whole` are objects with a kind and metadata of their
/// own, `name` is that of the type.
pub(super) fn declare(schema: &Value, whole: bool, name: &str) -> Option<Sized> {
    let most = |key: &str| schema.int(key).map(|most| u64::try_from(most).unwrap_or(0));
    if schema.is("x-kubernetes-int-or-string") {
        let largest = most("maxLength").map_or(REQUEST - 2, |most| most * 4);
        return Some(Sized::simple(Type::Dyn, largest, 1));
    }
    match schema.text("type") {
        "array" => {
            let items = schema.get("items").filter(|items| items.is_object())?;
            let of = declare(
                items,
                items.is("x-kubernetes-embedded-resource"),
                &format!("{name}.@idx"),
            )?;
            let largest = most("maxItems").unwrap_or((REQUEST - 2) / (of.least + 1));
            Some(Sized {
                declared: Declaration::list(of.declared, largest),
                least: 2,
            })
        }
        "object" => match schema.get("additionalProperties").filter(|of| of.is_object()) {
            Some(values) => {
                let whole = values.is("x-kubernetes-embedded-resource");
                let of = declare(values, whole, &format!("{name}.@elem"))?;
                let largest = most("maxProperties").unwrap_or((REQUEST - 2) / (of.least + 6));
                Some(Sized {
                    declared: Declaration::map(of.declared, largest),
                    least: 2,
                })
            }
            None => Some(object(schema, whole, name)),
        },
        "string" => Some(text(schema, most("maxLength"))),
        "boolean" => Some(Sized::simple(Type::Bool, 0, 4)),
        "number" => Some(Sized::simple(Type::Double, 0, 1)),
        "integer" => Some(Sized::simple(Type::Int, 0, 1)),
        _ => None,
    }
}

/// Whether a schema itself says what every object has: its kind, its version and its names.
pub(super) fn says_whole(schema: &Value) -> bool {
    let properties = schema.at("properties");
    let metadata = properties.at("metadata");
    let named = metadata.at("properties");
    let texts = [
        properties.at("kind"),
        properties.at("apiVersion"),
        named.at("name"),
        named.at("generateName"),
    ];
    metadata.text("type") == "object" && texts.iter().all(|field| field.text("type") == "string")
}

fn object(schema: &Value, whole: bool, name: &str) -> Sized {
    let mut properties = schema.map("properties").cloned().unwrap_or_default();
    if whole && !says_whole(schema) {
        properties.insert("kind".to_owned(), json!({"type": "string"}));
        properties.insert("apiVersion".to_owned(), json!({"type": "string"}));
        let name = json!({"type": "string", "maxLength": 253});
        let named = json!({"name": name, "generateName": name});
        properties.insert("metadata".to_owned(), json!({"type": "object", "properties": named}));
    }
    let required: Vec<&str> = schema.list("required").iter().filter_map(Value::as_str).collect();
    let mut fields = BTreeMap::new();
    let mut least = 2;
    for (field, of) in &properties {
        let embedded = of.is("x-kubernetes-embedded-resource");
        let escaped = escape(field);
        let within = format!("{name}.{}", escaped.as_deref().unwrap_or(field));
        let Some(sized) = declare(of, embedded, &within) else {
            continue;
        };
        if required.contains(&field.as_str()) && of.at("default").is_null() {
            least += field.len() as u64 + sized.least + 4;
        }
        if let Some(escaped) = escaped {
            fields.insert(escaped, sized.declared);
        }
    }
    Sized {
        declared: Declaration::object(name, fields),
        least,
    }
}

fn text(schema: &Value, longest: Option<u64>) -> Sized {
    match schema.text("format") {
        "byte" => Sized::simple(Type::Bytes, longest.unwrap_or(REQUEST - 2), 2),
        "duration" => Sized::simple(Type::Duration, LONGEST_TIME, SHORTEST_DURATION),
        "date" => Sized::simple(Type::Timestamp, DATE, DATE),
        "date-time" => Sized::simple(Type::Timestamp, LONGEST_TIME, SHORTEST_TIMESTAMP),
        _ => {
            let values = schema.list("enum").iter().filter_map(Value::as_str);
            let largest = match (longest, values.map(str::len).max()) {
                // A letter may take four bytes.
                (Some(longest), _) => longest * 4,
                (None, Some(longest)) => longest as u64,
                (None, None) => REQUEST - 2,
            };
            Sized::simple(Type::String, largest, 2)
        }
    }
}
