//! The schema of a custom resource as a tree: what its objects may hold, what is filled in, and what is checked. It is
//! read from a definition that was validated before, so that reading is lenient. No object is touched here.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use regex::Regex;
use serde_json::Value;

use crate::rules::view::View as _;
use crate::schema::{ListType, MapType};

/// The JSON type that a schema asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Integer,
    Number,
    Boolean,
}

/// One place in a structural schema.
#[derive(Clone, Debug, Default)]
pub(crate) struct Node {
    pub(crate) kind: Option<Kind>,
    pub(crate) nullable: bool,
    pub(crate) int_or_string: bool,
    pub(crate) preserve_unknown: bool,
    /// The value is a whole object with kind, version and metadata of its own.
    pub(crate) embedded: bool,
    pub(crate) list_type: ListType,
    pub(crate) list_keys: Vec<String>,
    pub(crate) map_type: MapType,
    pub(crate) default: Option<Value>,
    pub(crate) properties: BTreeMap<String, Node>,
    pub(crate) additional: Option<Additional>,
    pub(crate) items: Option<Box<Node>>,
    pub(crate) checks: Option<Box<Checks>>,
    /// Whether rules in CEL stand here.
    pub(crate) has_rules: bool,
}

/// What fields may hold that have no schema of their own name.
#[derive(Clone, Debug)]
pub(crate) struct Additional {
    /// False for `additionalProperties: false`.
    pub(crate) allowed: bool,
    pub(crate) of: Option<Box<Node>>,
}

/// What is checked of a value beyond its type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Checks {
    pub(crate) format: String,
    pub(crate) max_length: Option<i64>,
    pub(crate) min_length: Option<i64>,
    pub(crate) pattern: Option<Pattern>,
    pub(crate) max_items: Option<i64>,
    pub(crate) min_items: Option<i64>,
    pub(crate) max_properties: Option<i64>,
    pub(crate) min_properties: Option<i64>,
    pub(crate) maximum: Option<f64>,
    pub(crate) exclusive_maximum: bool,
    pub(crate) minimum: Option<f64>,
    pub(crate) exclusive_minimum: bool,
    pub(crate) multiple_of: Option<f64>,
    pub(crate) required: Vec<String>,
    pub(crate) enumeration: Vec<Value>,
    pub(crate) all_of: Vec<Node>,
    pub(crate) any_of: Vec<Node>,
    pub(crate) one_of: Vec<Node>,
    pub(crate) not: Option<Box<Node>>,
}

/// A regular expression, compiled when a value is first checked: large definitions have hundreds.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    pub(crate) text: String,
    compiled: OnceLock<Option<Regex>>,
}

impl Pattern {
    /// Whether a text matches; nothing does when the expression is none.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let compiled = self.compiled.get_or_init(|| compile(&self.text).ok());
        compiled.as_ref().is_some_and(|pattern| pattern.is_match(text))
    }
}

/// A pattern as Go reads it: `\d` and its like are ASCII, and no match takes more than linear time.
pub(crate) fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    // In Go's syntax these mean ASCII, here they would mean Unicode. Inside of a class the replacement nests, which means
    // the same.
    let ascii = pattern.replace(r"\d", "[0-9]").replace(r"\w", "[0-9A-Za-z_]");
    regex::RegexBuilder::new(&ascii).size_limit(1 << 20).build()
}

impl Node {
    /// Reads a schema (`JSONSchemaProps`).
    pub(crate) fn read(schema: &Value) -> Node {
        let children = |key: &str| {
            let entries = schema.map(key).into_iter().flatten();
            entries.map(|(name, value)| (name.clone(), Node::read(value))).collect()
        };
        Node {
            kind: kind(schema.text("type")),
            nullable: schema.is("nullable"),
            int_or_string: schema.is("x-kubernetes-int-or-string"),
            preserve_unknown: schema.is("x-kubernetes-preserve-unknown-fields"),
            embedded: schema.is("x-kubernetes-embedded-resource"),
            list_type: match schema.text("x-kubernetes-list-type") {
                "set" => ListType::Set,
                "map" => ListType::Map,
                _ => ListType::Atomic,
            },
            list_keys: texts(schema, "x-kubernetes-list-map-keys"),
            map_type: match schema.text("x-kubernetes-map-type") {
                "atomic" => MapType::Atomic,
                _ => MapType::Granular,
            },
            default: schema.get("default").filter(|value| !value.is_null()).cloned(),
            properties: children("properties"),
            additional: additional(schema.at("additionalProperties")),
            items: schema
                .get("items")
                .filter(|items| items.is_object())
                .map(|items| Box::new(Node::read(items))),
            checks: Checks::read(schema).map(Box::new),
            has_rules: !schema.list("x-kubernetes-validations").is_empty(),
        }
    }

    /// What the schema says of a field of this name.
    pub(crate) fn field(&self, name: &str) -> Option<&Node> {
        self.properties
            .get(name)
            .or_else(|| self.additional.as_ref().and_then(|additional| additional.of.as_deref()))
    }

    /// Whether something in the schema is filled in when it is absent.
    pub(crate) fn has_defaults(&self) -> bool {
        self.default.is_some() || self.children().any(Node::has_defaults)
    }

    /// Whether a rule in CEL stands somewhere in it.
    pub(crate) fn has_rules(&self) -> bool {
        self.has_rules || self.children().any(Node::has_rules)
    }

    /// The schemas of what a value holds.
    pub(crate) fn children(&self) -> impl Iterator<Item = &Node> {
        let additional = self.additional.as_ref().and_then(|additional| additional.of.as_deref());
        self.properties.values().chain(additional).chain(self.items.as_deref())
    }
}

impl Checks {
    fn read(schema: &Value) -> Option<Checks> {
        let number = |key: &str| schema.at(key).as_f64();
        let nodes = |key: &str| schema.list(key).iter().map(Node::read).collect::<Vec<_>>();
        let checks = Checks {
            format: schema.text("format").to_owned(),
            max_length: schema.int("maxLength"),
            min_length: schema.int("minLength"),
            pattern: Some(schema.text("pattern"))
                .filter(|text| !text.is_empty())
                .map(|text| Pattern {
                    text: text.to_owned(),
                    compiled: OnceLock::new(),
                }),
            max_items: schema.int("maxItems"),
            min_items: schema.int("minItems"),
            max_properties: schema.int("maxProperties"),
            min_properties: schema.int("minProperties"),
            maximum: number("maximum"),
            exclusive_maximum: schema.is("exclusiveMaximum"),
            minimum: number("minimum"),
            exclusive_minimum: schema.is("exclusiveMinimum"),
            multiple_of: number("multipleOf"),
            required: texts(schema, "required"),
            enumeration: schema.list("enum").to_vec(),
            all_of: nodes("allOf"),
            any_of: nodes("anyOf"),
            one_of: nodes("oneOf"),
            not: schema
                .get("not")
                .filter(|not| not.is_object())
                .map(|not| Box::new(Node::read(not))),
        };
        const CHECKED: [&str; 16] = [
            "format",
            "maxLength",
            "minLength",
            "pattern",
            "maxItems",
            "minItems",
            "maxProperties",
            "minProperties",
            "maximum",
            "minimum",
            "multipleOf",
            "required",
            "enum",
            "allOf",
            "anyOf",
            "oneOf",
        ];
        let any = CHECKED.iter().any(|key| schema.has(key)) || checks.not.is_some();
        any.then_some(checks)
    }
}

fn kind(name: &str) -> Option<Kind> {
    Some(match name {
        "object" => Kind::Object,
        "array" => Kind::Array,
        "string" => Kind::String,
        "integer" => Kind::Integer,
        "number" => Kind::Number,
        "boolean" => Kind::Boolean,
        _ => return None,
    })
}

fn additional(value: &Value) -> Option<Additional> {
    match value {
        Value::Bool(allowed) => Some(Additional {
            allowed: *allowed,
            of: None,
        }),
        Value::Object(_) => Some(Additional {
            allowed: true,
            of: Some(Box::new(Node::read(value))),
        }),
        _ => None,
    }
}

pub(crate) fn texts(object: &Value, key: &str) -> Vec<String> {
    let list = object.list(key).iter().filter_map(Value::as_str);
    list.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::compile;

    #[test]
    fn patterns_are_read_as_go_reads_them() {
        assert!(compile(r"^[\d]+$").unwrap().is_match("12"));
        assert!(!compile(r"^\d$").unwrap().is_match("٣"));
        assert!(compile(r"^([a-z\w]+)$").unwrap().is_match("a_9"));
    }
}
