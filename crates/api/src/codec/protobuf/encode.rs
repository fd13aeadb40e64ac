//! JSON, as text or tree, into messages, along the table, in one pass: fields are written as they come, in whatever
//! order; a length is put before its message when the message is done.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meta::{duration, time};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::wire;
use crate::schema::{Schema, Struct, Type, TypeId, Wire};

/// Writes an object's message.
pub(super) fn object<'de, D: Deserializer<'de>>(
    schema: &Schema,
    ty: TypeId,
    source: D,
    out: &mut Vec<u8>,
) -> Result<(), D::Error> {
    let body = schema
        .get_struct(ty)
        .ok_or_else(|| D::Error::custom("the type has no message"))?;
    source.deserialize_map(Fields { schema, body, out })
}

/// Writes the fields of an object.
struct Fields<'a> {
    schema: &'a Schema,
    body: &'a Struct,
    out: &'a mut Vec<u8>,
}

impl<'de> Visitor<'de> for Fields<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let Fields { schema, body, out } = self;
        while let Some(position) = access.next_key_seed(Name(body))? {
            match position {
                Some(position) => access.next_value_seed(FieldOf {
                    schema,
                    body,
                    position,
                    out: &mut *out,
                })?,
                None => drop(access.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// A field's name, read as its position.
struct Name<'a>(&'a Struct);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.0.position(name))
    }
}

/// Writes one field of an object.
struct FieldOf<'a> {
    schema: &'a Schema,
    body: &'a Struct,
    position: usize,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for FieldOf<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let FieldOf {
            schema,
            body,
            position,
            out,
        } = self;
        let field = &body.fields[position];
        if field.tag != 0 {
            return Item {
                schema,
                ty: field.ty,
                tag: field.tag,
                wire: field.wire,
                in_list: false,
                out,
            }
            .deserialize(deserializer);
        }
        // The field of an inlined struct: its message is written for this field alone, and readers merge such messages.
        for (tag, inner) in &body.inlines {
            let inner = schema.get_struct(*inner);
            if let Some((inner, position)) = inner.and_then(|inner| Some((inner, inner.position(&field.name)?))) {
                let start = wire::open(out, *tag);
                FieldOf {
                    schema,
                    body: inner,
                    position,
                    out: &mut *out,
                }
                .deserialize(deserializer)?;
                wire::close(out, start);
                return Ok(());
            }
        }
        IgnoredAny::deserialize_any_of(deserializer)
    }
}

/// A value that is passed over.
trait Ignore {
    fn deserialize_any_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error>;
}

impl Ignore for IgnoredAny {
    fn deserialize_any_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_ignored_any(IgnoredAny).map(drop)
    }
}

/// Writes a value under a tag; null writes nothing.
struct Item<'a> {
    schema: &'a Schema,
    ty: TypeId,
    tag: u32,
    wire: Wire,
    /// Whether it is an element of a list, where null is a value, too.
    in_list: bool,
    out: &'a mut Vec<u8>,
}

impl<'de> DeserializeSeed<'de> for Item<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let is_union = matches!(
            self.wire,
            Wire::SchemaOrBool | Wire::SchemaOrArray | Wire::SchemaOrStrings
        );
        match self.schema.get(self.ty) {
            Type::Any if is_union => {
                let value: Value = serde::Deserialize::deserialize(deserializer)?;
                self.union(&value).map_err(D::Error::custom)
            }
            Type::Any | Type::Deduced => {
                let value: Value = serde::Deserialize::deserialize(deserializer)?;
                if value.is_null() && !self.in_list {
                    return Ok(());
                }
                let start = wire::open(self.out, self.tag);
                wire::text(self.out, 1, &value.to_string());
                wire::close(self.out, start);
                Ok(())
            }
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl Item<'_> {
    fn ty(&self) -> &Type {
        self.schema.get(self.ty)
    }

    fn unexpected<E: serde::de::Error>(&self, found: &str) -> E {
        E::custom(format!(
            "{found} where {:?} is expected",
            std::mem::discriminant(self.ty())
        ))
    }

    fn int<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        match self.ty() {
            Type::Int32 | Type::Int64 => wire::number(self.out, self.tag, value.cast_unsigned()),
            #[allow(clippy::cast_precision_loss)]
            Type::Double => wire::double(self.out, self.tag, value as f64),
            Type::Quantity => return self.text(&value.to_string()),
            Type::IntOrString => {
                let start = wire::open(self.out, self.tag);
                wire::number(self.out, 1, 0);
                wire::number(self.out, 2, value.cast_unsigned());
                wire::text(self.out, 3, "");
                wire::close(self.out, start);
            }
            _ => return Err(self.unexpected("a number")),
        }
        Ok(())
    }

    fn text<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        match self.ty() {
            Type::String => wire::text(self.out, self.tag, value),
            Type::Bytes => {
                let decoded = STANDARD.decode(value).map_err(E::custom)?;
                wire::bytes(self.out, self.tag, &decoded);
            }
            Type::Quantity => {
                let start = wire::open(self.out, self.tag);
                wire::text(self.out, 1, value);
                wire::close(self.out, start);
            }
            Type::IntOrString => {
                let start = wire::open(self.out, self.tag);
                wire::number(self.out, 1, 1);
                wire::number(self.out, 2, 0);
                wire::text(self.out, 3, value);
                wire::close(self.out, start);
            }
            kind @ (Type::Time | Type::MicroTime) => {
                let is_micro = matches!(kind, Type::MicroTime);
                let moment = time::parse(value).ok_or_else(|| E::custom("not a time"))?;
                let nanos = if is_micro { moment.subsec_nanosecond() } else { 0 };
                let start = wire::open(self.out, self.tag);
                wire::number(self.out, 1, moment.as_second().cast_unsigned());
                wire::number(self.out, 2, i64::from(nanos).cast_unsigned());
                wire::close(self.out, start);
            }
            Type::Duration => {
                let read = duration::parse(value).ok_or_else(|| E::custom("not a duration"))?;
                let start = wire::open(self.out, self.tag);
                wire::number(self.out, 1, u64::try_from(read.as_nanos()).unwrap_or(u64::MAX));
                wire::close(self.out, start);
            }
            _ => return Err(self.unexpected("text")),
        }
        Ok(())
    }

    /// JSON that has a message of its own.
    fn union(self, value: &Value) -> Result<(), serde_json::Error> {
        let schemas = self
            .schema
            .named("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps");
        let Some(schemas) = schemas.filter(|_| !value.is_null()) else {
            return Ok(());
        };
        let start = wire::open(self.out, self.tag);
        match value {
            Value::Bool(allows) => wire::number(self.out, 1, u64::from(*allows)),
            Value::Array(items) => {
                for item in items {
                    let ty = if self.wire == Wire::SchemaOrStrings {
                        TypeId::STRING
                    } else {
                        schemas
                    };
                    Item {
                        schema: self.schema,
                        ty,
                        tag: 2,
                        wire: Wire::Plain,
                        in_list: false,
                        out: &mut *self.out,
                    }
                    .deserialize(item)?;
                }
            }
            schema => {
                let tag = if self.wire == Wire::SchemaOrBool {
                    wire::number(self.out, 1, 1);
                    2
                } else {
                    1
                };
                Item {
                    schema: self.schema,
                    ty: schemas,
                    tag,
                    wire: Wire::Plain,
                    in_list: false,
                    out: &mut *self.out,
                }
                .deserialize(schema)?;
            }
        }
        wire::close(self.out, start);
        Ok(())
    }
}

impl<'de> Visitor<'de> for Item<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        match self.ty() {
            Type::Bool => {
                wire::number(self.out, self.tag, u64::from(value));
                Ok(())
            }
            _ => Err(self.unexpected("a boolean")),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.int(value)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.int(i64::try_from(value).map_err(E::custom)?)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        match self.ty() {
            Type::Double => {
                wire::double(self.out, self.tag, value);
                Ok(())
            }
            _ => Err(self.unexpected("a fraction")),
        }
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.text(value)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        let Type::List(list) = self.ty() else {
            return Err(self.unexpected("a list"));
        };
        let (schema, element, out) = (self.schema, list.element, self.out);
        let wrapped = (self.wire == Wire::Wrapped).then(|| wire::open(out, self.tag));
        let tag = if wrapped.is_some() { 1 } else { self.tag };
        while access
            .next_element_seed(Item {
                schema,
                ty: element,
                tag,
                wire: Wire::Plain,
                in_list: true,
                out: &mut *out,
            })?
            .is_some()
        {}
        if let Some(start) = wrapped {
            wire::close(out, start);
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<(), A::Error> {
        match self.ty() {
            Type::Struct(_) => {
                let Item {
                    schema, ty, tag, out, ..
                } = self;
                let Some(body) = schema.get_struct(ty) else {
                    return Ok(());
                };
                let start = wire::open(out, tag);
                Fields {
                    schema,
                    body,
                    out: &mut *out,
                }
                .visit_map(access)?;
                wire::close(out, start);
                Ok(())
            }
            Type::Map(map) => {
                let (schema, value, wire_form, tag, out) = (self.schema, map.value, self.wire, self.tag, self.out);
                while let Some(key) = access.next_key::<String>()? {
                    let start = wire::open(out, tag);
                    wire::text(out, 1, &key);
                    access.next_value_seed(Item {
                        schema,
                        ty: value,
                        tag: 2,
                        wire: wire_form,
                        in_list: false,
                        out: &mut *out,
                    })?;
                    wire::close(out, start);
                }
                Ok(())
            }
            _ => Err(self.unexpected("an object")),
        }
    }
}
