//! `/openapi/v2`, one document of everything, and `/openapi/v3`: the index, and a document for each group version, which clients may keep by its hash.

use std::sync::Arc;

use api::openapi::foreign::Foreign;
use api::openapi::v2::{OLD_PROTOBUF, PROTOBUF};
use api::openapi::{self, v2};
use bytes::Bytes;
use http::Response;
use http::header::{ACCEPT, HeaderValue};
use http::request::Parts;
use http_body_util::Empty;
use meta::Status;
use serde_json::{Value, json};

use super::Documents;
use super::discovery::tagged;
use super::{descriptions, version};
use crate::aggregation::{self, Routes, Three};
use crate::core::Core;
use crate::http::Body;
use crate::http::body::incoming;
use crate::http::query::Query;
use crate::user::User;

/// Answers what is below `/openapi`.
pub(crate) async fn serve(
    core: &Arc<Core>,
    user: &User,
    rest: &[&str],
    parts: &mut Parts,
    query: &Query,
) -> Result<Response<Body>, Status> {
    let (served, routes) = (core.kinds.now(), core.aggregation.now());
    let documents = &served.documents;
    let (catalog, own) = (&documents.catalog, version::git_version());
    let foreign = match rest {
        ["v3", "apis", group, of] => routes.get(group, of),
        _ => None,
    };
    if let Some(route) = foreign
        && let Some(Three::Own(_)) = route.learned.as_ref().map(|learned| &learned.three)
    {
        let nothing = incoming(Empty::<Bytes>::new());
        let audit_id = parts.headers.get("audit-id").and_then(|id| id.to_str().ok());
        let audit_id = audit_id.unwrap_or_default().to_owned();
        return aggregation::pass(core, user, parts, nothing, route, &audit_id).await;
    }
    if rest == ["v2"] {
        return two(documents, &routes, parts);
    }
    let (name, (group, of)) = match rest {
        ["v3"] => ("index".to_owned(), ("", "")),
        ["v3", "api", of] => (format!("v3//{of}"), ("", *of)),
        ["v3", "apis", group, of] => (format!("v3/{group}/{of}"), (*group, *of)),
        _ => return Ok(super::not_found()),
    };
    let made = match (of, foreign) {
        ("", _) => documents.get_merged(&name, &routes, || {
            serde_json::to_vec(&index(openapi::index(catalog, &own), &routes)).ok()
        }),
        (_, Some(route)) => documents.get_merged(&name, &routes, || match &route.learned.as_ref()?.three {
            Three::Made { document, .. } => Some(document.to_vec()),
            _ => None,
        }),
        (of, None) => documents.get(&name, || described(openapi::document(catalog, group, of, &own)?)),
    };
    let Some(document) = made else {
        return Ok(super::not_found());
    };
    let mut response = tagged(&document, "application/json", &parts.headers);
    if query.has("hash") && !of.is_empty() {
        // An address with a hash names one document for good.
        let forever = HeaderValue::from_static("public, immutable");
        response.headers_mut().insert("cache-control", forever);
    }
    Ok(response)
}

/// The index with the addresses of others' documents.
fn index(mut index: Value, routes: &Routes) -> Value {
    for route in routes.all() {
        let name = format!("apis/{}/{}", route.remote.group, route.remote.version);
        let address = match route.learned.as_ref().map(|learned| &learned.three) {
            Some(Three::Own(address) | Three::Made { address, .. }) => Some(address),
            _ => None,
        };
        let Some(paths) = index["paths"].as_object_mut() else {
            continue;
        };
        match address {
            Some(address) => paths.insert(name, json!({"serverRelativeURL": address})),
            None => paths.remove(&name),
        };
    }
    index
}

/// `/openapi/v2`: everything in one document, as JSON or in protobuf.
fn two(documents: &Documents, routes: &Routes, parts: &Parts) -> Result<Response<Body>, Status> {
    let (catalog, own) = (&documents.catalog, version::git_version());
    let learned: Vec<Arc<Foreign>> = routes
        .all()
        .filter_map(|route| route.learned.as_ref()?.two.clone())
        .collect();
    let foreign: Vec<&Foreign> = learned.iter().map(|one| &**one).collect();
    let accept = parts.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let accept = accept
        .filter(|accept| !accept.trim().is_empty())
        .unwrap_or("application/json");
    let media_types = accept
        .split(',')
        .map(|range| range.split(';').next().unwrap_or_default().trim());
    for media_type in media_types {
        let document = match media_type {
            "application/json" | "*/*" | "application/*" => documents.get_merged("v2/json", routes, || {
                Some(v2::json(catalog, &own, descriptions::describe, &foreign))
            }),
            PROTOBUF | OLD_PROTOBUF => documents.get_merged("v2/protobuf", routes, || {
                Some(v2::protobuf(catalog, &own, descriptions::describe, &foreign))
            }),
            _ => continue,
        };
        let content_type = if media_type.ends_with("+protobuf") {
            PROTOBUF
        } else {
            "application/json"
        };
        let document = document.ok_or_else(|| Status::internal("the document can't be written"))?;
        return Ok(tagged(&document, content_type, &parts.headers));
    }
    Err(Status::not_acceptable(&["application/json", PROTOBUF]))
}

fn described(mut document: Value) -> Option<Vec<u8>> {
    let schemas = document
        .pointer_mut("/components/schemas")
        .and_then(Value::as_object_mut);
    schemas.into_iter().for_each(descriptions::describe);
    serde_json::to_vec(&document).ok()
}
