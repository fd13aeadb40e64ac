//! What is served: the groups, their versions and resources, one by one or aggregated.

use std::collections::HashMap;
use std::io::Read as _;

use api::discovery::{self, AGGREGATED};
use api::resource::Catalog;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use http::request::Parts;
use http::{Response, StatusCode};
use meta::Status;
use parking_lot::Mutex;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::aggregation::{self, Routes};
use crate::core::Core;
use crate::http::{Body, negotiate};
use crate::rest::answer::gzip;

/// The documents about the API itself, each made when it is first asked for.
pub(crate) struct Documents {
    pub(super) catalog: Catalog,
    made: Mutex<HashMap<String, Document>>,
    merged: Mutex<Merged>,
}

/// The documents that have parts of other servers, as of one state of those.
#[derive(Default)]
struct Merged {
    generation: u64,
    made: HashMap<String, Document>,
}

/// One document with what it is known by. A large one is kept compressed: most clients read it so, and few read it.
#[derive(Clone)]
pub(super) struct Document {
    bytes: Bytes,
    gzipped: bool,
    tag: String,
}

/// Documents larger than this are kept compressed.
const GZIP_FROM: usize = 16 * 1024;

impl Document {
    fn new(plain: Vec<u8>) -> Document {
        let tag = hex::encode_upper(Sha256::digest(&plain));
        let gzipped = plain.len() > GZIP_FROM;
        let bytes = if gzipped { gzip(&plain) } else { plain.into() };
        Document { bytes, gzipped, tag }
    }
}

impl Documents {
    pub(crate) fn new(catalog: Catalog) -> Documents {
        Documents {
            catalog,
            made: Mutex::default(),
            merged: Mutex::default(),
        }
    }

    /// The document of a name, made now if need be; none when there is none of that name.
    pub(super) fn get(&self, name: &str, make: impl FnOnce() -> Option<Vec<u8>>) -> Option<Document> {
        if let Some(document) = self.made.lock().get(name) {
            return Some(document.clone());
        }
        let document = Document::new(make()?);
        self.made.lock().insert(name.to_owned(), document.clone());
        Some(document)
    }

    /// The same for a document with parts of other servers.
    pub(super) fn get_merged(
        &self,
        name: &str,
        routes: &Routes,
        make: impl FnOnce() -> Option<Vec<u8>>,
    ) -> Option<Document> {
        if routes.is_empty() {
            return self.get(name, make);
        }
        {
            let mut merged = self.merged.lock();
            if merged.generation != routes.generation {
                *merged = Merged {
                    generation: routes.generation,
                    ..Merged::default()
                };
            }
            if let Some(document) = merged.made.get(name) {
                return Some(document.clone());
            }
        }
        let document = Document::new(make()?);
        let mut merged = self.merged.lock();
        if merged.generation == routes.generation {
            merged.made.insert(name.to_owned(), document.clone());
        }
        Some(document)
    }
}

/// Answers `/api`, `/apis` and what lies below, as far as it is no resource.
pub(crate) fn serve(core: &Core, words: &[&str], parts: &Parts) -> Result<Response<Body>, Status> {
    let (served, routes) = (core.kinds.now(), core.aggregation.now());
    let documents = &served.documents;
    let catalog = &documents.catalog;
    if let [root] = words
        && wants_aggregated(&parts.headers)
    {
        let document = documents.get_merged(&format!("aggregated/{root}"), &routes, || {
            let document = match *root {
                "apis" if !routes.is_empty() => aggregation::aggregated(catalog, &routes),
                root => discovery::aggregated(catalog, root == "api"),
            };
            serde_json::to_vec(&document).ok()
        });
        let document = document.ok_or_else(|| Status::internal("discovery can't be written"))?;
        return Ok(tagged(&document, AGGREGATED, &parts.headers));
    }
    let address = format!("{}:{}", core.config.advertise_address, core.config.listen.port());
    let document = match words {
        ["api"] => Some(discovery::legacy_versions(&address)),
        ["apis"] if !routes.is_empty() => Some(groups(catalog, &routes)),
        ["apis"] => Some(discovery::groups(catalog)),
        ["api", version] => discovery::resources(catalog, "", version),
        ["apis", name] if !routes.is_empty() => group(catalog, &routes, name),
        ["apis", name] => discovery::group(catalog, name),
        ["apis", group, version] => discovery::resources(catalog, group, version),
        _ => None,
    };
    match document {
        Some(document) => super::json_response(&document),
        None => Ok(super::not_found()),
    }
}

/// All groups with names, others' among this server's.
fn groups(catalog: &Catalog, routes: &Routes) -> Value {
    let groups = aggregation::order(catalog, routes).into_iter();
    let groups: Vec<Value> = groups
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, versions)| {
            let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
            Value::Object(discovery::group_body(&name, &versions))
        })
        .collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// A group by its name, whoever serves its versions.
fn group(catalog: &Catalog, routes: &Routes, name: &str) -> Option<Value> {
    let mut groups = aggregation::order(catalog, routes).into_iter();
    let (name, versions) = groups.find(|(known, _)| known == name && !known.is_empty())?;
    let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
    Some(discovery::group_document(&name, &versions))
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
    } else if document.gzipped && !negotiate::accepts_gzip(headers) {
        Response::new(Body::full(gunzip(&document.bytes)))
    } else {
        let mut response = Response::new(Body::full(document.bytes.clone()));
        if document.gzipped {
            let coding = HeaderValue::from_static("gzip");
            response.headers_mut().insert(CONTENT_ENCODING, coding);
        }
        response
    };
    let out = response.headers_mut();
    out.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    out.insert("vary", HeaderValue::from_static("Accept, Accept-Encoding"));
    out.insert("cache-control", HeaderValue::from_static("public"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        out.insert(ETAG, tag);
    }
    response
}

fn gunzip(bytes: &[u8]) -> Bytes {
    let mut plain = Vec::new();
    // The bytes are of our own making.
    let _ = flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain);
    plain.into()
}
