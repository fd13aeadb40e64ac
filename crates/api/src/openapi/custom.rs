//! The schemas of custom kinds: as their definitions have them, with what every object has added.

use serde_json::{Value, json};

use super::schemas::Schemas;
use crate::custom::type_name;
use crate::resource::Resource;

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

const API_VERSION_IS: &str = "APIVersion defines the versioned schema of this representation of an object. Servers \
                              should convert recognized schemas to the latest internal value, and may reject \
                              unrecognized values. More info: \
                              https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#resources";
const KIND_IS: &str = "Kind is a string value representing the REST resource this object represents. Servers may infer \
                       this from the endpoint the client submits requests to. Cannot be updated. In CamelCase. More \
                       info: https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";
const METADATA_IS: &str = "Standard object's metadata. More info: \
                           https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";
const LIST_METADATA_IS: &str = "Standard list metadata. More info: \
                                https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#types-kinds";

/// The name of a custom kind's schema.
pub(super) fn name(resource: &Resource) -> String {
    type_name(&resource.group, &resource.version, &resource.kind)
}

/// The name of the schema of its lists.
pub(super) fn list_name(resource: &Resource) -> String {
    type_name(&resource.group, &resource.version, &resource.list_kind)
}

/// The schema of a custom kind, or of its lists, by name.
pub(super) fn schema(resource: &Resource, wanted: &str, schemas: &mut Schemas) -> Value {
    if wanted == list_name(resource) {
        return list(resource, schemas);
    }
    let published = resource.custom.as_ref().map(|custom| custom.published());
    let mut schema = published.filter(Value::is_object).unwrap_or_else(|| json!({}));
    schema["type"] = "object".into();
    if !schema.get("properties").is_some_and(Value::is_object) {
        schema["properties"] = json!({});
    }
    schema["properties"]["apiVersion"] = json!({"type": "string", "description": API_VERSION_IS});
    schema["properties"]["kind"] = json!({"type": "string", "description": KIND_IS});
    let metadata = schemas.reference(OBJECT_META);
    schema["properties"]["metadata"] = json!({"description": METADATA_IS, "allOf": [metadata]});
    add_embedded(&mut schema, schemas);
    schema["x-kubernetes-group-version-kind"] = kind_of(resource, &resource.kind);
    schema
}

fn list(resource: &Resource, schemas: &mut Schemas) -> Value {
    let plural = &resource.plural;
    let item = schemas.reference(&name(resource));
    let metadata = schemas.reference(LIST_META);
    json!({
        "description": format!("{} is a list of {}", resource.list_kind, resource.kind),
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": API_VERSION_IS},
            "kind": {"type": "string", "description": KIND_IS},
            "metadata": {"description": LIST_METADATA_IS, "allOf": [metadata]},
            "items": {"type": "array", "items": item, "description":
                format!("List of {plural}. More info: \
                https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md")},
        },
        "x-kubernetes-group-version-kind": kind_of(resource, &resource.list_kind),
    })
}

fn kind_of(resource: &Resource, kind: &str) -> Value {
    json!([{"group": resource.group, "version": resource.version, "kind": kind}])
}

/// Objects inside of the object have kind, version and metadata, too.
fn add_embedded(schema: &mut Value, schemas: &mut Schemas) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties
            .values_mut()
            .for_each(|property| add_whole(property, schemas));
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get_mut(key).filter(|inner| inner.is_object()) {
            add_whole(inner, schemas);
        }
    }
}

fn add_whole(schema: &mut Value, schemas: &mut Schemas) {
    add_embedded(schema, schemas);
    if schema.get("x-kubernetes-embedded-resource") != Some(&Value::Bool(true)) {
        return;
    }
    if !schema.get("properties").is_some_and(Value::is_object) {
        schema["properties"] = json!({});
    }
    let properties = &mut schema["properties"];
    if properties.get("apiVersion").is_none() {
        properties["apiVersion"] = json!({"type": "string", "description": API_VERSION_IS});
    }
    if properties.get("kind").is_none() {
        properties["kind"] = json!({"type": "string", "description": KIND_IS});
    }
    let metadata = schemas.reference(OBJECT_META);
    properties["metadata"] = json!({"description": METADATA_IS, "allOf": [metadata]});
    let required = schema
        .get("required")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut required: Vec<Value> = required;
    for name in ["apiVersion", "kind"] {
        if !required.iter().any(|have| have == name) {
            required.push(name.into());
        }
    }
    schema["required"] = required.into();
}
