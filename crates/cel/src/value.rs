//! Values of expressions.

use std::any::Any;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value as Json;

use crate::error::Error;
use crate::token;
use crate::types::Type;

/// What an expression is, once it has run. Cheap to copy.
#[derive(Clone, Debug)]
pub enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number that isn't negative.
    Uint(u64),
    /// A floating point number.
    Double(f64),
    /// A text.
    String(Arc<str>),
    /// Bytes.
    Bytes(Arc<[u8]>),
    /// A span of time.
    Duration(SignedDuration),
    /// A point in time.
    Timestamp(Timestamp),
    /// A type, by its name.
    Type(Arc<str>),
    /// A list.
    List(Arc<Vec<Value>>),
    /// A map or an object.
    Map(Arc<Map>),
    /// A value that may be absent.
    Optional(Option<Arc<Value>>),
    /// What only functions can look into.
    Opaque(Arc<dyn Opaque>),
}

/// A map; with a name it is a literal of the type with that name.
#[derive(Clone, Debug, Default)]
pub struct Map {
    /// The type's name, of a literal of such.
    pub name: Option<Arc<str>>,
    /// The entries.
    pub entries: BTreeMap<Key, Value>,
}

/// A key of a map. Whole numbers are equal whatever their type is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number beyond those.
    Uint(u64),
    /// A text.
    String(Arc<str>),
}

/// A value of a type that expressions can't look into.
pub trait Opaque: Any + fmt::Debug + Send + Sync {
    /// The type's name.
    fn type_name(&self) -> &'static str;

    /// Whether another one is the same.
    fn equals(&self, other: &dyn Opaque) -> bool;
}

impl dyn Opaque {
    /// It, when it is of this type.
    #[must_use]
    pub fn downcast<T: Opaque>(&self) -> Option<&T> {
        (self as &dyn Any).downcast_ref()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Key::Bool(flag) => flag.fmt(f),
            Key::Int(number) => number.fmt(f),
            Key::Uint(number) => number.fmt(f),
            Key::String(text) => text.fmt(f),
        }
    }
}

impl Key {
    /// A value as a key; none when it can't be one.
    pub(crate) fn of(value: &Value) -> Option<Key> {
        match value {
            Value::Bool(flag) => Some(Key::Bool(*flag)),
            Value::Int(number) => Some(Key::Int(*number)),
            Value::Uint(number) => Some(i64::try_from(*number).map_or(Key::Uint(*number), Key::Int)),
            // A double that is whole looks up the same entry.
            #[allow(
                clippy::cast_possible_truncation,
                clippy::float_cmp,
                reason = "compared with what it came from"
            )]
            Value::Double(number) if *number == (*number as i64) as f64 => Some(Key::Int(*number as i64)),
            Value::String(text) => Some(Key::String(Arc::clone(text))),
            _ => None,
        }
    }

    /// The key as a value.
    pub(crate) fn value(&self) -> Value {
        match self {
            Key::Bool(flag) => Value::Bool(*flag),
            Key::Int(number) => Value::Int(*number),
            Key::Uint(number) => Value::Uint(*number),
            Key::String(text) => Value::String(Arc::clone(text)),
        }
    }
}

impl Map {
    /// The value of a field, also by a name that is a word of the language and therefore declared another way.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Value> {
        let at = |name: &str| self.entries.get(&Key::String(Arc::from(name)));
        at(name).or_else(|| at(&token::written(name)?))
    }
}

impl Value {
    /// A text.
    #[must_use]
    pub fn text(text: impl Into<Arc<str>>) -> Value {
        Value::String(text.into())
    }

    /// A list.
    #[must_use]
    pub fn list(items: Vec<Value>) -> Value {
        Value::List(Arc::new(items))
    }

    /// A value that is there.
    #[must_use]
    pub fn some(value: Value) -> Value {
        Value::Optional(Some(Arc::new(value)))
    }

    pub(crate) fn opaque(value: impl Opaque) -> Value {
        Value::Opaque(Arc::new(value))
    }

    /// The name of its type.
    #[must_use]
    pub fn type_name(&self) -> &str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Type(_) => "type",
            Value::List(_) => "list",
            Value::Map(map) => map.name.as_deref().unwrap_or("map"),
            Value::Optional(_) => "optional_type",
            Value::Opaque(opaque) => opaque.type_name(),
        }
    }

    /// Whether it may be given where a type is wanted.
    pub(crate) fn is_of(&self, wanted: &Type) -> bool {
        match (wanted, self) {
            (Type::Dyn | Type::Param(_), _)
            | (Type::Null, Value::Null)
            | (Type::Bool, Value::Bool(_))
            | (Type::Int, Value::Int(_))
            | (Type::Uint, Value::Uint(_))
            | (Type::Double, Value::Double(_))
            | (Type::String, Value::String(_))
            | (Type::Bytes, Value::Bytes(_))
            | (Type::Duration, Value::Duration(_))
            | (Type::Timestamp, Value::Timestamp(_))
            | (Type::Type, Value::Type(_))
            | (Type::Map(..) | Type::Object(_), Value::Map(_))
            | (Type::Optional(_), Value::Optional(_)) => true,
            (Type::List(of), Value::List(items)) => items.first().is_none_or(|item| item.is_of(of)),
            (Type::Opaque(name), Value::Opaque(opaque)) => opaque.type_name() == *name,
            _ => false,
        }
    }

    /// How much there is to look at: letters, bytes, elements; 1 for what has no size.
    pub(crate) fn size(&self) -> u64 {
        let size = match self {
            Value::String(text) => text.chars().count(),
            Value::Bytes(bytes) => bytes.len(),
            Value::List(items) => items.len(),
            Value::Map(map) => map.entries.len(),
            Value::Optional(Some(value)) => return value.size(),
            _ => 1,
        };
        size as u64
    }

    /// What it costs to look at everything in it once.
    pub(crate) fn traversal(&self) -> u64 {
        let tenth = |size: usize| size as u64 / 10;
        match self {
            Value::String(text) => tenth(text.len()),
            Value::Bytes(bytes) => tenth(bytes.len()),
            Value::List(items) => items.iter().map(Value::traversal).sum(),
            Value::Map(map) => {
                let entries = map.entries.iter();
                entries
                    .map(|(key, value)| key.value().traversal() + value.traversal())
                    .sum()
            }
            _ => 1,
        }
    }

    /// JSON as a value; where a type says so, texts are times and bytes, and whole numbers are doubles.
    #[must_use]
    pub fn from_json(json: &Json) -> Value {
        match json {
            Json::Null => Value::Null,
            Json::Bool(flag) => Value::Bool(*flag),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(number), _) => Value::Int(number),
                (None, Some(number)) => Value::Uint(number),
                (None, None) => Value::Double(number.as_f64().unwrap_or_default()),
            },
            Json::String(text) => Value::text(text.as_str()),
            Json::Array(items) => Value::list(items.iter().map(Value::from_json).collect()),
            Json::Object(object) => {
                let entries = object.iter();
                let entries =
                    entries.map(|(key, value)| (Key::String(Arc::from(key.as_str())), Value::from_json(value)));
                Value::Map(Arc::new(Map {
                    name: None,
                    entries: entries.collect(),
                }))
            }
        }
    }

    /// Compares two values of an order.
    pub(crate) fn compare(&self, other: &Value) -> Result<Ordering, Error> {
        let of_doubles = |a: f64, b: f64| a.partial_cmp(&b).ok_or(Error::NoSuchOverload);
        Ok(match (self, other) {
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (Value::Uint(a), Value::Uint(b)) => a.cmp(b),
            (Value::Int(a), Value::Uint(b)) => i128::from(*a).cmp(&i128::from(*b)),
            (Value::Uint(a), Value::Int(b)) => i128::from(*a).cmp(&i128::from(*b)),
            (Value::Double(a), Value::Double(b)) => of_doubles(*a, *b)?,
            (Value::Double(a), b) => of_doubles(*a, b.as_double().ok_or(Error::NoSuchOverload)?)?,
            (a, Value::Double(b)) => of_doubles(a.as_double().ok_or(Error::NoSuchOverload)?, *b)?,
            (Value::String(a), Value::String(b)) => a.cmp(b),
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Value::Duration(a), Value::Duration(b)) => a.cmp(b),
            (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
            _ => return Err(Error::NoSuchOverload),
        })
    }

    /// A number as a double.
    #[allow(
        clippy::cast_precision_loss,
        reason = "comparisons of numbers of different types are as precise as doubles"
    )]
    pub(crate) fn as_double(&self) -> Option<f64> {
        match self {
            Value::Int(number) => Some(*number as f64),
            Value::Uint(number) => Some(*number as f64),
            Value::Double(number) => Some(*number),
            _ => None,
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Type(a), Value::Type(b)) => a == b,
            (Value::List(a), Value::List(b)) => a == b,
            (Value::Map(a), Value::Map(b)) => a.entries == b.entries,
            (Value::Optional(a), Value::Optional(b)) => a == b,
            (Value::Opaque(a), Value::Opaque(b)) => a.type_name() == b.type_name() && a.equals(&**b),
            (a, b) => a.compare(b) == Ok(Ordering::Equal),
        }
    }
}
