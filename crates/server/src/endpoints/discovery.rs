//! What is served: the groups, their versions and resources, one by one or aggregated.

use std::collections::HashMap;

use api::discovery::{self, AGGREGATED};
use api::resource::Catalog;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use http::request::Parts;
use http::{Response, StatusCode};
use meta::Status;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::core::Core;
use crate::http::Body;

/// The documents about the API itself, each made when it is first asked for.
pub(crate) struct Documents {
    pub(super) catalog: &'static Catalog,
    made: Mutex<HashMap<String, Document>>,
}

/// One document with what it is known by.
#[derive(Clone)]
pub(super) struct Document {
    pub(super) bytes: Bytes,
    pub(super) tag: String,
}

impl Documents {
    pub(crate) fn new(catalog: &'static Catalog) -> Documents {
        Documents {
            catalog,
            made: Mutex::default(),
        }
    }

    /// The document of a name, made now if need be; none when there is none of that name.
    pub(super) fn get(&self, name: &str, make: impl FnOnce() -> Option<serde_json::Value>) -> Option<Document> {
        if let Some(document) = self.made.lock().get(name) {
            return Some(document.clone());
        }
        let bytes = Bytes::from(serde_json::to_vec(&make()?).ok()?);
        let tag = hex::encode_upper(Sha256::digest(&bytes));
        let document = Document { bytes, tag };
        self.made.lock().insert(name.to_owned(), document.clone());
        Some(document)
    }
}

/// Answers `/api`, `/apis` and what lies below, as far as it is no resource.
pub(crate) fn serve(core: &Core, words: &[&str], parts: &Parts) -> Result<Response<Body>, Status> {
    let documents = &core.documents;
    let catalog = documents.catalog;
    if let [root] = words
        && wants_aggregated(&parts.headers)
    {
        let legacy = *root == "api";
        let document = documents.get(&format!("aggregated/{root}"), || {
            Some(discovery::aggregated(catalog, legacy))
        });
        let document = document.ok_or_else(|| Status::internal("discovery can't be written"))?;
        return Ok(tagged(&document, AGGREGATED, &parts.headers));
    }
    let address = format!("{}:{}", core.config.advertise_address, core.config.listen.port());
    let document = match words {
        ["api"] => Some(discovery::legacy_versions(&address)),
        ["apis"] => Some(discovery::groups(catalog)),
        ["api", version] => discovery::resources(catalog, "", version),
        ["apis", name] => discovery::group(catalog, name),
        ["apis", group, version] => discovery::resources(catalog, group, version),
        _ => None,
    };
    match document {
        Some(document) => super::json_response(&document),
        None => Ok(super::not_found()),
    }
}

fn wants_aggregated(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    accept.split(',').any(|range| {
        let has = |part: &str| range.split(';').any(|have| have.trim() == part);
        has("as=APIGroupDiscoveryList") && has("v=v2") && has("application/json")
    })
}

/// A document that a client may keep: it is sent only if the client hasn't got it.
pub(super) fn tagged(document: &Document, content_type: &'static str, headers: &HeaderMap) -> Response<Body> {
    let tag = format!("\"{}\"", document.tag);
    let known = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let mut response = if known.is_some_and(|known| known.trim_matches('"') == document.tag) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        Response::new(Body::full(document.bytes.clone()))
    };
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    out.insert("vary", HeaderValue::from_static("Accept"));
    out.insert("cache-control", HeaderValue::from_static("public"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        out.insert(ETAG, tag);
    }
    response
}
