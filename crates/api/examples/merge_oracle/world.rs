//! Random objects along the schema, small enough that two of them have things in common. Everything follows from a seed.

use api::schema::{Field, List, ListType, Schema, Struct, Type, TypeId};
use serde_json::{Map, Value, json};

/// A source of objects.
pub(crate) struct World<'a> {
    schema: &'a Schema,
    state: u64,
    /// In a hundred, how often something strange is made: null, an empty value, the same item twice.
    pub(crate) strange: u64,
}

/// How deep objects go.
const MAX_DEPTH: usize = 9;

impl<'a> World<'a> {
    /// The world of a seed.
    pub(crate) fn new(schema: &'a Schema, seed: u64) -> Self {
        let state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        World {
            schema,
            state,
            strange: 0,
        }
    }

    /// A number below a bound.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 11) % bound.max(1)
    }

    /// Yes, so often in a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of these.
    pub(crate) fn pick<'t, T>(&mut self, from: &'t [T]) -> &'t T {
        &from[self.below(from.len() as u64) as usize]
    }

    /// An object of a kind.
    pub(crate) fn object(&mut self, ty: TypeId, api_version: &str, kind: &str) -> Value {
        let mut object = self.value(ty, 0);
        self.name(&mut object, api_version, kind);
        object
    }

    /// The object with some of it changed.
    pub(crate) fn changed(&mut self, ty: TypeId, object: &Value, api_version: &str, kind: &str) -> Value {
        let mut object = self.change(ty, object, 0);
        self.name(&mut object, api_version, kind);
        object
    }

    fn name(&mut self, object: &mut Value, api_version: &str, kind: &str) {
        if !object["metadata"].is_object() {
            object["metadata"] = json!({});
        }
        object["apiVersion"] = api_version.into();
        object["kind"] = kind.into();
        object["metadata"]["name"] = "x".into();
    }

    fn value(&mut self, ty: TypeId, depth: usize) -> Value {
        let schema = self.schema;
        match schema.get(ty) {
            Type::String => Value::from(*self.pick(&["a", "b", "c"])),
            Type::Bytes => Value::from(*self.pick(&["YQ==", "Yg=="])),
            Type::Bool => Value::from(self.chance(50)),
            Type::Int32 | Type::Int64 => Value::from(self.below(3)),
            Type::Double => Value::from(*self.pick(&[0.5, 1.5])),
            Type::Quantity => Value::from(*self.pick(&["1", "100m", "2Gi"])),
            Type::IntOrString => self.pick(&[json!(1), json!("50%")]).clone(),
            Type::Time => Value::from("2020-01-01T00:00:00Z"),
            Type::MicroTime => Value::from("2020-01-01T00:00:00.000000Z"),
            Type::Duration => Value::from("1m0s"),
            Type::Any | Type::Deduced => self.pick(&[json!({"a": "b"}), json!({"a": {"b": 1}})]).clone(),
            Type::Struct(body) => self.body(body, depth),
            Type::Map(map) => {
                let mut out = Map::new();
                for _ in 0..self.below(4) {
                    let key = (*self.pick(&["k", "l", "m"])).to_owned();
                    out.insert(key, self.value(map.value, depth + 1));
                }
                Value::Object(out)
            }
            Type::List(list) => {
                let length = self.below(4);
                let items = (0..length).map(|_| self.item(list, depth)).collect();
                self.distinct(list, items)
            }
        }
    }

    fn body(&mut self, body: &'a Struct, depth: usize) -> Value {
        let mut out = Map::new();
        let wanted = if depth < 4 { 60 } else { 30 };
        for field in &body.fields {
            let share = (wanted * 6 / body.fields.len() as u64).clamp(6, 90);
            if usable(field) && depth < MAX_DEPTH && self.chance(if field.required { 70 } else { share }) {
                out.insert(field.name.to_string(), self.field(field, depth));
            }
        }
        Value::Object(out)
    }

    fn field(&mut self, field: &Field, depth: usize) -> Value {
        if self.chance(self.strange) {
            return match self.schema.get(field.ty) {
                Type::List(_) => self.pick(&[Value::Null, json!([])]).clone(),
                Type::Struct(_) | Type::Map(_) => self.pick(&[Value::Null, json!({})]).clone(),
                _ => Value::Null,
            };
        }
        if !field.enum_values.is_empty() && matches!(self.schema.get(field.ty), Type::String) {
            return Value::from(&**self.pick(&field.enum_values));
        }
        self.value(field.ty, depth + 1)
    }

    /// An item with its keys; one that has a default may lack.
    fn item(&mut self, list: &List, depth: usize) -> Value {
        let mut item = self.value(list.element, depth + 1);
        if let Some(body) = self.schema.get_struct(list.element) {
            let fields: Vec<&'a Field> = list.keys.iter().filter_map(|key| body.field(key)).collect();
            for field in fields {
                if field.default.is_some() && self.chance(50) {
                    continue;
                }
                item[&*field.name] = match self.schema.get(field.ty) {
                    _ if !field.enum_values.is_empty() => Value::from(&**self.pick(&field.enum_values)),
                    _ => self.value(field.ty, depth + 1),
                };
            }
            // Strategic merge wants its own key, where that is another one.
            for name in [
                "name",
                "uid",
                "type",
                "ip",
                "port",
                "key",
                "topologyKey",
                "mountPath",
                "devicePath",
            ] {
                let field = body.field(name);
                if let Some(field) = field.filter(|_| item.get(name).is_none()) {
                    item[name] = self.value(field.ty, depth + 1);
                }
            }
        }
        item
    }

    /// The list without items that have the same name, mostly.
    fn distinct(&mut self, list: &List, items: Vec<Value>) -> Value {
        let mut out: Vec<Value> = Vec::new();
        let tolerant = self.chance(self.strange);
        for item in items {
            let same = |other: &Value| match list.list_type {
                ListType::Atomic => false,
                ListType::Set => *other == item,
                ListType::Map => list
                    .keys
                    .iter()
                    .all(|key| self.key(list, other, key) == self.key(list, &item, key)),
            };
            if tolerant || !out.iter().any(same) {
                out.push(item);
            }
        }
        Value::Array(out)
    }

    fn key(&self, list: &List, item: &Value, key: &str) -> Option<Value> {
        let default = || self.schema.get_struct(list.element)?.field(key)?.default.clone();
        item.get(key).cloned().or_else(default)
    }

    fn change(&mut self, ty: TypeId, value: &Value, depth: usize) -> Value {
        let schema = self.schema;
        match (schema.get(ty), value) {
            (Type::Struct(body), Value::Object(map)) => {
                let mut out = Map::new();
                for (name, value) in map {
                    let Some(field) = body.field(name).filter(|field| usable(field)) else {
                        continue;
                    };
                    match self.below(10) {
                        0 => {}
                        1 => _ = out.insert(name.clone(), self.field(field, depth)),
                        2..=6 => _ = out.insert(name.clone(), self.change(field.ty, value, depth + 1)),
                        _ => _ = out.insert(name.clone(), value.clone()),
                    }
                }
                if self.chance(30) && depth < MAX_DEPTH && !body.fields.is_empty() {
                    let field = &body.fields[self.below(body.fields.len() as u64) as usize];
                    if usable(field) {
                        out.insert(field.name.to_string(), self.field(field, depth));
                    }
                }
                Value::Object(out)
            }
            (Type::List(list), Value::Array(items)) => {
                let mut out: Vec<Value> = Vec::new();
                for item in items {
                    match self.below(10) {
                        0 => {}
                        1..=4 => {
                            let mut changed = self.change(list.element, item, depth + 1);
                            keep_names(&mut changed, item);
                            out.push(changed);
                        }
                        _ => out.push(item.clone()),
                    }
                }
                if self.chance(30) {
                    let item = self.item(list, depth);
                    let place = self.below(out.len() as u64 + 1) as usize;
                    out.insert(place, item);
                }
                if self.chance(15) {
                    out.reverse();
                }
                self.distinct(list, out)
            }
            (Type::Map(map), Value::Object(entries)) => {
                let mut out = entries.clone();
                let key = (*self.pick(&["k", "l", "m"])).to_owned();
                match self.chance(40) {
                    true => _ = out.remove(&key),
                    false => _ = out.insert(key, self.value(map.value, depth + 1)),
                }
                Value::Object(out)
            }
            _ if self.chance(40) => self.value(ty, depth),
            _ => value.clone(),
        }
    }
}

/// A changed item is still the same one.
fn keep_names(changed: &mut Value, item: &Value) {
    for (name, value) in item.as_object().into_iter().flatten() {
        if value.is_string() || value.is_number() {
            changed[name] = value.clone();
        }
    }
}

/// What the server sets itself is left out, and so are kinds inside of kinds.
fn usable(field: &Field) -> bool {
    !matches!(
        &*field.name,
        "managedFields" | "uid" | "apiVersion" | "kind" | "selfLink"
    )
}
