//! Messages into trees, along the table.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meta::time;
use serde_json::{Map, Number, Value};

use super::super::form;
use super::MAGIC;
use super::wire::{self, Raw};
use crate::schema::{Field, Schema, Struct, Type, TypeId, Wire};

/// Deeper messages are refused: no type of Kubernetes nests so deep but schemas within schemas.
const MAX_DEPTH: usize = 100;

/// The apiVersion, kind and message of a whole body.
pub(super) fn envelope(bytes: &[u8]) -> Result<(String, String, &[u8]), String> {
    let mut rest = bytes.strip_prefix(MAGIC).ok_or_else(|| {
        "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]".to_owned()
    })?;
    let (mut api_version, mut kind, mut message) = (String::new(), String::new(), &[][..]);
    while let Some((tag, raw)) = wire::next(&mut rest)? {
        match (tag, raw) {
            (1, Raw::Bytes(mut meta)) => {
                while let Some((tag, raw)) = wire::next(&mut meta)? {
                    match tag {
                        1 => api_version = text(raw)?,
                        2 => kind = text(raw)?,
                        _ => {}
                    }
                }
            }
            (2, Raw::Bytes(raw)) => message = raw,
            _ => {}
        }
    }
    Ok((api_version, kind, message))
}

/// The tree of a message.
pub(super) fn message(schema: &Schema, ty: TypeId, bytes: &[u8]) -> Result<Value, String> {
    message_at(schema, ty, bytes, 0)
}

fn message_at(schema: &Schema, ty: TypeId, bytes: &[u8], depth: usize) -> Result<Value, String> {
    let body = schema.get_struct(ty).ok_or("the type has no message")?;
    let decoder = Decoder { schema };
    let mut object = Map::new();
    decoder.fields(body, bytes, &mut object, depth)?;
    decoder.finish(body, &mut object);
    Ok(Value::Object(object))
}

struct Decoder<'a> {
    schema: &'a Schema,
}

impl Decoder<'_> {
    /// Reads a message's fields into the object; a field that comes again is merged.
    fn fields(
        &self,
        body: &Struct,
        mut bytes: &[u8],
        object: &mut Map<String, Value>,
        depth: usize,
    ) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("proto: nested too deep".to_owned());
        }
        while let Some((tag, raw)) = wire::next(&mut bytes)? {
            if let Some(field) = body.field_by_tag(tag) {
                self.field(field, raw, object, depth)?;
            } else if let Some((_, inner)) = body.inlines.iter().find(|(inline, _)| *inline == tag) {
                // Its fields stand among this one's.
                if let (Some(inner), Raw::Bytes(bytes)) = (self.schema.get_struct(*inner), raw) {
                    self.fields(inner, bytes, object, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    fn field(&self, field: &Field, raw: Raw<'_>, object: &mut Map<String, Value>, depth: usize) -> Result<(), String> {
        let name = &*field.name;
        match self.schema.get(field.ty) {
            Type::List(list) if field.wire == Wire::Wrapped => {
                object.insert(name.to_owned(), self.wrapped(list.element, raw, depth)?);
            }
            Type::List(list) => {
                let items = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(items) = items {
                    self.items(list.element, raw, items, depth)?;
                }
            }
            Type::Map(map) => {
                let (key, value) = self.entry(field, map.value, raw, depth)?;
                let entries = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(entries) = entries {
                    entries.insert(key, value);
                }
            }
            Type::Struct(body) => {
                let inner = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(inner) = inner {
                    self.fields(body, expect_bytes(raw)?, inner, depth + 1)?;
                }
            }
            _ if field.wire != Wire::Plain => {
                object.insert(name.to_owned(), self.union(field.wire, raw, depth)?);
            }
            _ => {
                let value = self.value(field.ty, raw, depth)?;
                object.insert(name.to_owned(), value);
            }
        }
        Ok(())
    }

    /// One element, or several numbers at once.
    fn items(&self, element: TypeId, raw: Raw<'_>, items: &mut Vec<Value>, depth: usize) -> Result<(), String> {
        let is_number = matches!(self.schema.get(element), Type::Int32 | Type::Int64 | Type::Bool);
        if let (true, Raw::Bytes(mut packed)) = (is_number, raw) {
            while !packed.is_empty() {
                let number = Raw::Number(wire::read_varint(&mut packed)?);
                items.push(self.value(element, number, depth)?);
            }
            return Ok(());
        }
        items.push(self.value(element, raw, depth)?);
        Ok(())
    }

    fn wrapped(&self, element: TypeId, raw: Raw<'_>, depth: usize) -> Result<Value, String> {
        let (mut bytes, mut items) = (expect_bytes(raw)?, Vec::new());
        while let Some((tag, raw)) = wire::next(&mut bytes)? {
            if tag == 1 {
                items.push(self.value(element, raw, depth)?);
            }
        }
        Ok(Value::Array(items))
    }

    fn entry(&self, field: &Field, ty: TypeId, raw: Raw<'_>, depth: usize) -> Result<(String, Value), String> {
        let (mut bytes, mut key, mut value) = (expect_bytes(raw)?, String::new(), None);
        while let Some((tag, raw)) = wire::next(&mut bytes)? {
            match tag {
                1 => key = text(raw)?,
                2 => {
                    value = Some(match self.schema.get(ty) {
                        Type::List(list) => self.wrapped(list.element, raw, depth)?,
                        _ if field.wire != Wire::Plain => self.union(field.wire, raw, depth)?,
                        _ => self.value(ty, raw, depth)?,
                    });
                }
                _ => {}
            }
        }
        Ok((key, value.or_else(|| form::zero(self.schema, ty)).unwrap_or_default()))
    }

    fn value(&self, ty: TypeId, raw: Raw<'_>, depth: usize) -> Result<Value, String> {
        Ok(match self.schema.get(ty) {
            Type::String => Value::String(text(raw)?),
            Type::Bytes => Value::String(STANDARD.encode(expect_bytes(raw)?)),
            Type::Bool => Value::Bool(expect_number(raw)? != 0),
            #[allow(clippy::cast_possible_truncation)]
            Type::Int32 => Value::from(expect_number(raw)? as i32),
            Type::Int64 => Value::from(expect_number(raw)?.cast_signed()),
            Type::Double => match raw {
                Raw::Fixed64(bits) => Number::from_f64(f64::from_bits(bits)).map_or(Value::Null, Value::Number),
                _ => return Err(wrong_type()),
            },
            Type::Quantity => self.quantity(raw)?,
            Type::IntOrString => int_or_string(raw)?,
            Type::Time => moment(raw)?.map_or(Value::Null, |time| time::format_seconds(time).into()),
            Type::MicroTime => moment(raw)?.map_or(Value::Null, |time| time::format_micros(time).into()),
            Type::Duration => duration(raw)?.into(),
            Type::Any | Type::Deduced => raw_json(expect_bytes(raw)?, depth)?,
            Type::Struct(body) => {
                let mut object = Map::new();
                self.fields(body, expect_bytes(raw)?, &mut object, depth + 1)?;
                self.finish(body, &mut object);
                Value::Object(object)
            }
            Type::List(list) => self.wrapped(list.element, raw, depth)?,
            Type::Map(_) => return Err(wrong_type()),
        })
    }

    fn quantity(&self, raw: Raw<'_>) -> Result<Value, String> {
        let mut bytes = expect_bytes(raw)?;
        let mut written = String::new();
        while let Some((tag, raw)) = wire::next(&mut bytes)? {
            if tag == 1 {
                written = text(raw)?;
            }
        }
        if written.is_empty() {
            return Ok(Value::from("0"));
        }
        Ok(super::super::scalars::quantity(&written)?.unwrap_or(written).into())
    }

    /// JSON that has a message of its own: a schema or a boolean, schemas or one, a schema or names.
    fn union(&self, wire: Wire, raw: Raw<'_>, depth: usize) -> Result<Value, String> {
        let mut bytes = expect_bytes(raw)?;
        let schemas = self
            .schema
            .named("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps");
        let schemas = schemas.ok_or_else(wrong_type)?;
        let (mut allows, mut schema, mut list) = (false, None, Vec::new());
        while let Some((tag, raw)) = wire::next(&mut bytes)? {
            match (wire, tag) {
                (Wire::SchemaOrBool, 1) => allows = expect_number(raw)? != 0,
                (Wire::SchemaOrBool, 2) | (Wire::SchemaOrArray | Wire::SchemaOrStrings, 1) => {
                    schema = Some(self.value(schemas, raw, depth + 1)?);
                }
                (Wire::SchemaOrArray, 2) => list.push(self.value(schemas, raw, depth + 1)?),
                (Wire::SchemaOrStrings, 2) => list.push(Value::String(text(raw)?)),
                _ => {}
            }
        }
        Ok(match (wire, schema) {
            (_, Some(schema)) => schema,
            (Wire::SchemaOrBool, None) => Value::Bool(allows),
            (_, None) => Value::Array(list),
        })
    }

    /// Leaves out what Go leaves out of JSON, and fills in what it writes.
    fn finish(&self, body: &Struct, object: &mut Map<String, Value>) {
        for field in &body.fields {
            let Some(value) = object.get_mut(&*field.name) else {
                continue;
            };
            if let (Type::Struct(inner), Value::Object(entries)) = (self.schema.get(field.ty), &mut *value) {
                self.finish(inner, entries);
            }
            if value.is_null() || !form::is_kept(self.schema, field, value) {
                object.remove(&*field.name);
            }
        }
        form::fill(self.schema, body, object);
    }
}

fn wrong_type() -> String {
    "proto: wrong wireType".to_owned()
}

fn expect_bytes(raw: Raw<'_>) -> Result<&[u8], String> {
    match raw {
        Raw::Bytes(bytes) => Ok(bytes),
        _ => Err(wrong_type()),
    }
}

fn expect_number(raw: Raw<'_>) -> Result<u64, String> {
    match raw {
        Raw::Number(number) => Ok(number),
        _ => Err(wrong_type()),
    }
}

fn text(raw: Raw<'_>) -> Result<String, String> {
    String::from_utf8(expect_bytes(raw)?.to_vec()).map_err(|_| "proto: invalid UTF-8".to_owned())
}

fn int_or_string(raw: Raw<'_>) -> Result<Value, String> {
    let (mut bytes, mut kind, mut number, mut string) = (expect_bytes(raw)?, 0, 0, String::new());
    while let Some((tag, raw)) = wire::next(&mut bytes)? {
        match tag {
            1 => kind = expect_number(raw)?,
            #[allow(clippy::cast_possible_truncation)]
            2 => number = expect_number(raw)? as i32,
            3 => string = text(raw)?,
            _ => {}
        }
    }
    Ok(if kind == 0 {
        Value::from(number)
    } else {
        Value::String(string)
    })
}

/// A time; none for Go's zero time, which is an empty message.
fn moment(raw: Raw<'_>) -> Result<Option<jiff::Timestamp>, String> {
    let mut bytes = expect_bytes(raw)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let (mut seconds, mut nanos) = (0, 0);
    while let Some((tag, raw)) = wire::next(&mut bytes)? {
        match tag {
            1 => seconds = expect_number(raw)?.cast_signed(),
            #[allow(clippy::cast_possible_truncation)]
            2 => nanos = expect_number(raw)? as i32,
            _ => {}
        }
    }
    time::from_unix(seconds, nanos)
        .map(Some)
        .ok_or_else(|| "proto: time out of range".to_owned())
}

/// A `Duration`: nanoseconds. Negative ones are read as none; no kind has them.
fn duration(raw: Raw<'_>) -> Result<String, String> {
    let (mut bytes, mut nanos) = (expect_bytes(raw)?, 0);
    while let Some((tag, raw)) = wire::next(&mut bytes)? {
        if tag == 1 {
            nanos = u64::try_from(expect_number(raw)?.cast_signed()).unwrap_or(0);
        }
    }
    Ok(meta::duration::format(std::time::Duration::from_nanos(nanos)))
}

/// The JSON in a `RawExtension` and its like; a protobuf body in there is read as its kind.
fn raw_json(mut bytes: &[u8], depth: usize) -> Result<Value, String> {
    let mut json = &[][..];
    while let Some((tag, raw)) = wire::next(&mut bytes)? {
        if tag == 1 {
            json = expect_bytes(raw)?;
        }
    }
    if json.is_empty() {
        return Ok(Value::Null);
    }
    if !json.starts_with(MAGIC) {
        return serde_json::from_slice(json).map_err(|error| error.to_string());
    }
    let (api_version, kind, bytes) = envelope(json)?;
    let gvk = meta::GroupVersion::parse(&api_version)?.with_kind(kind.as_str());
    let ty = crate::resource::builtin_type(&gvk).ok_or_else(|| format!("no kind {kind:?} is registered"))?;
    let mut value = message_at(Schema::builtin(), ty, bytes, depth + 1)?;
    if let Value::Object(object) = &mut value {
        object.insert("apiVersion".to_owned(), api_version.into());
        object.insert("kind".to_owned(), kind.into());
    }
    Ok(value)
}
