//! Reads JSON, or a tree, into a tree along the schema table, in one pass: types checked, unknown fields dropped and
//! noted, the rest brought into the form of Go's types.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{form, scalars};
use crate::schema::{Field, Schema, Struct, Type, TypeId};

/// What was read.
pub(super) struct Read {
    /// The object.
    pub(super) value: Value,
    /// Unknown and duplicate fields, as Kubernetes words them.
    pub(super) problems: Vec<String>,
}

/// Why nothing was read.
pub(super) enum Failure {
    /// The text is malformed.
    Syntax(String),
    /// A value has the wrong type.
    Type(String),
}

/// Kubernetes reports so many unknown and duplicate fields at most.
pub(super) const MAX_PROBLEMS: usize = 100;

/// Reads JSON text.
pub(super) fn from_json(schema: &Schema, ty: TypeId, bytes: &[u8], sparse: bool) -> Result<Read, Failure> {
    let mut reader = Reader::new(schema, sparse);
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let outcome = Seed {
        reader: &mut reader,
        ty,
        field: None,
    }
    .deserialize(&mut deserializer);
    let outcome = outcome.and_then(|value| deserializer.end().map(|()| value));
    reader.outcome(outcome.map_err(|error| syntax_error(&error, bytes)))
}

/// Reads a tree.
pub(super) fn from_value(schema: &Schema, ty: TypeId, value: Value, sparse: bool) -> Result<Read, Failure> {
    let mut reader = Reader::new(schema, sparse);
    let outcome = Seed {
        reader: &mut reader,
        ty,
        field: None,
    }
    .deserialize(value);
    reader.outcome(outcome.map_err(|error| error.to_string()))
}

/// A syntax error in Go's words, as far as they can be told.
pub(super) fn syntax_error(error: &serde_json::Error, bytes: &[u8]) -> String {
    if error.is_eof() {
        return "unexpected end of JSON input".to_owned();
    }
    let line = bytes
        .split(|byte| *byte == b'\n')
        .nth(error.line().saturating_sub(1))
        .unwrap_or_default();
    match line.get(error.column().saturating_sub(1)) {
        Some(byte) if byte.is_ascii_graphic() => {
            format!(
                "invalid character '{}' looking for beginning of value",
                char::from(*byte)
            )
        }
        _ => error.to_string(),
    }
}

enum Part<'a> {
    Field {
        name: &'a str,
        owner: &'a str,
    },
    Index(usize),
    /// A map's key: where it begins in `keys`.
    Key(usize),
}

struct Reader<'a> {
    schema: &'a Schema,
    sparse: bool,
    path: Vec<Part<'a>>,
    keys: String,
    problems: Vec<String>,
    failure: Option<String>,
}

impl<'a> Reader<'a> {
    fn new(schema: &'a Schema, sparse: bool) -> Self {
        Reader {
            schema,
            sparse,
            path: Vec::new(),
            keys: String::new(),
            problems: Vec::new(),
            failure: None,
        }
    }

    fn outcome(self, outcome: Result<Option<Value>, String>) -> Result<Read, Failure> {
        match (outcome, self.failure) {
            (_, Some(failure)) => Err(Failure::Type(failure)),
            (Err(error), None) => Err(Failure::Syntax(error)),
            (Ok(value), None) => Ok(Read {
                value: value.unwrap_or_default(),
                problems: self.problems,
            }),
        }
    }

    /// The path to the value that is being read, as strict decoding words it.
    fn shown_path(&self) -> String {
        let mut text = String::new();
        let mut keys = self.keys.len();
        let mut ends = Vec::new();
        for part in self.path.iter().rev() {
            if let Part::Key(start) = part {
                ends.push(keys);
                keys = *start;
            }
        }
        for part in &self.path {
            match part {
                Part::Index(index) => text.push_str(&format!("[{index}]")),
                Part::Field { name, .. } => push_name(&mut text, name),
                Part::Key(start) => {
                    let end = ends.pop().unwrap_or(self.keys.len());
                    push_name(&mut text, &self.keys[*start..end]);
                }
            }
        }
        text
    }

    #[cold]
    fn problem(&mut self, what: &str, name: &str) {
        let mut path = self.shown_path();
        push_name(&mut path, name);
        let text = format!("{what} field \"{path}\"");
        if self.problems.len() < MAX_PROBLEMS && !self.problems.contains(&text) {
            self.problems.push(text);
        }
    }

    #[cold]
    fn fail<E: serde::de::Error>(&mut self, message: String) -> E {
        let error = E::custom(&message);
        self.failure.get_or_insert(message);
        error
    }

    /// A value of the wrong type, in Go's words.
    #[cold]
    fn mismatch<E: serde::de::Error>(&mut self, found: &str, ty: TypeId, field: Option<&Field>) -> E {
        let expected = go_type(self.schema, ty, field);
        let names: Vec<&str> = self
            .path
            .iter()
            .filter_map(|part| match part {
                Part::Field { name, .. } => Some(*name),
                _ => None,
            })
            .collect();
        let owner = self.path.iter().rev().find_map(|part| match part {
            Part::Field { owner, .. } => Some(*owner),
            _ => None,
        });
        let place = match owner {
            Some(owner) => {
                let owner = owner.rsplit('.').next().unwrap_or(owner);
                format!("struct field {owner}.{} of type {expected}", names.join("."))
            }
            None => format!("value of type {expected}"),
        };
        self.fail(format!("json: cannot unmarshal {found} into Go {place}"))
    }
}

fn push_name(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// A type's name in Go.
fn go_type(schema: &Schema, ty: TypeId, field: Option<&Field>) -> String {
    if let Some(name) = field.and_then(|field| field.go_type.as_deref())
        && matches!(schema.get(ty), Type::String)
    {
        return name.to_owned();
    }
    match schema.get(ty) {
        Type::String => "string".to_owned(),
        Type::Bytes => "[]uint8".to_owned(),
        Type::Bool => "bool".to_owned(),
        Type::Int32 | Type::IntOrString => "int32".to_owned(),
        Type::Int64 => "int64".to_owned(),
        Type::Double => "float64".to_owned(),
        Type::Quantity => "resource.Quantity".to_owned(),
        Type::Time => "v1.Time".to_owned(),
        Type::MicroTime => "v1.MicroTime".to_owned(),
        Type::Duration => "v1.Duration".to_owned(),
        Type::Any | Type::Deduced => "interface {}".to_owned(),
        Type::Struct(body) => {
            let mut parts = body.name.rsplit('.');
            let (kind, version) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            format!("{version}.{kind}")
        }
        Type::List(list) => format!("[]{}", go_type(schema, list.element, field)),
        Type::Map(map) => format!("map[string]{}", go_type(schema, map.value, None)),
    }
}

/// Reads one value; none when it is null.
struct Seed<'r, 'a> {
    reader: &'r mut Reader<'a>,
    ty: TypeId,
    field: Option<&'a Field>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Option<Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        if matches!(self.reader.schema.get(self.ty), Type::Any | Type::Deduced) {
            return serde::Deserialize::deserialize(deserializer).map(Some);
        }
        deserializer.deserialize_any(self)
    }
}

impl<'a> Seed<'_, 'a> {
    fn ty(&self) -> &'a Type {
        self.reader.schema.get(self.ty)
    }

    fn mismatch<E: serde::de::Error>(self, found: &str) -> E {
        self.reader.mismatch(found, self.ty, self.field)
    }

    /// An integer; `text` is how it was written.
    fn integer<E: serde::de::Error>(self, number: Number) -> Result<Option<Value>, E> {
        let fits = match self.ty() {
            Type::Int32 | Type::IntOrString => number.as_i64().is_some_and(|value| i32::try_from(value).is_ok()),
            Type::Int64 => number.is_i64(),
            Type::Double => true,
            Type::Quantity => {
                let text = number.to_string();
                return match scalars::quantity(&text) {
                    Ok(changed) => Ok(Some(Value::String(changed.unwrap_or(text)))),
                    Err(message) => Err(self.reader.fail(message)),
                };
            }
            _ => return Err(self.mismatch("number")),
        };
        if fits {
            Ok(Some(Value::Number(number)))
        } else {
            Err(self.mismatch(&format!("number {number}")))
        }
    }

    /// A text, with the change that its type wants.
    fn text<E: serde::de::Error>(self, text: impl Into<String> + AsRef<str>) -> Result<Option<Value>, E> {
        let changed = match self.ty() {
            Type::String | Type::IntOrString => Ok(None),
            Type::Bytes => scalars::base64(text.as_ref()).map(|kept| match kept {
                std::borrow::Cow::Owned(kept) => Some(kept),
                std::borrow::Cow::Borrowed(_) => None,
            }),
            Type::Quantity => scalars::quantity(text.as_ref()),
            Type::Time => scalars::seconds(text.as_ref()),
            Type::MicroTime => scalars::micros(text.as_ref()),
            Type::Duration => scalars::duration(text.as_ref()),
            _ => return Err(self.mismatch("string")),
        };
        match changed {
            Ok(Some(changed)) => Ok(Some(Value::String(changed))),
            Ok(None) => Ok(Some(Value::String(text.into()))),
            Err(message) => Err(self.reader.fail(message)),
        }
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Option<Value>, E> {
        match self.ty() {
            Type::Bool => Ok(Some(Value::Bool(value))),
            _ => Err(self.mismatch("bool")),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Option<Value>, E> {
        self.integer(Number::from(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Option<Value>, E> {
        self.integer(Number::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Option<Value>, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("not a number"))?;
        match self.ty() {
            Type::Double => Ok(Some(Value::Number(number))),
            Type::Quantity => self.integer(number),
            Type::Int32 | Type::Int64 | Type::IntOrString => Err(self.mismatch(&format!("number {value}"))),
            _ => Err(self.mismatch("number")),
        }
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Option<Value>, E> {
        self.text(value)
    }

    fn visit_string<E: serde::de::Error>(self, value: String) -> Result<Option<Value>, E> {
        self.text(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Option<Value>, A::Error> {
        let Type::List(list) = self.ty() else {
            return Err(self.mismatch("array"));
        };
        let mut items = Vec::new();
        loop {
            self.reader.path.push(Part::Index(items.len()));
            let seed = Seed {
                reader: &mut *self.reader,
                ty: list.element,
                field: self.field,
            };
            let item = access.next_element_seed(seed)?;
            self.reader.path.pop();
            match item {
                // Go makes a null element the zero value.
                Some(None) => items.push(form::zero(self.reader.schema, list.element).unwrap_or_default()),
                Some(Some(item)) => items.push(item),
                None => return Ok(Some(Value::Array(items))),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Option<Value>, A::Error> {
        match self.ty() {
            Type::Struct(body) => read_struct(self.reader, body, access).map(Some),
            Type::Map(map) => read_map(self.reader, map.value, access).map(Some),
            _ => Err(self.mismatch("object")),
        }
    }
}

fn read_struct<'de, 'a, A: MapAccess<'de>>(
    reader: &mut Reader<'a>,
    body: &'a Struct,
    mut access: A,
) -> Result<Value, A::Error> {
    let mut object = Map::new();
    let (mut seen, mut next) = (0_u128, 0);
    while let Some(key) = access.next_key_seed(KeySeed { body, next })? {
        let position = match key {
            Key::Known(position) => position,
            Key::Unknown(name) if body.preserve_unknown => {
                object.insert(name, access.next_value()?);
                continue;
            }
            Key::Unknown(name) => {
                access.next_value::<IgnoredAny>()?;
                reader.problem("unknown", &name);
                continue;
            }
        };
        let field = &body.fields[position];
        next = position + 1;
        let bit = 1_u128
            .checked_shl(u32::try_from(position).unwrap_or(u32::MAX))
            .unwrap_or(0);
        if seen & bit != 0 {
            reader.problem("duplicate", &field.name);
        }
        seen |= bit;
        reader.path.push(Part::Field {
            name: &field.name,
            owner: &body.name,
        });
        let value = access.next_value_seed(Seed {
            reader: &mut *reader,
            ty: field.ty,
            field: Some(field),
        })?;
        reader.path.pop();
        match value {
            Some(value) if reader.sparse || form::is_kept(reader.schema, field, &value) => {
                object.insert(field.name.clone().into_owned(), value);
            }
            // A duplicate that is empty or null takes the first one away, as in Go.
            _ => {
                object.remove(&*field.name);
            }
        }
    }
    if !reader.sparse {
        form::fill(reader.schema, body, &mut object);
    }
    Ok(Value::Object(object))
}

fn read_map<'de, A: MapAccess<'de>>(
    reader: &mut Reader<'_>,
    value_type: TypeId,
    mut access: A,
) -> Result<Value, A::Error> {
    let mut object = Map::new();
    while let Some(key) = access.next_key::<String>()? {
        if object.contains_key(&key) {
            reader.problem("duplicate", &key);
        }
        let start = reader.keys.len();
        reader.keys.push_str(&key);
        reader.path.push(Part::Key(start));
        let value = access.next_value_seed(Seed {
            reader: &mut *reader,
            ty: value_type,
            field: None,
        })?;
        reader.path.pop();
        reader.keys.truncate(start);
        let value = value
            .or_else(|| form::zero(reader.schema, value_type))
            .unwrap_or_default();
        object.insert(key, value);
    }
    Ok(Value::Object(object))
}

/// A field's name: known ones aren't copied.
struct KeySeed<'a> {
    body: &'a Struct,
    /// The position after that of the field before: objects are often written in the order of the table.
    next: usize,
}

enum Key {
    Known(usize),
    Unknown(String),
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed<'_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Key, E> {
        let is_next = self.body.fields.get(self.next).is_some_and(|field| field.name == name);
        let position = if is_next {
            Some(self.next)
        } else {
            self.body.position(name)
        };
        Ok(position.map_or_else(|| Key::Unknown(name.to_owned()), Key::Known))
    }
}
