//! The documents: complete, and with what kubectl looks for.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

fn core() -> Value {
    document(Catalog::builtin(), "", "v1", "v1.37.2").unwrap()
}

fn references(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                match value
                    .as_str()
                    .and_then(|text| text.strip_prefix("#/components/schemas/"))
                {
                    Some(name) if key == "$ref" => drop(found.insert(name.to_owned())),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere() {
    for (group, versions) in Catalog::builtin().groups() {
        for version in versions {
            let document = document(Catalog::builtin(), group, version, "v1.37.2").unwrap();
            let mut found = BTreeSet::new();
            references(&document, &mut found);
            let schemas = document["components"]["schemas"].as_object().unwrap();
            for name in &found {
                assert!(schemas.contains_key(name), "{group}/{version}: {name}");
            }
            assert_eq!(found.len(), schemas.len());
        }
    }
}

#[test]
fn paths_say_what_kubectl_looks_for() {
    let core = core();
    let patch = &core["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-action"], "patch");
    assert_eq!(
        patch["x-kubernetes-group-version-kind"],
        json!({"group": "", "version": "v1", "kind": "Pod"})
    );
    let names: Vec<&str> = patch["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|parameter| parameter["name"].as_str())
        .collect();
    assert_eq!(names, ["dryRun", "fieldManager", "fieldValidation", "force"]);
    assert_eq!(patch["operationId"], "patchCoreV1NamespacedPod");
    assert_eq!(
        core["paths"]["/api/v1/pods"]["get"]["operationId"],
        "listCoreV1PodForAllNamespaces"
    );
    assert_eq!(
        core["paths"]["/api/v1/nodes"]["delete"]["operationId"],
        "deleteCoreV1CollectionNode"
    );
}

#[test]
fn schemas_have_kubernetes_marks() {
    let core = core();
    let schemas = &core["components"]["schemas"];
    let ports = &schemas["io.k8s.api.core.v1.Container"]["properties"]["ports"];
    assert_eq!(
        *ports,
        json!({"type": "array", "items": {"allOf": [{"$ref": "#/components/schemas/io.k8s.api.core.v1.ContainerPort"}],
            "default": {}}, "x-kubernetes-list-map-keys": ["containerPort", "protocol"], "x-kubernetes-list-type": "map",
            "x-kubernetes-patch-merge-key": "containerPort", "x-kubernetes-patch-strategy": "merge"})
    );
    let pod = &schemas["io.k8s.api.core.v1.Pod"];
    assert_eq!(
        pod["x-kubernetes-group-version-kind"],
        json!([{"group": "", "version": "v1", "kind": "Pod"}])
    );
    let protocol = &schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"];
    assert_eq!(
        *protocol,
        json!({"type": "string", "default": "TCP", "enum": ["SCTP", "TCP", "UDP"]})
    );
}

#[test]
fn the_index_names_every_document() {
    let catalog = Catalog::builtin();
    let index = index(catalog, "v1.37.2");
    let address = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
    let (path, hash) = address.split_once("?hash=").unwrap();
    assert_eq!((path, hash.len()), ("/openapi/v3/apis/apps/v1", 64));
    assert_ne!(
        super::hash(catalog, "apps", "v1", "v1.37.2"),
        super::hash(catalog, "apps", "v1", "v1.37.3")
    );
    assert!(document(catalog, "apps", "v9", "v1.37.2").is_none());
}

#[test]
fn custom_kinds_are_published_as_defined() {
    let definition = crate::custom::tests::definition();
    let stored = bytes::Bytes::from(definition.to_string());
    let mut all = Catalog::builtin().resources().to_vec();
    all.extend(crate::custom::resources(&definition, &stored));
    let catalog = Catalog::new(all);
    let document = document(&catalog, "stable.example.com", "v1", "v1.37.2").unwrap();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let schema = &schemas["com.example.stable.v1.CronTab"];
    assert_eq!(schema["properties"]["spec"]["properties"]["replicas"]["default"], 1);
    assert_eq!(
        schema["x-kubernetes-group-version-kind"],
        json!([{"group": "stable.example.com", "version": "v1", "kind": "CronTab"}])
    );
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    for name in &found {
        assert!(schemas.contains_key(name), "{name}");
    }
    let path = &document["paths"]["/apis/stable.example.com/v1/namespaces/{namespace}/crontabs/{name}/scale"];
    assert!(path["get"].is_object());
    let other = hash(&catalog, "stable.example.com", "v1", "v1.37.2");
    assert_ne!(other, hash(&catalog, "stable.example.com", "v1beta1", "v1.37.2"));
}
