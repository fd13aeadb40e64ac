//! OpenAPI v3: an index of documents, and one document per group version, made from the table and the rows when it is
//! asked for. They carry what kubectl and server-side apply's clients look at: actions and kinds of each path, list types
//! and keys, merge keys, defaults and enumerations of each field.

mod custom;
pub mod foreign;
mod gnostic;
mod paths;
mod schemas;
pub mod v2;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::resource::Catalog;

/// `/openapi/v3`: where the document of each group version is. The hash in the address changes with the document, so
/// that clients may keep it.
#[must_use]
pub fn index(catalog: &Catalog, server_version: &str) -> Value {
    let mut paths = Map::new();
    for (group, versions) in catalog.groups() {
        for version in versions {
            let path = path(group, version);
            let address = format!(
                "/openapi/v3/{path}?hash={}",
                hash(catalog, group, version, server_version)
            );
            paths.insert(path, json!({"serverRelativeURL": address}));
        }
    }
    json!({"paths": paths})
}

/// `/openapi/v3/api/v1` or `/openapi/v3/apis/GROUP/VERSION`; none when there is no such version.
#[must_use]
pub fn document(catalog: &Catalog, group: &str, version: &str, server_version: &str) -> Option<Value> {
    catalog.in_version(group, version).next()?;
    let mut schemas = schemas::Schemas::new(catalog);
    let paths = paths::of_version(catalog, group, version, &mut schemas);
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": server_version},
        "paths": paths,
        "components": {
            "schemas": schemas.finish(),
            "securitySchemes": {
                "BearerToken": {"description": "Bearer Token authentication", "in": "header", "name": "authorization",
                    "type": "apiKey"},
            },
        },
    }))
}

/// What a document is known by: the same for the same document.
#[must_use]
pub fn hash(catalog: &Catalog, group: &str, version: &str, server_version: &str) -> String {
    let mut digest = Sha256::new();
    digest.update(server_version);
    digest.update(env!("CARGO_PKG_VERSION"));
    digest.update(crate::schema::Schema::builtin_hash());
    for resource in catalog.in_version(group, version) {
        digest.update(&*resource.plural);
        digest.update(&*resource.kind);
        if let Some(custom) = &resource.custom {
            digest.update(custom.definition());
        }
        for verb in &resource.verbs {
            digest.update(verb);
        }
        for subresource in &resource.subresources {
            digest.update(&*subresource.name);
        }
    }
    digest.finalize().iter().map(|byte| format!("{byte:02X}")).collect()
}

fn path(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

#[cfg(test)]
mod tests;
