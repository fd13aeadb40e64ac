//! `metadata.managedFields`: who set which fields, read from an object and written back in Kubernetes' order. Sets are
//! decoded only when somebody looks at them, for most writes touch few of them.

use std::cmp::Ordering;

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::merge::fields::{self, FieldSet};

/// How a manager wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// By server-side apply.
    Apply,
    /// In any other way.
    Update,
}

/// Who writes: one entry of managedFields belongs to each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    /// The name that the client gave.
    pub name: String,
    /// How it wrote.
    pub operation: Operation,
    /// The version that it wrote in. No part of an applier's identity.
    pub api_version: String,
    /// The subresource that it wrote, empty for the object itself.
    pub subresource: String,
}

/// One entry of managedFields.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) manager: Manager,
    pub(super) time: Option<Timestamp>,
    fields: Fields,
}

#[derive(Clone, Debug)]
enum Fields {
    /// As it was stored.
    Raw(Value),
    Set(FieldSet),
}

/// All entries of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Managed {
    pub(super) entries: Vec<Entry>,
}

// === impl Operation ===

impl Operation {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

// === impl Manager ===

impl Manager {
    /// Whether both have the same entry.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.name == other.name
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }
}

// === impl Entry ===

impl Entry {
    pub(super) fn new(manager: Manager, set: FieldSet) -> Self {
        Self {
            manager,
            time: None,
            fields: Fields::Set(set),
        }
    }

    /// The set, decoded now if it wasn't before.
    pub(super) fn set(&mut self) -> Result<&FieldSet, String> {
        if let Fields::Raw(raw) = &self.fields {
            self.fields = Fields::Set(fields::decode(raw).map_err(|source| source.to_string())?);
        }
        match &self.fields {
            Fields::Set(set) => Ok(set),
            Fields::Raw(_) => Err("not decoded".into()),
        }
    }

    pub(super) fn replace(&mut self, set: FieldSet) {
        self.fields = Fields::Set(set);
    }

    /// Whether the entry has something at or below a path of the set; may say yes without need.
    pub(super) fn touches(&self, set: &FieldSet) -> bool {
        match &self.fields {
            Fields::Raw(raw) => fields::touches(raw, set),
            Fields::Set(_) => true,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match &self.fields {
            Fields::Raw(raw) => raw.as_object().is_none_or(Map::is_empty),
            Fields::Set(set) => set.is_empty(),
        }
    }

    fn read(value: Value, index: usize) -> Result<Self, String> {
        let Value::Object(mut map) = value else {
            return Err("an entry is an object".into());
        };
        let mut text = |name: &str| match map.remove(name) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let operation = match text("operation").as_str() {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err("operation must be `Apply` or `Update`".into()),
        };
        let manager = Manager {
            name: text("manager"),
            operation,
            api_version: text("apiVersion"),
            subresource: text("subresource"),
        };
        if manager.api_version.is_empty() {
            return Err("apiVersion must not be empty".into());
        }
        match text("fieldsType").as_str() {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {index}")),
            other => return Err(format!("invalid fieldsType {other:?} in managed fields entry {index}")),
        }
        let time = text("time").parse().ok();
        let raw = map
            .remove("fieldsV1")
            .filter(|raw| !raw.is_null())
            .unwrap_or_else(|| Value::Object(Map::new()));
        Ok(Self {
            manager,
            time,
            fields: Fields::Raw(raw),
        })
    }

    fn write(self) -> Value {
        let mut map = Map::new();
        let mut text = |name: &str, text: String| {
            if !text.is_empty() {
                map.insert(name.into(), Value::String(text));
            }
        };
        text("manager", self.manager.name);
        text("operation", self.manager.operation.name().into());
        text("apiVersion", self.manager.api_version);
        text("subresource", self.manager.subresource);
        text("time", self.time.map(wire_time).unwrap_or_default());
        text("fieldsType", "FieldsV1".into());
        let raw = match self.fields {
            Fields::Raw(raw) => raw,
            Fields::Set(set) => fields::encode(&set),
        };
        map.insert("fieldsV1".into(), raw);
        Value::Object(map)
    }

    fn order(&self, other: &Self) -> Ordering {
        let key = |entry: &Self| (entry.manager.operation, entry.seconds());
        key(self)
            .cmp(&key(other))
            .then_with(|| self.manager.name.cmp(&other.manager.name))
            .then_with(|| self.manager.api_version.cmp(&other.manager.api_version))
            .then_with(|| self.manager.subresource.cmp(&other.manager.subresource))
    }

    /// The time to the second, as Kubernetes sorts.
    pub(super) fn seconds(&self) -> i64 {
        self.time.map_or(0, Timestamp::as_second)
    }
}

// === impl Managed ===

impl Managed {
    /// Reads the entries; of two for one manager the later counts.
    pub(super) fn read(entries: Value) -> Result<Self, String> {
        let Value::Array(entries) = entries else {
            return Ok(Self::default());
        };
        let mut managed = Self {
            entries: Vec::with_capacity(entries.len() + 1),
        };
        for (index, value) in entries.into_iter().enumerate() {
            let entry = Entry::read(value, index)?;
            match managed.find(&entry.manager) {
                Some(twin) => managed.entries[twin] = entry,
                None => managed.entries.push(entry),
            }
        }
        Ok(managed)
    }

    /// Decodes every set, which tells whether all of them can be.
    pub(super) fn decode_all(&mut self) -> Result<(), String> {
        self.entries.iter_mut().try_for_each(|entry| entry.set().map(drop))
    }

    /// The entries in Kubernetes' order; `None` when nobody manages anything.
    pub(super) fn write(mut self) -> Option<Value> {
        if self.entries.is_empty() {
            return None;
        }
        self.entries.sort_by(Entry::order);
        Some(Value::Array(self.entries.into_iter().map(Entry::write).collect()))
    }

    pub(super) fn find(&self, manager: &Manager) -> Option<usize> {
        self.entries.iter().position(|entry| entry.manager.is(manager))
    }

    pub(super) fn drop_empty(&mut self) {
        self.entries.retain(|entry| !entry.is_empty());
    }
}

/// A time as metav1.Time is written: UTC, to the second.
pub(super) fn wire_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Takes the managedFields out of an object.
pub(super) fn take(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove("managedFields")
}

/// Puts managedFields into an object. One without metadata can't have any.
pub(super) fn put(object: &mut Value, managed: Option<Value>) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    match managed {
        Some(managed) => _ = metadata.insert("managedFields".into(), managed),
        None => _ = metadata.remove("managedFields"),
    }
}

/// The managedFields of an object.
pub(super) fn of(object: &Value) -> Option<&Value> {
    object.get("metadata")?.get("managedFields")
}
