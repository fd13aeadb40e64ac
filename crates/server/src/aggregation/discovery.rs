//! Discovery documents of other servers, read and merged into this server's. Pure.

use std::collections::HashMap;

use api::custom::compare_versions;
use api::discovery;
use api::resource::Catalog;
use serde_json::{Value, json};

use super::Routes;
use crate::registration;

/// Whether a content type is that of the aggregated document.
pub(super) fn is_aggregated(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next();
    let parameters: Vec<&str> = parts.collect();
    let wanted = ["g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"];
    media_type == Some("application/json") && wanted.iter().all(|one| parameters.contains(one))
}

/// The entry of a version in another server's aggregated document. One that isn't there has no resources.
pub(super) fn pick(document: &Value, group: &str, version: &str) -> Value {
    let mut groups = document["items"].as_array().into_iter().flatten();
    let found = groups.find(|item| item["metadata"]["name"] == group);
    let mut versions = found.and_then(|item| item["versions"].as_array()).into_iter().flatten();
    let Some(entry) = versions.find(|entry| entry["version"] == version) else {
        return json!({"version": version, "freshness": "Current"});
    };
    let mut entry = entry.clone();
    entry["freshness"] = "Current".into();
    for resource in entry["resources"].as_array_mut().into_iter().flatten() {
        with_kind(resource);
        for subresource in resource["subresources"].as_array_mut().into_iter().flatten() {
            with_kind(subresource);
        }
    }
    entry
}

/// Some clients can't do without the field.
fn with_kind(entry: &mut Value) {
    if let Some(entry) = entry.as_object_mut() {
        entry.entry("responseKind").or_insert_with(no_kind);
    }
}

fn no_kind() -> Value {
    json!({"group": "", "version": "", "kind": ""})
}

/// The entry of a version whose server can't be asked.
pub(super) fn stale(version: &str) -> Value {
    json!({"version": version, "freshness": "Stale"})
}

/// The entry of a version from its list of resources, as servers have it that know no aggregated document.
pub(super) fn from_list(list: &Value, version: &str) -> Result<Value, String> {
    let rows: Vec<&Value> = list["resources"].as_array().into_iter().flatten().collect();
    let mut resources: Vec<Value> = Vec::new();
    for row in &rows {
        let name = row["name"].as_str().unwrap_or_default();
        if !name.is_empty() && !name.contains('/') {
            resources.push(resource(name, row));
        }
    }
    for row in rows {
        let Some((of, name)) = row["name"].as_str().and_then(|name| name.split_once('/')) else {
            continue;
        };
        let scope = scope(row);
        let at = resources.iter().position(|known| known["resource"] == of);
        let at = at.unwrap_or_else(|| {
            let parent = json!({"resource": of, "responseKind": no_kind(), "scope": scope, "singularResource": "",
                "verbs": []});
            resources.push(parent);
            resources.len() - 1
        });
        let parent = &mut resources[at];
        if parent["scope"] != scope {
            return Err(format!("{of} and its subresource {name} have different scopes"));
        }
        let kind = if text(row, "kind").is_empty() {
            no_kind()
        } else {
            kind(row)
        };
        let entry = json!({"subresource": name, "responseKind": kind, "verbs": list_of(row, "verbs")});
        match parent["subresources"].as_array_mut() {
            Some(subresources) => subresources.push(entry),
            None => parent["subresources"] = json!([entry]),
        }
    }
    let mut entry = json!({"version": version, "freshness": "Current"});
    if !resources.is_empty() {
        entry["resources"] = resources.into();
    }
    Ok(entry)
}

fn resource(name: &str, row: &Value) -> Value {
    let mut entry = json!({
        "resource": name,
        "responseKind": kind(row),
        "scope": scope(row),
        "singularResource": text(row, "singularName"),
        "verbs": list_of(row, "verbs"),
    });
    for field in ["shortNames", "categories"] {
        if row[field].as_array().is_some_and(|list| !list.is_empty()) {
            entry[field] = row[field].clone();
        }
    }
    entry
}

fn kind(row: &Value) -> Value {
    json!({"group": text(row, "group"), "version": text(row, "version"), "kind": text(row, "kind")})
}

fn scope(row: &Value) -> &'static str {
    match row["namespaced"] == true {
        true => "Namespaced",
        false => "Cluster",
    }
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

fn list_of(row: &Value, field: &str) -> Value {
    match row[field].as_array() {
        Some(list) => json!(list),
        None => json!([]),
    }
}

/// A version that another server serves, with its group's priority and its own.
#[derive(Clone, Copy, Debug)]
struct Registered<'a> {
    group: &'a str,
    version: &'a str,
    of_group: i64,
    of_version: i64,
}

/// The groups with their versions, in the order in which they are shown: this server's own, and others' where their
/// priorities put them.
pub(crate) fn order(catalog: &Catalog, routes: &Routes) -> Vec<(String, Vec<String>)> {
    let registered: Vec<Registered<'_>> = routes
        .all()
        .map(|route| Registered {
            group: &route.remote.group,
            version: &route.remote.version,
            of_group: route.remote.of_group,
            of_version: route.remote.of_version,
        })
        .collect();
    ordered(&catalog.groups(), &registered)
}

/// Kubernetes' order: groups by their highest priority and then by name, versions by theirs and then by how far they are.
/// What has nothing to do with other servers stays in the order that it came in, which is that order already.
fn ordered(local: &[(&str, Vec<&str>)], registered: &[Registered<'_>]) -> Vec<(String, Vec<String>)> {
    let own = |group: &str, version: &str| {
        let (of_group, of_version) = registration::priorities(group, version);
        (i64::from(of_group), i64::from(of_version))
    };
    let concerned = |group: &str| registered.iter().any(|one| one.group == group);
    let mut out: Vec<(i64, String, Vec<String>)> = Vec::new();
    for (group, versions) in local.iter().filter(|(group, _)| !concerned(group)) {
        let highest = versions.iter().map(|version| own(group, version).0).max();
        let versions = versions.iter().map(|version| (*version).to_owned()).collect();
        out.push((highest.unwrap_or_default(), (*group).to_owned(), versions));
    }
    let mut names: Vec<&str> = registered.iter().map(|one| one.group).collect();
    names.sort_unstable();
    names.dedup();
    for name in names {
        let others = registered.iter().filter(|one| one.group == name);
        let mut versions: Vec<(&str, i64, i64)> =
            others.map(|one| (one.version, one.of_group, one.of_version)).collect();
        let ours = local.iter().filter(|(group, _)| *group == name);
        for version in ours.flat_map(|(_, versions)| versions) {
            if !versions.iter().any(|(known, ..)| known == version) {
                let (of_group, of_version) = own(name, version);
                versions.push((version, of_group, of_version));
            }
        }
        versions.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| compare_versions(b.0, a.0)));
        let highest = versions
            .iter()
            .map(|(_, of_group, _)| *of_group)
            .max()
            .unwrap_or_default();
        let comes_after = |(priority, group, _): &(i64, String, Vec<String>)| {
            *priority < highest || (*priority == highest && group.as_str() > name)
        };
        let at = out.iter().position(comes_after).unwrap_or(out.len());
        let versions = versions.into_iter().map(|(version, ..)| version.to_owned()).collect();
        out.insert(at, (highest, name.to_owned(), versions));
    }
    out.into_iter().map(|(_, group, versions)| (group, versions)).collect()
}

/// The aggregated document of `/apis`, others' versions among this server's.
pub(crate) fn aggregated(catalog: &Catalog, routes: &Routes) -> Value {
    let mut document = discovery::aggregated(catalog, false);
    let mut own = entries(document["items"].take());
    let mut items = Vec::new();
    for (group, versions) in order(catalog, routes) {
        let entry = |version: &String| match routes.get(&group, version) {
            Some(route) => route.learned.as_ref().map(|learned| learned.discovery.clone()),
            None => own.remove(&(group.clone(), version.clone())),
        };
        let versions: Vec<Value> = versions.iter().filter_map(entry).collect();
        if !versions.is_empty() {
            items.push(json!({"metadata": {"name": group}, "versions": versions}));
        }
    }
    document["items"] = items.into();
    document
}

/// The versions' entries of an aggregated document's items, by group and version.
fn entries(items: Value) -> HashMap<(String, String), Value> {
    let mut out = HashMap::new();
    let Value::Array(items) = items else { return out };
    for mut item in items {
        let group = item["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let Value::Array(versions) = item["versions"].take() else {
            continue;
        };
        for entry in versions {
            let version = entry["version"].as_str().unwrap_or_default().to_owned();
            out.insert((group.clone(), version), entry);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_with_all_parameters_are_aggregated() {
        assert!(is_aggregated(discovery::AGGREGATED));
        assert!(is_aggregated(
            "application/json; as=APIGroupDiscoveryList; g=apidiscovery.k8s.io; v=v2"
        ));
        assert!(!is_aggregated(
            "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
        ));
        assert!(!is_aggregated("application/json"));
    }

    #[test]
    fn an_old_list_becomes_an_entry() {
        let list = json!({"kind": "APIResourceList", "groupVersion": "wardle.example.com/v1alpha1", "resources": [
            {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "shortNames": ["fl"],
                "verbs": ["get", "list"]},
            {"name": "flunders/status", "singularName": "", "namespaced": true, "kind": "Flunder", "verbs": ["get"]},
            {"name": "lonely/scale", "namespaced": false, "group": "autoscaling", "version": "v1", "kind": "Scale",
                "verbs": ["get"]},
        ]});
        let kind = |group, version, kind| json!({"group": group, "version": version, "kind": kind});
        let entry = from_list(&list, "v1alpha1").unwrap();
        assert_eq!(
            entry,
            json!({"version": "v1alpha1", "freshness": "Current", "resources": [
                {"resource": "flunders", "responseKind": kind("", "", "Flunder"), "scope": "Namespaced",
                    "singularResource": "flunder", "verbs": ["get", "list"], "shortNames": ["fl"], "subresources": [
                        {"subresource": "status", "responseKind": kind("", "", "Flunder"), "verbs": ["get"]}]},
                {"resource": "lonely", "responseKind": kind("", "", ""), "scope": "Cluster", "singularResource": "",
                    "verbs": [], "subresources": [
                        {"subresource": "scale", "responseKind": kind("autoscaling", "v1", "Scale"),
                            "verbs": ["get"]}]},
            ]})
        );
        let torn = json!({"resources": [
            {"name": "a", "namespaced": true, "kind": "A", "verbs": []},
            {"name": "a/b", "namespaced": false, "kind": "A", "verbs": []}]});
        assert!(from_list(&torn, "v1").unwrap_err().contains("different scopes"));
    }

    #[test]
    fn a_version_is_picked_out_of_the_aggregated_document() {
        let document = json!({"items": [{"metadata": {"name": "g"}, "versions": [
            {"version": "v1", "resources": [{"resource": "things", "subresources": [{"subresource": "status"}]}]}]}]});
        let entry = pick(&document, "g", "v1");
        assert_eq!(entry["freshness"], "Current");
        assert_eq!(entry["resources"][0]["responseKind"], no_kind());
        assert_eq!(entry["resources"][0]["subresources"][0]["responseKind"], no_kind());
        assert_eq!(
            pick(&document, "g", "v2"),
            json!({"version": "v2", "freshness": "Current"})
        );
    }

    #[test]
    fn priorities_put_groups_and_versions_in_order() {
        let local = [
            ("", vec!["v1"]),
            ("apiregistration.k8s.io", vec!["v1"]),
            ("apps", vec!["v1"]),
            ("metrics.k8s.io", vec!["v1beta1"]),
            ("b.example.com", vec!["v2", "v1"]),
            ("z.example.com", vec!["v1"]),
        ];
        let one = |group, version, of_group, of_version| Registered {
            group,
            version,
            of_group,
            of_version,
        };
        let shown = |registered: &[Registered<'_>]| {
            let all = ordered(&local, registered).into_iter();
            let flat: Vec<String> = all
                .map(|(group, versions)| format!("{group}:{}", versions.join(",")))
                .collect();
            flat[1..].join(" ")
        };
        assert_eq!(
            shown(&[]),
            "apiregistration.k8s.io:v1 apps:v1 metrics.k8s.io:v1beta1 b.example.com:v2,v1 z.example.com:v1"
        );
        // Above custom resources' 1000; among them by name; a version beside ours by its priority.
        assert_eq!(
            shown(&[
                one("wardle.example.com", "v1alpha1", 2000, 200),
                one("wardle.example.com", "v1beta1", 2000, 200),
                one("m.example.com", "v1", 1000, 10),
                one("b.example.com", "v3", 900, 50),
                one("metrics.k8s.io", "v1beta1", 100, 100),
            ]),
            "apiregistration.k8s.io:v1 apps:v1 wardle.example.com:v1beta1,v1alpha1 b.example.com:v2,v1,v3 \
             m.example.com:v1 z.example.com:v1 metrics.k8s.io:v1beta1"
        );
    }
}
