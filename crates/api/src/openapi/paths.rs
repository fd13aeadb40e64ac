//! The paths of a document: which methods a path has, what they do, what they take and give.

use serde_json::{Map, Value, json};

use super::schemas::Schemas;
use crate::resource::{Catalog, Resource, Subresource};
use crate::schema::Schema;

const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.";

/// The types in which answers are written.
const PRODUCED: [&str; 3] = [
    "application/json",
    "application/vnd.kubernetes.protobuf",
    "application/yaml",
];
/// The types in which patches are sent.
const PATCHES: [&str; 5] = [
    "application/apply-patch+cbor",
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
];

/// All paths of a group version.
pub(super) fn of_version(catalog: &Catalog, group: &str, version: &str, schemas: &mut Schemas) -> Map<String, Value> {
    let mut paths = Map::new();
    let base = format!("/{}", super::path(group, version));
    for resource in catalog.in_version(group, version) {
        let mut writer = Writer {
            resource,
            schemas: &mut *schemas,
        };
        let scope = if resource.namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        let collection = format!("{base}{scope}/{}", resource.plural);
        let object = format!("{collection}/{{name}}");
        writer.add(
            &mut paths,
            &collection,
            writer.resource.namespaced,
            false,
            None,
            &["list", "create", "deletecollection"],
        );
        writer.add(
            &mut paths,
            &object,
            writer.resource.namespaced,
            true,
            None,
            &["get", "update", "patch", "delete"],
        );
        if resource.namespaced && resource.has_verb("list") {
            writer.add(
                &mut paths,
                &format!("{base}/{}", resource.plural),
                false,
                false,
                None,
                &["list"],
            );
        }
        for subresource in &resource.subresources {
            let path = format!("{object}/{}", subresource.name);
            let verbs = ["get", "create", "update", "patch"];
            writer.add(&mut paths, &path, resource.namespaced, true, Some(subresource), &verbs);
        }
    }
    paths
}

struct Writer<'a> {
    resource: &'a Resource,
    schemas: &'a mut Schemas,
}

impl Writer<'_> {
    /// Adds a path with those of the verbs that the resource has there.
    fn add(
        &mut self,
        paths: &mut Map<String, Value>,
        path: &str,
        in_namespace: bool,
        of_object: bool,
        subresource: Option<&Subresource>,
        verbs: &[&'static str],
    ) {
        let known = subresource.map_or(&self.resource.verbs, |subresource| &subresource.verbs);
        let verbs: Vec<&str> = verbs.iter().copied().filter(|verb| known.contains(verb)).collect();
        if verbs.is_empty() {
            return;
        }
        let mut entry = Map::new();
        for verb in verbs {
            let (method, action) = method(verb);
            entry.insert(
                method.to_owned(),
                self.operation(verb, action, in_namespace, subresource),
            );
        }
        let mut parameters = vec![query("pretty", "string")];
        if in_namespace {
            parameters.push(path_parameter("namespace"));
        }
        if of_object {
            parameters.push(path_parameter("name"));
        }
        entry.insert("parameters".to_owned(), parameters.into());
        paths.insert(path.to_owned(), entry.into());
    }

    fn operation(&mut self, verb: &str, action: &str, in_namespace: bool, subresource: Option<&Subresource>) -> Value {
        let resource = self.resource;
        let kind = subresource.map_or_else(|| resource.group_version_kind(), |subresource| subresource.kind.clone());
        let ty = subresource.map_or(resource.ty, |subresource| subresource.ty);
        // The scale of a custom resource is a built-in type.
        let is_custom = resource.custom.is_some() && kind.kind == resource.kind;
        let schema = if is_custom {
            resource.schema()
        } else {
            Schema::builtin()
        };
        let name = schema
            .get_struct(ty)
            .map(|body| body.name.to_string())
            .unwrap_or_default();
        let group = group_word(&resource.group);
        let mut operation = json!({
            "tags": [format!("{group}_{}", resource.version)],
            "operationId": operation_id(resource, verb, in_namespace, subresource),
            "parameters": parameters(verb),
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
        });
        let own = |this: &mut Self| this.schemas.reference(&name);
        let status = format!("{META}Status");
        let answer = match verb {
            "list" if is_custom => self.schemas.reference(&super::custom::list_name(resource)),
            "list" => self.schemas.list_reference(ty).unwrap_or_default(),
            "deletecollection" | "delete" => self.schemas.reference(&status),
            "get" if subresource.is_some_and(|subresource| subresource.name == "log") => json!({"type": "string"}),
            _ => own(self),
        };
        let body = match verb {
            "create" | "update" => Some((own(self), &["*/*"][..])),
            "patch" => Some((self.schemas.reference(&format!("{META}Patch")), &PATCHES[..])),
            "delete" | "deletecollection" => {
                Some((self.schemas.reference(&format!("{META}DeleteOptions")), &["*/*"][..]))
            }
            _ => None,
        };
        if let Some((schema, types)) = body {
            operation["requestBody"] = json!({"content": content(&schema, types)});
            if matches!(verb, "create" | "update" | "patch") {
                operation["requestBody"]["required"] = true.into();
            }
        }
        let ok = json!({"description": "OK", "content": content(&answer, &PRODUCED)});
        operation["responses"] = json!({"200": ok, "401": {"description": "Unauthorized"}});
        if matches!(verb, "create" | "update" | "patch") {
            operation["responses"]["201"] = json!({"description": "Created", "content": content(&answer, &PRODUCED)});
        }
        operation
    }
}

fn content(schema: &Value, types: &[&str]) -> Value {
    types
        .iter()
        .map(|media_type| ((*media_type).to_owned(), json!({"schema": schema})))
        .collect()
}

/// The HTTP method of a verb, and its name in `x-kubernetes-action`.
fn method(verb: &str) -> (&'static str, &'static str) {
    match verb {
        "list" => ("get", "list"),
        "create" => ("post", "post"),
        "update" => ("put", "put"),
        "patch" => ("patch", "patch"),
        "delete" => ("delete", "delete"),
        "deletecollection" => ("delete", "deletecollection"),
        _ => ("get", "get"),
    }
}

/// The query parameters of a verb.
fn parameters(verb: &str) -> Vec<Value> {
    let list = [
        "allowWatchBookmarks:boolean",
        "continue:string",
        "fieldSelector:string",
        "labelSelector:string",
        "limit:integer",
        "resourceVersion:string",
        "resourceVersionMatch:string",
        "sendInitialEvents:boolean",
        "timeoutSeconds:integer",
        "watch:boolean",
    ];
    let write = ["dryRun:string", "fieldManager:string", "fieldValidation:string"];
    let delete = [
        "dryRun:string",
        "gracePeriodSeconds:integer",
        "orphanDependents:boolean",
        "propagationPolicy:string",
    ];
    let names: Vec<&str> = match verb {
        "list" => list.to_vec(),
        "create" | "update" => write.to_vec(),
        "patch" => write.iter().copied().chain(["force:boolean"]).collect(),
        "delete" => delete.to_vec(),
        "deletecollection" => list[1..8].iter().chain(&delete).copied().collect(),
        _ => Vec::new(),
    };
    names
        .iter()
        .filter_map(|name| name.split_once(':'))
        .map(|(name, ty)| query(name, ty))
        .collect()
}

fn query(name: &str, ty: &str) -> Value {
    json!({"name": name, "in": "query", "schema": {"type": ty, "uniqueItems": true}})
}

fn path_parameter(name: &str) -> Value {
    json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}})
}

/// A group in the names of operations: `core`, `apps`, `rbacAuthorization`.
fn group_word(group: &str) -> String {
    let group = group.strip_suffix(".k8s.io").unwrap_or(group);
    if group.is_empty() {
        return "core".to_owned();
    }
    let mut word = String::new();
    for (index, part) in group.split('.').enumerate() {
        if index == 0 {
            word.push_str(part)
        } else {
            word.push_str(&capital(part))
        }
    }
    word
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

fn operation_id(resource: &Resource, verb: &str, in_namespace: bool, subresource: Option<&Subresource>) -> String {
    let verb = match verb {
        "get" => "read",
        "update" => "replace",
        "deletecollection" => "deleteCollection",
        other => other,
    };
    let (verb, collection) = verb
        .split_once("Collection")
        .map_or((verb, ""), |(verb, _)| (verb, "Collection"));
    let (group, version) = (capital(&group_word(&resource.group)), capital(&resource.version));
    let scope = if in_namespace { "Namespaced" } else { "" };
    let below = subresource
        .map(|subresource| capital(&subresource.name))
        .unwrap_or_default();
    let everywhere = if resource.namespaced && !in_namespace {
        "ForAllNamespaces"
    } else {
        ""
    };
    format!(
        "{verb}{group}{version}{collection}{scope}{}{below}{everywhere}",
        resource.kind
    )
}
