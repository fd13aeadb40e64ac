//! `/openapi/v2`, one document of everything, and `/openapi/v3`: the index, and a document for each group version, which clients may keep by its hash.

use api::openapi::v2::PROTOBUF;
use api::openapi::{self, v2};
use http::Response;
use http::header::{ACCEPT, HeaderValue};
use http::request::Parts;
use meta::Status;
use serde_json::Value;

use super::Documents;
use super::discovery::tagged;
use super::{descriptions, version};
use crate::core::Core;
use crate::http::Body;
use crate::http::query::Query;

/// Answers what is below `/openapi`.
pub(crate) fn serve(core: &Core, rest: &[&str], parts: &Parts, query: &Query) -> Result<Response<Body>, Status> {
    let served = core.kinds.now();
    let documents = &served.documents;
    let (catalog, own) = (&documents.catalog, version::git_version());
    if rest == ["v2"] {
        return two(documents, parts);
    }
    let (name, (group, of)) = match rest {
        ["v3"] => ("index".to_owned(), ("", "")),
        ["v3", "api", of] => (format!("v3//{of}"), ("", *of)),
        ["v3", "apis", group, of] => (format!("v3/{group}/{of}"), (*group, *of)),
        _ => return Ok(super::not_found()),
    };
    let made = documents.get(&name, || match of {
        "" => serde_json::to_vec(&openapi::index(catalog, &own)).ok(),
        of => described(openapi::document(catalog, group, of, &own)?),
    });
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

/// `/openapi/v2`: everything in one document, as JSON or in protobuf.
fn two(documents: &Documents, parts: &Parts) -> Result<Response<Body>, Status> {
    let (catalog, own) = (&documents.catalog, version::git_version());
    let accept = parts.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
    let accept = accept
        .filter(|accept| !accept.trim().is_empty())
        .unwrap_or("application/json");
    let media_types = accept
        .split(',')
        .map(|range| range.split(';').next().unwrap_or_default().trim());
    for media_type in media_types {
        let document = match media_type {
            "application/json" | "*/*" | "application/*" => {
                documents.get("v2/json", || Some(v2::json(catalog, &own, descriptions::describe)))
            }
            // The second is the old name of the same.
            PROTOBUF | "application/com.github.proto-openapi.spec.v2.v1.0+protobuf" => documents
                .get("v2/protobuf", || {
                    Some(v2::protobuf(catalog, &own, descriptions::describe))
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
