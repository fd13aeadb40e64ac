//! `/openapi/v3` and its documents.

use http::Response;
use http::request::Parts;
use meta::Status;

use crate::core::Core;
use crate::http::Body;
use crate::http::query::Query;

/// Answers what is below `/openapi`.
pub(crate) fn serve(_core: &Core, _rest: &[&str], _parts: &Parts, _query: &Query) -> Result<Response<Body>, Status> {
    Ok(super::not_found())
}
