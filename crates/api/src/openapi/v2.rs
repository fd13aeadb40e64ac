//! OpenAPI v2, for the clients that still read it: one document of everything. It is made from the documents of version
//! 3, one group version at a time and written as it is made, because as a whole it would be large.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::foreign::{Foreign, Merge};
use super::{document, gnostic};
use crate::resource::Catalog;

/// The media type of the document in protobuf.
pub const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
/// The name that clients ask for it by. It is no media type by the rules, and Go's client can't read it in an answer.
pub const OLD_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

const SCHEMAS: &str = "#/components/schemas/";
const DEFINITIONS: &str = "#/definitions/";

/// The whole document as JSON, with what other servers have. `describe` adds what is said about types to schemas.
pub fn json(
    catalog: &Catalog,
    server_version: &str,
    describe: impl Fn(&mut Map<String, Value>),
    foreign: &[&Foreign],
) -> Vec<u8> {
    let (mut paths, mut definitions) = (Vec::new(), Vec::new());
    merged(
        catalog,
        server_version,
        describe,
        foreign,
        |of_paths, of_definitions| {
            entries(&mut paths, of_paths);
            entries(&mut definitions, of_definitions);
        },
    );
    let info = json!({"title": "Kubernetes", "version": server_version});
    let mut out = Vec::with_capacity(paths.len() + definitions.len() + 512);
    out.extend_from_slice(format!("{{\"swagger\":\"2.0\",\"info\":{info},\"paths\":{{").as_bytes());
    out.extend_from_slice(&paths);
    out.extend_from_slice(b"},\"definitions\":{");
    out.extend_from_slice(&definitions);
    let rest = format!(
        "}},\"securityDefinitions\":{},\"security\":{}}}",
        security_definitions(),
        security()
    );
    out.extend_from_slice(rest.as_bytes());
    out
}

/// The same in protobuf.
pub fn protobuf(
    catalog: &Catalog,
    server_version: &str,
    describe: impl Fn(&mut Map<String, Value>),
    foreign: &[&Foreign],
) -> Vec<u8> {
    let (mut paths, mut definitions) = (Vec::new(), Vec::new());
    merged(
        catalog,
        server_version,
        describe,
        foreign,
        |of_paths, of_definitions| {
            gnostic::paths(&mut paths, of_paths);
            gnostic::definitions(&mut definitions, of_definitions);
        },
    );
    let info = json!({"title": "Kubernetes", "version": server_version});
    gnostic::document(&info, &paths, &definitions, &security_definitions(), &security())
}

fn security_definitions() -> Value {
    json!({"BearerToken": {"description": "Bearer Token authentication", "in": "header", "name": "authorization",
        "type": "apiKey"}})
}

fn security() -> Value {
    json!([{"BearerToken": []}])
}

/// Hands out the paths and definitions of each group version, and then those of others that differ.
fn merged(
    catalog: &Catalog,
    server_version: &str,
    describe: impl Fn(&mut Map<String, Value>),
    foreign: &[&Foreign],
    mut take: impl FnMut(&Map<String, Value>, &Map<String, Value>),
) {
    let mut merge = Merge::new(foreign);
    each(catalog, server_version, describe, |paths, definitions| {
        merge.note(paths, definitions);
        take(paths, definitions);
    });
    for (paths, definitions) in merge.rest() {
        take(&paths, &definitions);
    }
}

/// Hands out the paths and the new definitions of each group version.
fn each(
    catalog: &Catalog,
    server_version: &str,
    describe: impl Fn(&mut Map<String, Value>),
    mut take: impl FnMut(&Map<String, Value>, &Map<String, Value>),
) {
    let mut seen = BTreeSet::new();
    for (group, versions) in catalog.groups() {
        for version in versions {
            let Some(mut three) = document(catalog, group, version, server_version) else {
                continue;
            };
            let mut schemas = match three["components"]["schemas"].take() {
                Value::Object(schemas) => schemas,
                _ => Map::new(),
            };
            schemas.retain(|name, _| seen.insert(name.clone()));
            describe(&mut schemas);
            for (name, schema) in &mut schemas {
                definition(name, schema);
            }
            let mut paths = Map::new();
            for (path, item) in three["paths"].as_object().into_iter().flatten() {
                paths.insert(path.clone(), path_item(item));
            }
            take(&paths, &schemas);
        }
    }
}

fn entries(out: &mut Vec<u8>, map: &Map<String, Value>) {
    for (name, value) in map {
        if !out.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(format!("{}:{value}", Value::from(name.as_str())).as_bytes());
    }
}

/// A schema of version 3 as one of version 2.
fn definition(name: &str, schema: &mut Value) {
    match name.rsplit('.').next().unwrap_or_default() {
        "Quantity" if name.starts_with("io.k8s.") => *schema = json!({"type": "string"}),
        "IntOrString" if name.starts_with("io.k8s.") => *schema = json!({"type": "string", "format": "int-or-string"}),
        _ if preserves(schema) => {
            // Nothing else may be said of the kind: kubectl would refuse every field that isn't named.
            let kinds = schema["x-kubernetes-group-version-kind"].take();
            *schema = json!({"type": "object", "x-kubernetes-group-version-kind": kinds});
        }
        _ => convert(schema),
    }
}

fn preserves(schema: &Value) -> bool {
    schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true))
}

fn is_nullable(schema: &Value) -> bool {
    schema.get("nullable") == Some(&Value::Bool(true))
}

/// What version 2 can't say is left out; what kubectl would read wrongly, too.
fn convert(schema: &mut Value) {
    let (nullable, preserves) = (is_nullable(schema), preserves(schema));
    let Some(map) = schema.as_object_mut() else { return };
    let nullable_properties: Vec<String> = match map.get("properties").and_then(Value::as_object) {
        Some(properties) if !nullable && !preserves => {
            let nullable = properties.iter().filter(|(_, property)| is_nullable(property));
            nullable.map(|(name, _)| name.clone()).collect()
        }
        _ => Vec::new(),
    };
    if let Some(required) = map.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| !nullable_properties.iter().any(|nullable| name == nullable));
    }
    if map.get("required").and_then(Value::as_array).is_some_and(Vec::is_empty) {
        map.remove("required");
    }
    map.remove("nullable");
    if nullable || preserves {
        map.remove("items");
        map.remove("properties");
    }
    if nullable {
        map.remove("type");
        map.remove("additionalProperties");
    }
    match map.get("type").and_then(Value::as_str) {
        Some("array") if !map.contains_key("items") => map.remove("type"),
        Some("object") if preserves => map.remove("type"),
        _ => None,
    };
    for key in ["default", "anyOf", "oneOf", "not"] {
        map.remove(key);
    }
    if let Some(Value::Array(all)) = map.remove("allOf")
        && let [one] = all.as_slice()
        && let Some(reference) = one["$ref"].as_str()
    {
        map.insert("$ref".to_owned(), reference.replacen(SCHEMAS, DEFINITIONS, 1).into());
    }
    if let Some(Value::String(reference)) = map.get_mut("$ref") {
        *reference = reference.replacen(SCHEMAS, DEFINITIONS, 1);
    }
    if map.get("additionalProperties").is_some_and(Value::is_boolean) {
        map.remove("additionalProperties");
    }
    for key in ["items", "additionalProperties"] {
        if let Some(inner) = map.get_mut(key) {
            convert(inner);
        }
    }
    if let Some(properties) = map.get_mut("properties").and_then(Value::as_object_mut) {
        properties.values_mut().for_each(convert);
    }
}

fn path_item(item: &Value) -> Value {
    let mut two = Map::new();
    for (key, value) in item.as_object().into_iter().flatten() {
        let value = match key.as_str() {
            "parameters" => parameters(value),
            _ => operation(value),
        };
        two.insert(key.clone(), value);
    }
    two.into()
}

fn parameters(three: &Value) -> Value {
    let all = three.as_array().into_iter().flatten();
    all.map(|parameter| {
        let mut two = parameter.clone();
        if let Some(Value::Object(schema)) = two.as_object_mut().and_then(|map| map.remove("schema")) {
            schema.into_iter().for_each(|(key, value)| two[key] = value);
        }
        two
    })
    .collect()
}

fn operation(three: &Value) -> Value {
    let mut two = Map::new();
    for (key, value) in three.as_object().into_iter().flatten() {
        if !matches!(key.as_str(), "requestBody" | "responses" | "parameters") {
            two.insert(key.clone(), value.clone());
        }
    }
    let mut all = parameters(&three["parameters"]);
    let body = three["requestBody"]["content"].as_object();
    let consumes: Vec<&str> = body
        .into_iter()
        .flatten()
        .map(|(media_type, _)| media_type.as_str())
        .collect();
    if let Some((_, content)) = body.and_then(|body| body.iter().next()) {
        let mut schema = content["schema"].clone();
        convert(&mut schema);
        let mut parameter = json!({"name": "body", "in": "body", "schema": schema});
        if three["requestBody"]["required"] == true {
            parameter["required"] = true.into();
        }
        if let Value::Array(all) = &mut all {
            all.insert(0, parameter);
        }
    }
    two.insert(
        "consumes".to_owned(),
        json!(if consumes.is_empty() { vec!["*/*"] } else { consumes }),
    );
    let (mut produces, mut responses) = (BTreeSet::new(), Map::new());
    for (code, response) in three["responses"].as_object().into_iter().flatten() {
        let mut told = json!({"description": response["description"]});
        for (media_type, content) in response["content"].as_object().into_iter().flatten() {
            produces.insert(media_type.as_str());
            if told.get("schema").is_none() {
                let mut schema = content["schema"].clone();
                convert(&mut schema);
                told["schema"] = schema;
            }
        }
        responses.insert(code.clone(), told);
    }
    two.insert("produces".to_owned(), json!(produces));
    two.insert("parameters".to_owned(), all);
    two.insert("responses".to_owned(), responses.into());
    two.insert("schemes".to_owned(), json!(["https"]));
    two.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Value {
        serde_json::from_slice(&json(Catalog::builtin(), "v1.37.2", |_| {}, &[])).unwrap()
    }

    #[test]
    fn the_document_holds_together() {
        let whole = whole();
        let definitions = whole["definitions"].as_object().unwrap();
        let text = whole.to_string();
        assert!(!text.contains(SCHEMAS));
        for reference in text.split("\"$ref\":\"#/definitions/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(definitions.contains_key(name), "{name}");
        }
        let container = &definitions["io.k8s.api.core.v1.Container"]["properties"];
        assert_eq!(container["ports"]["x-kubernetes-patch-merge-key"], "containerPort");
        assert_eq!(
            definitions["io.k8s.api.core.v1.Pod"]["properties"]["spec"],
            json!({"$ref": "#/definitions/io.k8s.api.core.v1.PodSpec"})
        );
        let create = &whole["paths"]["/api/v1/namespaces/{namespace}/pods"]["post"];
        assert_eq!(
            create["parameters"][0],
            json!({"name": "body", "in": "body", "required": true, "schema":
                {"$ref": "#/definitions/io.k8s.api.core.v1.Pod"}})
        );
        assert_eq!(create["x-kubernetes-action"], "post");
    }

    #[test]
    fn the_document_in_protobuf_has_the_same_definitions() {
        let whole = whole();
        let bytes = protobuf(Catalog::builtin(), "v1.37.2", |_| {}, &[]);
        let document = gnostic::tests::fields(&bytes);
        assert_eq!(document[0], (1, b"2.0".to_vec()));
        let definitions = document.iter().find(|(tag, _)| *tag == 9).unwrap();
        let named = gnostic::tests::fields(&definitions.1);
        assert_eq!(named.len(), whole["definitions"].as_object().unwrap().len());
        let paths = document.iter().find(|(tag, _)| *tag == 8).unwrap();
        assert_eq!(
            gnostic::tests::fields(&paths.1).len(),
            whole["paths"].as_object().unwrap().len()
        );
    }

    #[test]
    fn what_version_2_cannot_say_is_left_out() {
        let mut open = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": {"apiVersion": {"type": "string"}}, "x-kubernetes-group-version-kind": [{"kind": "Open"}]});
        definition("com.example.v1.Open", &mut open);
        assert_eq!(
            open,
            json!({"type": "object", "x-kubernetes-group-version-kind": [{"kind": "Open"}]})
        );

        let mut schema = json!({"type": "object", "required": ["a", "b"], "properties": {
            "a": {"type": "array", "nullable": true, "items": {"type": "string"}},
            "b": {"type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {"c": {"type": "string"}}},
            "d": {"type": "array", "x-kubernetes-preserve-unknown-fields": true, "items": {"type": "string"}}}});
        convert(&mut schema);
        assert_eq!(
            schema,
            json!({"type": "object", "required": ["b"], "properties": {
                "a": {},
                "b": {"x-kubernetes-preserve-unknown-fields": true},
                "d": {"x-kubernetes-preserve-unknown-fields": true}}})
        );
    }
}
