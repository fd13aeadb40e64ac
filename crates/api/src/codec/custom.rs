//! Reads custom objects: any JSON, whose metadata is read along the table and whose rest loses what the definition's
//! schema doesn't know. Values of a wrong type stay, for validation to tell of. There is no protobuf for them.

use std::fmt;

use meta::Status;
use serde::de::{Deserialize as _, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::ContentType;
use super::read::{self, Failure, Read};
use crate::custom::Custom;
use crate::schema::Schema;

const METADATA: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";

/// Reads a body. The outer error is for a format that custom objects don't have.
pub(super) fn read(
    bytes: &[u8],
    content: ContentType,
    custom: &Custom,
    sparse: bool,
) -> Result<Result<Read, Failure>, Status> {
    let is_json = super::is_json(bytes);
    let read = match content {
        ContentType::Protobuf => return Err(Status::unsupported_media_type(&ContentType::ACCEPTED[..2])),
        ContentType::Json => json(bytes),
        ContentType::Yaml if is_json => json(bytes),
        ContentType::Yaml => super::yaml::parse(bytes).map(|value| (value, Vec::new())),
    };
    Ok(read.and_then(|(value, problems)| conform(value, problems, custom, sparse)))
}

/// Brings a tree into form. What is sparse keeps what it has, and unknown fields are only told of.
pub(super) fn conform(
    mut value: Value,
    mut problems: Vec<String>,
    custom: &Custom,
    sparse: bool,
) -> Result<Read, Failure> {
    if let Some(metadata) = value.get_mut("metadata").filter(|metadata| !metadata.is_null()) {
        let schema = Schema::builtin();
        let ty = schema
            .named(METADATA)
            .ok_or_else(|| Failure::Type("no type of metadata".to_owned()))?;
        let read = read::from_value(schema, ty, metadata.take(), sparse)?;
        *metadata = read.value;
        let named = read.problems.into_iter();
        problems.extend(named.map(|problem| problem.replacen(" field \"", " field \"metadata.", 1)));
    }
    let unknown = custom.prune(&mut value);
    problems.extend(unknown.into_iter().map(|path| format!("unknown field \"{path}\"")));
    Ok(Read { value, problems })
}

/// JSON into a tree, with the fields that stand in it twice.
fn json(bytes: &[u8]) -> Result<(Value, Vec<String>), Failure> {
    let mut twice = Twice::default();
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = Seed(&mut twice)
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value));
    match read {
        Ok(value) => Ok((value, twice.problems)),
        Err(error) => Err(Failure::Syntax(read::syntax_error(&error, bytes))),
    }
}

#[derive(Default)]
struct Twice {
    path: Vec<String>,
    problems: Vec<String>,
}

impl Twice {
    fn report(&mut self, key: &str) {
        let mut path = String::new();
        for part in self.path.iter().map(String::as_str).chain([key]) {
            if !path.is_empty() && !part.starts_with('[') {
                path.push('.');
            }
            path.push_str(part);
        }
        let problem = format!("duplicate field \"{path}\"");
        if !self.problems.contains(&problem) && self.problems.len() < read::MAX_PROBLEMS {
            self.problems.push(problem);
        }
    }
}

struct Seed<'a>(&'a mut Twice);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        // Go has no whole numbers beyond its signed ones.
        Ok(i64::try_from(value).map_or_else(|_| (value as f64).into(), Value::from))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        loop {
            self.0.path.push(format!("[{}]", items.len()));
            let item = access.next_element_seed(Seed(self.0))?;
            self.0.path.pop();
            match item {
                Some(item) => items.push(item),
                None => return Ok(items.into()),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = access.next_key_seed(Key)? {
            if map.contains_key(&key) {
                self.0.report(&key);
            }
            self.0.path.push(key);
            let value = access.next_value_seed(Seed(self.0))?;
            let key = self.0.path.pop().unwrap_or_default();
            map.insert(key, value);
        }
        Ok(map.into())
    }
}

struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        String::deserialize(deserializer)
    }
}
