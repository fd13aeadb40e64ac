//! What is served: the groups, their versions and resources.

use api::resource::{Catalog, Resource};
use http::Response;
use http::request::Parts;
use meta::Status;
use serde_json::{Value, json};

use crate::core::Core;
use crate::http::Body;

/// The documents that are made once.
pub(crate) struct Documents {
    catalog: &'static Catalog,
}

impl Documents {
    pub(crate) fn new(catalog: &'static Catalog) -> Documents {
        Documents { catalog }
    }
}

/// Answers `/api`, `/apis` and what lies below, as far as it is no resource.
pub(crate) fn serve(core: &Core, words: &[&str], _parts: &Parts) -> Result<Response<Body>, Status> {
    let catalog = core.documents.catalog;
    let document = match words {
        ["api"] => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [{
            "clientCIDR": "0.0.0.0/0",
            "serverAddress": format!("{}:{}", core.config.advertise_address, core.config.listen.port()),
        }]}),
        ["apis"] => {
            let groups = catalog.groups();
            let groups = groups.iter().filter(|(group, _)| !group.is_empty());
            let groups: Vec<Value> = groups.map(|(group, versions)| self::group(group, versions)).collect();
            json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        }
        ["api", version] => resources(catalog, "", version),
        ["apis", name] => {
            let groups = catalog.groups();
            let Some((group, versions)) = groups.iter().find(|(group, _)| group == name) else {
                return Ok(super::not_found());
            };
            let mut group = self::group(group, versions);
            group["kind"] = json!("APIGroup");
            group["apiVersion"] = json!("v1");
            group
        }
        ["apis", group, version] => resources(catalog, group, version),
        _ => return Ok(super::not_found()),
    };
    super::json_response(&document)
}

fn group(name: &str, versions: &[&str]) -> Value {
    let version = |version: &&str| json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({
        "name": name, "versions": versions.iter().map(version).collect::<Vec<_>>(),
        "preferredVersion": versions.first().map(version),
    })
}

fn resources(catalog: &Catalog, group: &str, version: &str) -> Value {
    let mut list = Vec::new();
    for row in catalog.in_version(group, version) {
        list.push(entry(row));
        for sub in &row.subresources {
            list.push(json!({
                "name": format!("{}/{}", row.plural, sub.name), "singularName": "", "namespaced": row.namespaced,
                "kind": sub.kind.kind, "verbs": sub.verbs, "group": sub.kind.group, "version": sub.kind.version,
            }));
        }
    }
    let group_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": list})
}

fn entry(row: &Resource) -> Value {
    json!({
        "name": row.plural, "singularName": row.singular, "namespaced": row.namespaced, "kind": row.kind,
        "verbs": row.verbs, "shortNames": row.short_names, "categories": row.categories,
    })
}
