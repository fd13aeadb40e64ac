//! `/openapi/v3`: the index, and a document for each group version, which clients may keep by its hash.

use api::openapi;
use http::Response;
use http::header::HeaderValue;
use http::request::Parts;
use meta::Status;

use super::discovery::tagged;
use super::version;
use crate::core::Core;
use crate::http::Body;
use crate::http::query::Query;

/// Answers what is below `/openapi`.
pub(crate) fn serve(core: &Core, rest: &[&str], parts: &Parts, query: &Query) -> Result<Response<Body>, Status> {
    let documents = &core.documents;
    let (catalog, own) = (documents.catalog, version::git_version());
    let (name, (group, of)) = match rest {
        ["v3"] => ("index".to_owned(), ("", "")),
        ["v3", "api", of] => (format!("v3//{of}"), ("", *of)),
        ["v3", "apis", group, of] => (format!("v3/{group}/{of}"), (*group, *of)),
        _ => return Ok(super::not_found()),
    };
    let made = documents.get(&name, || match of {
        "" => Some(openapi::index(catalog, &own)),
        of => openapi::document(catalog, group, of, &own),
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
