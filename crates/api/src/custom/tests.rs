//! A definition as a whole: its rows, the reading of its objects, apply.

use serde_json::json;

use super::*;
use crate::codec::{self, ContentType, FieldValidation, Shape};
use crate::merge::apply;

pub(crate) fn definition() -> Value {
    json!({
        "metadata": {"name": "crontabs.stable.example.com"},
        "spec": {
            "group": "stable.example.com", "scope": "Namespaced",
            "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "listKind": "CronTabList",
                "shortNames": ["ct"]},
            "versions": [{"name": "v1beta1", "served": true, "storage": false, "deprecated": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}},
            {"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {"type": "object", "properties": {
                        "cron": {"type": "string"},
                        "replicas": {"type": "integer", "default": 1},
                        "ports": {"type": "array", "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["name"],
                            "items": {"type": "object", "required": ["name"], "properties": {
                                "name": {"type": "string"}, "port": {"type": "integer"}}}},
                        "open": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    }},
                    "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
                }}},
                "subresources": {"status": {}, "scale": {"specReplicasPath": ".spec.replicas",
                    "statusReplicasPath": ".status.replicas"}},
                "additionalPrinterColumns": [{"name": "Cron", "type": "string", "jsonPath": ".spec.cron"}],
            }],
        },
        "status": {"acceptedNames": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab",
            "listKind": "CronTabList", "shortNames": ["ct"]}},
    })
}

fn rows() -> Vec<Arc<Resource>> {
    resources(&definition(), &Bytes::from(definition().to_string()))
}

#[test]
fn a_definition_becomes_rows() {
    let rows = rows();
    let versions: Vec<&str> = rows.iter().map(|row| &*row.version).collect();
    assert_eq!(versions, ["v1", "v1beta1"]);
    assert_eq!(rows[0].key_prefix(), "/registry/stable.example.com/crontabs/");
    assert_eq!(rows[0].subresources.len(), 2);
    assert_eq!(&*rows[0].short_names, ["ct"]);
    assert_eq!(
        rows[1].custom.as_ref().unwrap().deprecation(),
        Some("stable.example.com/v1beta1 CronTab is deprecated")
    );
    assert_eq!(
        rows[0].custom.as_ref().unwrap().published()["properties"]["spec"]["type"],
        "object"
    );
}

#[test]
fn bodies_are_pruned_and_twice_written_fields_are_told() {
    let rows = rows();
    let body = br#"{"apiVersion":"stable.example.com/v1","kind":"CronTab","metadata":{"name":"a","none":1},
        "spec":{"cron":1,"cron":"x","unknown":{}}}"#;
    let read = codec::decode(body, ContentType::Json, &Shape::from(&*rows[0]), FieldValidation::Warn).unwrap();
    assert_eq!(
        read.warnings,
        [
            "duplicate field \"spec.cron\"",
            "unknown field \"metadata.none\"",
            "unknown field \"spec.unknown\""
        ]
    );
    assert_eq!(read.value["spec"], json!({"cron": "x"}));
    let strict = codec::decode(
        body,
        ContentType::Json,
        &Shape::from(&*rows[0]),
        FieldValidation::Strict,
    );
    assert_eq!(
        strict.unwrap_err().message,
        "CronTab in version \"v1\" cannot be handled as a CronTab: strict decoding error: duplicate field \
         \"spec.cron\", unknown field \"metadata.none\", unknown field \"spec.unknown\""
    );
}

#[test]
fn apply_follows_the_definitions_list_types() {
    let rows = rows();
    let row = &rows[0];
    let reset = apply::ResetFields::Nothing;
    let target = apply::Target {
        schema: row.schema(),
        ty: row.ty,
        api_version: "stable.example.com/v1",
        kind: "CronTab",
        subresource: "",
        reset: &reset,
        versions: &apply::OneVersion,
    };
    let config = |manager: &'static str, spec: Value, live: Option<&Value>| {
        let object = json!({"apiVersion": "stable.example.com/v1", "kind": "CronTab", "metadata": {"name": "a"},
            "spec": spec});
        let config = apply::Config {
            object: &object,
            manager,
            force: false,
        };
        apply::apply(&target, live, config, jiff::Timestamp::UNIX_EPOCH)
    };
    let first = config(
        "one",
        json!({"ports": [{"name": "a", "port": 1}], "open": {"x": {"y": 1}}}),
        None,
    )
    .unwrap();
    let second = config(
        "two",
        json!({"ports": [{"name": "b", "port": 2}], "open": {"x": {"z": 2}}}),
        Some(&first),
    );
    let second = second.unwrap();
    assert_eq!(
        second["spec"]["ports"],
        json!([{"name": "a", "port": 1}, {"name": "b", "port": 2}])
    );
    assert_eq!(second["spec"]["open"], json!({"x": {"y": 1, "z": 2}}));
    let third = config("two", json!({"ports": [{"name": "a", "port": 3}]}), Some(&second));
    assert!(third.is_err(), "the port of `a` is somebody else's");
    let wrong = config("one", json!({"nothing": 1}), None).unwrap_err();
    assert!(
        format!("{wrong:?}").contains("field not declared in schema"),
        "{wrong:?}"
    );
}

#[test]
fn versions_are_ordered_by_how_far_they_are() {
    let mut versions = ["v1", "v1beta1", "foo", "v2alpha1", "v10", "v1beta2", "v2"];
    versions.sort_by(|a, b| compare_versions(b, a));
    assert_eq!(versions, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v2alpha1", "foo"]);
}
