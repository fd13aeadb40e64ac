//! One step of a field path: a field's name, a list item by its keys or by its value, or an index. Their order and text
//! are Kubernetes', for both are visible in managedFields and in conflicts. Knows no schema.

use std::cmp::Ordering;
use std::fmt;

use compact_str::CompactString;
use serde_json::{Number, Value};

use crate::merge::go_text;

/// One step of a field path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// A struct's field or a map's entry.
    Field(CompactString),
    /// The list item with these key fields, sorted by name.
    Key(Box<[KeyField]>),
    /// The item of a set.
    Value(Scalar),
    /// The item of a list at this place.
    Index(i64),
}

/// One key field of a list item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyField {
    /// The field's name.
    pub name: CompactString,
    /// The field's value.
    pub value: Scalar,
}

/// A value that identifies a list item. Whole floats and integers are the same number.
#[derive(Clone, Debug)]
pub enum Scalar {
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string.
    Text(CompactString),
    /// A boolean.
    Bool(bool),
    /// A list or map, which no schema allows as a key but a client can write.
    Tree(Box<Value>),
    /// Null.
    Null,
}

/// Why a text isn't a path element.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ElementError {
    /// Of a kind that this version doesn't know; readers skip it.
    #[error("unknown path element type")]
    Unknown,
    /// Not a path element.
    #[error("{0}")]
    Bad(String),
}

// === impl Element ===

impl Element {
    /// A field's element.
    pub fn field(name: &str) -> Self {
        Self::Field(CompactString::new(name))
    }

    /// Reads the serialized form, such as `f:spec` or `k:{"name":"web"}`.
    pub fn parse(text: &str) -> Result<Self, ElementError> {
        let bad = |reason: String| ElementError::Bad(reason);
        if text.len() < 2 {
            return Err(bad("key must be 2 characters long:".into()));
        }
        let Some((kind, rest)) = text.split_at_checked(2).filter(|(kind, _)| kind.ends_with(':')) else {
            return Err(bad(format!("missing colon: {text}")));
        };
        match kind {
            "f:" => Ok(Self::field(rest)),
            "i:" => rest
                .parse()
                .map(Self::Index)
                .map_err(|_| bad(format!("not an index: {rest}"))),
            "v:" => {
                let value: Value = serde_json::from_str(rest).map_err(|source| bad(source.to_string()))?;
                Ok(Self::Value(Scalar::from_value(&value)))
            }
            "k:" => {
                let map: serde_json::Map<String, Value> =
                    serde_json::from_str(rest).map_err(|source| bad(source.to_string()))?;
                let mut fields: Vec<KeyField> = map
                    .iter()
                    .map(|(name, value)| KeyField {
                        name: name.into(),
                        value: Scalar::from_value(value),
                    })
                    .collect();
                fields.sort();
                Ok(Self::Key(fields.into()))
            }
            _ => Err(ElementError::Unknown),
        }
    }

    /// Appends the serialized form.
    pub fn write(&self, out: &mut String) {
        match self {
            Self::Field(name) => {
                out.push_str("f:");
                out.push_str(name);
            }
            Self::Key(fields) => {
                out.push_str("k:{");
                for (index, field) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    write_json_text(out, &field.name);
                    out.push(':');
                    field.value.write_json(out);
                }
                out.push('}');
            }
            Self::Value(value) => {
                out.push_str("v:");
                value.write_json(out);
            }
            Self::Index(index) => {
                out.push_str("i:");
                out.push_str(&index.to_string());
            }
        }
    }

    /// The serialized form.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

/// As conflicts show it: `.spec`, `[name="web"]`, `[="value"]`, `[0]`.
impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(name) => write!(f, ".{name}"),
            Self::Key(fields) => {
                f.write_str("[")?;
                for (index, field) in fields.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma}{}={}", field.name, field.value)?;
                }
                f.write_str("]")
            }
            Self::Value(value) => write!(f, "[={value}]"),
            Self::Index(index) => write!(f, "[{index}]"),
        }
    }
}

// === impl Scalar ===

impl Scalar {
    /// The scalar that a JSON value stands for.
    pub fn from_value(value: &Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::String(text) => Self::Text(text.into()),
            Value::Number(number) => match number.as_i64() {
                Some(int) => Self::Int(int),
                None => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            tree => Self::Tree(Box::new(tree.clone())),
        }
    }

    /// The JSON value.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Int(int) => Value::from(*int),
            Self::Float(float) => Number::from_f64(*float).map_or(Value::Null, Value::Number),
            Self::Text(text) => Value::String(text.to_string()),
            Self::Bool(flag) => Value::Bool(*flag),
            Self::Tree(tree) => (**tree).clone(),
            Self::Null => Value::Null,
        }
    }

    /// Whether it is the same value, without making a scalar of the other side.
    pub fn is(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Text(text), Value::String(other)) => text == other,
            (Self::Int(int), Value::Number(number)) if number.is_i64() => number.as_i64() == Some(*int),
            _ => *self == Self::from_value(value),
        }
    }

    fn write_json(&self, out: &mut String) {
        match self {
            Self::Int(int) => out.push_str(&int.to_string()),
            Self::Float(float) => out.push_str(&go_text::float_text(*float, -6)),
            Self::Text(text) => write_json_text(out, text),
            Self::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Self::Tree(tree) => out.push_str(&tree.to_string()),
            Self::Null => out.push_str("null"),
        }
    }

    /// Kubernetes sorts numbers before strings before booleans before lists before maps before null.
    fn rank(&self) -> u8 {
        match self {
            Self::Int(_) | Self::Float(_) => 0,
            Self::Text(_) => 1,
            Self::Bool(_) => 2,
            Self::Tree(tree) if tree.is_array() => 3,
            Self::Tree(_) => 4,
            Self::Null => 5,
        }
    }
}

impl Ord for Scalar {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Int(a), Self::Float(b)) => (*a as f64).total_cmp(b),
            (Self::Float(a), Self::Int(b)) => a.total_cmp(&(*b as f64)),
            (Self::Float(a), Self::Float(b)) => a.total_cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Tree(a), Self::Tree(b)) if self.rank() == other.rank() => a.to_string().cmp(&b.to_string()),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl PartialOrd for Scalar {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scalar {}

impl fmt::Display for Scalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(int) => write!(f, "{int}"),
            Self::Float(float) => f.write_str(&go_text::float_text(*float, -4)),
            Self::Text(text) => f.write_str(&meta::quote(text)),
            Self::Bool(flag) => write!(f, "{flag}"),
            Self::Tree(tree) => write!(f, "{tree}"),
            Self::Null => f.write_str("null"),
        }
    }
}

/// A JSON string as Kubernetes writes it inside of path elements: `<`, `>` and `&` are escaped.
fn write_json_text(out: &mut String, text: &str) {
    use std::fmt::Write as _;
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => _ = write!(out, "\\u{:04x}", character as u32),
            low if (low as u32) < 0x20 => _ = write!(out, "\\u{:04x}", low as u32),
            other => out.push(other),
        }
    }
    out.push('"');
}
