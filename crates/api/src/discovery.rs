//! Discovery: what is served, as documents, from the catalog's rows. The old lists (`/api`, `/apis`, and those of a
//! group and of a version) and the aggregated one (`apidiscovery.k8s.io/v2`).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use meta::GroupVersionKind;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::resource::{Catalog, Resource, Subresource};

/// The content type of [`aggregated`], as it stands in requests and answers.
pub const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// `/api`: the versions of the legacy group, and where this server is.
#[must_use]
pub fn legacy_versions(server_address: &str) -> Value {
    json!({
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
    })
}

/// `/apis`: all groups with names.
#[must_use]
pub fn groups(catalog: &Catalog) -> Value {
    let groups = catalog.groups().into_iter().filter(|(name, _)| !name.is_empty());
    let groups: Vec<Value> = groups
        .map(|(name, versions)| group_body(name, &versions))
        .map(Value::Object)
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/GROUP`; none when there is no such group.
#[must_use]
pub fn group(catalog: &Catalog, name: &str) -> Option<Value> {
    let (name, versions) = catalog
        .groups()
        .into_iter()
        .find(|(known, _)| *known == name && !known.is_empty())?;
    Some(group_document(name, &versions))
}

/// The document of a group with these versions.
#[must_use]
pub fn group_document(name: &str, versions: &[&str]) -> Value {
    let mut body = group_body(name, versions);
    body.insert("kind".to_owned(), "APIGroup".into());
    body.insert("apiVersion".to_owned(), "v1".into());
    Value::Object(body)
}

/// A group's part of the list of groups: its versions, of which the first is preferred.
#[must_use]
pub fn group_body(name: &str, versions: &[&str]) -> Map<String, Value> {
    let versions: Vec<Value> = versions
        .iter()
        .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
        .collect();
    let mut body = Map::new();
    body.insert("name".to_owned(), name.into());
    body.insert(
        "preferredVersion".to_owned(),
        versions.first().cloned().unwrap_or_default(),
    );
    body.insert("versions".to_owned(), versions.into());
    body
}

/// `/api/v1` or `/apis/GROUP/VERSION`; none when there is no such version.
#[must_use]
pub fn resources(catalog: &Catalog, group: &str, version: &str) -> Option<Value> {
    let mut entries = Vec::new();
    for resource in catalog.in_version(group, version) {
        entries.push(resource_entry(resource));
        for subresource in &resource.subresources {
            entries.push(subresource_entry(resource, subresource));
        }
    }
    if entries.is_empty() {
        return None;
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let mut body = json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": entries});
    if !group.is_empty() {
        body["apiVersion"] = "v1".into();
    }
    Some(body)
}

fn resource_entry(resource: &Resource) -> Value {
    let mut entry = json!({
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    if resource.has_verb("get") && !resource.computed {
        entry["storageVersionHash"] = storage_version_hash(&resource.stored).into();
    }
    entry
}

fn subresource_entry(resource: &Resource, subresource: &Subresource) -> Value {
    let mut entry = json!({
        "name": format!("{}/{}", resource.plural, subresource.name),
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": subresource.kind.kind,
        "verbs": subresource.verbs,
    });
    if subresource.kind.group_version() != resource.group_version() {
        entry["group"] = subresource.kind.group.clone().into();
        entry["version"] = subresource.kind.version.clone().into();
    }
    entry
}

/// What tells clients in which kind's form the objects are stored.
fn storage_version_hash(kind: &GroupVersionKind) -> String {
    let digest = Sha256::digest(format!("{}/{}/{}", kind.group, kind.version, kind.kind));
    STANDARD.encode(&digest[..8])
}

/// The aggregated document: of `/api` (`legacy`) or `/apis`.
#[must_use]
pub fn aggregated(catalog: &Catalog, legacy: bool) -> Value {
    let groups = catalog
        .groups()
        .into_iter()
        .filter(|(name, _)| name.is_empty() == legacy);
    let items: Vec<Value> = groups
        .map(|(name, versions)| {
            let versions: Vec<Value> = versions
                .iter()
                .map(|version| {
                    let resources: Vec<Value> = catalog
                        .in_version(name, version)
                        .map(|resource| aggregated_resource(resource))
                        .collect();
                    json!({"version": version, "resources": resources, "freshness": "Current"})
                })
                .collect();
            let metadata = if name.is_empty() {
                json!({})
            } else {
                json!({"name": name})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_resource(resource: &Resource) -> Value {
    let mut entry = json!({
        "resource": resource.plural,
        "responseKind": response_kind(&resource.group_version_kind()),
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
        "verbs": resource.verbs,
    });
    if !resource.short_names.is_empty() {
        entry["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        entry["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        let subresources: Vec<Value> = resource
            .subresources
            .iter()
            .map(|subresource| {
                json!({
                    "subresource": subresource.name,
                    "responseKind": response_kind(&subresource.kind),
                    "verbs": subresource.verbs,
                })
            })
            .collect();
        entry["subresources"] = subresources.into();
    }
    entry
}

fn response_kind(kind: &GroupVersionKind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_read_as_kubernetes_writes_them() {
        let catalog = Catalog::builtin();
        let core = resources(catalog, "", "v1").unwrap();
        let find = |list: &Value, name: &str| {
            let entries = list["resources"].as_array().unwrap();
            entries
                .iter()
                .find(|entry| entry["name"] == name)
                .cloned()
                .unwrap_or_default()
        };
        assert_eq!(
            find(&core, "pods"),
            json!({"name": "pods", "singularName": "pod", "namespaced": true, "kind": "Pod", "shortNames": ["po"],
                "verbs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
                "categories": ["all"], "storageVersionHash": "xPOwRZ+Yhw8="})
        );
        assert_eq!(
            find(&core, "pods/eviction"),
            json!({"name": "pods/eviction", "singularName": "", "namespaced": true, "group": "policy", "version": "v1",
                "kind": "Eviction", "verbs": ["create"]})
        );
        let apps = resources(catalog, "apps", "v1").unwrap();
        assert_eq!(apps["apiVersion"], "v1");
        assert_eq!(find(&apps, "deployments")["storageVersionHash"], "8aSe+NMegvE=");
        assert!(resources(catalog, "apps", "v2").is_none());
    }

    #[test]
    fn groups_come_in_kubernetes_order() {
        let catalog = Catalog::builtin();
        assert_eq!(groups(catalog)["groups"][1]["name"], "apps");
        assert_eq!(
            group(catalog, "batch").unwrap(),
            json!({"kind": "APIGroup", "apiVersion": "v1", "name": "batch",
                "versions": [{"groupVersion": "batch/v1", "version": "v1"}],
                "preferredVersion": {"groupVersion": "batch/v1", "version": "v1"}})
        );
        assert!(group(catalog, "nobody.example").is_none() && group(catalog, "").is_none());
    }

    #[test]
    fn the_aggregated_document_is_of_its_type() {
        let catalog = Catalog::builtin();
        let kind = GroupVersionKind::new("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList");
        let shape = crate::codec::Shape::builtin(kind).unwrap();
        for legacy in [true, false] {
            let document = aggregated(catalog, legacy);
            let read = crate::codec::conform(document.clone(), &shape, crate::codec::FieldValidation::Strict).unwrap();
            assert_eq!((read.value, read.warnings), (document, Vec::<String>::new()));
        }
        assert_eq!(aggregated(catalog, true)["items"].as_array().map(Vec::len), Some(1));
    }
}
