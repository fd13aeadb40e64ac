//! The schemas of a document: every type that its paths reach, by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::resource::{Catalog, Resource};
use crate::schema::{Field, ListType, MapType, Presence, Schema, Struct, Type, TypeId};

const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Time";
const MICRO_TIME: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime";
const DURATION: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.Duration";
const RAW: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// Collects the schemas that were referred to.
pub(super) struct Schemas {
    /// The kinds whose objects a struct is.
    kinds: BTreeMap<String, Vec<Value>>,
    /// Custom kinds and their lists.
    custom: BTreeMap<String, Arc<Resource>>,
    wanted: BTreeSet<String>,
    scalars: BTreeSet<&'static str>,
}

impl Schemas {
    pub(super) fn new(catalog: &Catalog) -> Self {
        let mut kinds: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        let schema = Schema::builtin();
        let mut add = |ty: TypeId, group: &str, version: &str, kind: &str| {
            if let Some(body) = schema.get_struct(ty) {
                let entry = json!({"group": group, "version": version, "kind": kind});
                let entries = kinds.entry(body.name.to_string()).or_default();
                if !entries.contains(&entry) {
                    entries.push(entry);
                }
            }
        };
        let mut custom = BTreeMap::new();
        for resource in catalog.resources() {
            if resource.custom.is_some() {
                custom.insert(super::custom::name(resource), Arc::clone(resource));
                custom.insert(super::custom::list_name(resource), Arc::clone(resource));
                continue;
            }
            add(resource.ty, &resource.group, &resource.version, &resource.kind);
            if let Some(list) = list_type(schema, resource.ty) {
                add(list, &resource.group, &resource.version, &resource.list_kind);
            }
            for subresource in &resource.subresources {
                let kind = &subresource.kind;
                add(subresource.ty, &kind.group, &kind.version, &kind.kind);
            }
        }
        for (group, versions) in catalog.groups() {
            for version in versions {
                for kind in ["DeleteOptions", "WatchEvent"] {
                    if let Some(ty) = schema.named(&format!("{META}{kind}")) {
                        add(ty, group, version, kind);
                    }
                }
            }
        }
        if let Some(ty) = schema.named(&format!("{META}Status")) {
            add(ty, "", "v1", "Status");
        }
        Schemas {
            kinds,
            custom,
            wanted: BTreeSet::new(),
            scalars: BTreeSet::new(),
        }
    }

    /// A reference to a type of the table; what has no type there is some object.
    pub(super) fn reference(&mut self, name: &str) -> Value {
        if name.is_empty() {
            return json!({"type": "object"});
        }
        self.wanted.insert(name.to_owned());
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    /// A reference to the type of a kind's lists, when it has lists.
    pub(super) fn list_reference(&mut self, ty: TypeId) -> Option<Value> {
        let list = Schema::builtin().get_struct(list_type(Schema::builtin(), ty)?)?;
        Some(self.reference(&list.name))
    }

    /// All schemas that were referred to, and those that they refer to.
    pub(super) fn finish(mut self) -> Map<String, Value> {
        let schema = Schema::builtin();
        let mut done = Map::new();
        while let Some(name) = self.wanted.pop_first() {
            if done.contains_key(&name) {
                continue;
            }
            if let Some(resource) = self.custom.get(&name).cloned() {
                let written = super::custom::schema(&resource, &name, &mut self);
                done.insert(name, written);
                continue;
            }
            let Some(body) = schema.named(&name).and_then(|ty| schema.get_struct(ty)) else {
                continue;
            };
            let written = self.body(body);
            done.insert(name, written);
        }
        for name in &self.scalars {
            done.insert((*name).to_owned(), scalar(name));
        }
        done
    }

    fn body(&mut self, body: &Struct) -> Value {
        let mut properties = Map::new();
        for field in &body.fields {
            properties.insert(field.name.to_string(), self.field(field));
        }
        let required: Vec<&str> = body.fields.iter().filter(|f| f.required).map(|f| &*f.name).collect();
        let mut written = json!({"type": "object"});
        if !properties.is_empty() {
            written["properties"] = properties.into();
        }
        if !required.is_empty() {
            written["required"] = json!(required);
        }
        if body.map_type == MapType::Atomic {
            written["x-kubernetes-map-type"] = "atomic".into();
        }
        if let Some(kinds) = self.kinds.get(&*body.name) {
            written["x-kubernetes-group-version-kind"] = kinds.clone().into();
        }
        written
    }

    fn field(&mut self, field: &Field) -> Value {
        let mut written = self.ty(field.ty, field.presence != Presence::Pointer);
        if let Some(default) = &field.default {
            written["default"] = default.clone();
        }
        if !field.enum_values.is_empty() {
            let target = if written.get("items").is_some() {
                &mut written["items"]
            } else {
                &mut written
            };
            target["enum"] = json!(field.enum_values);
        }
        let strategy = field.patch_strategy;
        let words = [
            (strategy.merge(), "merge"),
            (strategy.replace(), "replace"),
            (strategy.retain_keys(), "retainKeys"),
        ];
        let words: Vec<&str> = words
            .iter()
            .filter(|(is_set, _)| *is_set)
            .map(|(_, word)| *word)
            .collect();
        if !words.is_empty() {
            written["x-kubernetes-patch-strategy"] = words.join(",").into();
        }
        if let Some(key) = &field.patch_merge_key {
            written["x-kubernetes-patch-merge-key"] = key.to_string().into();
        }
        written
    }

    /// A type where it is used; a value of Go's (no pointer) has its zero value as default.
    fn ty(&mut self, ty: TypeId, is_value: bool) -> Value {
        match Schema::builtin().get(ty) {
            Type::String => json!({"type": "string"}),
            Type::Bytes => json!({"type": "string", "format": "byte"}),
            Type::Bool => json!({"type": "boolean"}),
            Type::Int32 => json!({"type": "integer", "format": "int32"}),
            Type::Int64 => json!({"type": "integer", "format": "int64"}),
            Type::Double => json!({"type": "number", "format": "double"}),
            Type::Quantity => self.scalar_reference(QUANTITY),
            Type::IntOrString => self.scalar_reference(INT_OR_STRING),
            Type::Time => self.scalar_reference(TIME),
            Type::MicroTime => self.scalar_reference(MICRO_TIME),
            Type::Duration => self.scalar_reference(DURATION),
            Type::Any | Type::Deduced => self.scalar_reference(RAW),
            Type::Struct(body) => {
                let reference = self.reference(&body.name);
                let mut written = json!({"allOf": [reference]});
                if is_value {
                    written["default"] = json!({});
                }
                written
            }
            Type::List(list) => {
                let mut written = json!({"type": "array", "items": self.ty(list.element, true)});
                let kind = match list.list_type {
                    ListType::Atomic => "atomic",
                    ListType::Set => "set",
                    ListType::Map => "map",
                };
                written["x-kubernetes-list-type"] = kind.into();
                if !list.keys.is_empty() {
                    written["x-kubernetes-list-map-keys"] = json!(list.keys);
                }
                written
            }
            Type::Map(map) => {
                let mut written = json!({"type": "object", "additionalProperties": self.ty(map.value, true)});
                if map.map_type == MapType::Atomic {
                    written["x-kubernetes-map-type"] = "atomic".into();
                }
                written
            }
        }
    }

    fn scalar_reference(&mut self, name: &'static str) -> Value {
        self.scalars.insert(name);
        json!({"allOf": [{"$ref": format!("#/components/schemas/{name}")}]})
    }
}

/// The type of the lists of a kind.
fn list_type(schema: &Schema, ty: TypeId) -> Option<TypeId> {
    schema.named(&format!("{}List", schema.get_struct(ty)?.name))
}

fn scalar(name: &str) -> Value {
    match name {
        QUANTITY => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        INT_OR_STRING => json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
        TIME | MICRO_TIME => json!({"type": "string", "format": "date-time"}),
        DURATION => json!({"type": "string"}),
        _ => json!({"type": "object"}),
    }
}
