//! What a request is answered with, and the HTTP response made from it.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use meta::{Revision, Status};
use serde_json::Value;

use super::{Call, render};
use crate::http::Body;
use crate::http::negotiate::{Shape, Wanted, Wire};
use crate::kinds::Kind;

/// Answers larger than this are compressed for whoever can read that.
const GZIP_FROM: usize = 128 * 1024;

/// An answer.
pub(crate) enum Answer {
    /// A stored object.
    Object {
        code: StatusCode,
        stored: Bytes,
        revision: Revision,
    },
    /// A tree that is no object of the resource itself (a scale, a review, a token).
    Tree { code: StatusCode, object: Value },
    /// Success without an object.
    Status(Status),
    /// A response that is complete.
    Raw(Response<Body>),
}

impl Answer {
    /// A tree of the resource that isn't stored (dry run) or was just made.
    pub(crate) fn of_tree(kind: &Kind, code: StatusCode, tree: &Value, revision: Revision) -> Result<Answer, Status> {
        Ok(Answer::Object {
            code,
            stored: kind.stored(tree)?,
            revision,
        })
    }

    pub(crate) fn into_response(self, call: &Call) -> Result<Response<Body>, Status> {
        let mut response = match self {
            Answer::Raw(response) => response,
            Answer::Status(status) => of_status(&status, call.wanted),
            Answer::Object { code, stored, revision } => {
                let bytes = render::object(call, &stored, revision)?;
                full(code, call.wanted, bytes)
            }
            Answer::Tree { code, object } => {
                let wanted = Wanted {
                    shape: Shape::Object,
                    ..call.wanted
                };
                full(code, wanted, render::tree(&object, wanted)?)
            }
        };
        add_warnings(call, &mut response);
        Ok(response)
    }
}

/// Adds what the client is to be told beside the answer, also beside a refusal.
pub(crate) fn add_warnings(call: &Call, response: &mut Response<Body>) {
    for text in call.warnings.lock().drain(..) {
        if let Ok(value) = HeaderValue::from_str(&format!("299 - {}", meta::quote(&text))) {
            response.headers_mut().append("warning", value);
        }
    }
}

/// A response whose bytes are all there.
pub(crate) fn full(code: StatusCode, wanted: Wanted, bytes: Bytes) -> Response<Body> {
    let zip = wanted.gzip && bytes.len() > GZIP_FROM;
    let body = if zip {
        Body::full(gzip(&bytes))
    } else {
        Body::full(bytes)
    };
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(wanted.content_type()));
    headers.insert("cache-control", HeaderValue::from_static("no-cache, private"));
    if zip {
        headers.insert("content-encoding", HeaderValue::from_static("gzip"));
        headers.insert("vary", HeaderValue::from_static("Accept-Encoding"));
    }
    response
}

/// A Status as a response.
pub(crate) fn of_status(status: &Status, wanted: Wanted) -> Response<Body> {
    let wanted = Wanted {
        shape: Shape::Object,
        ..wanted
    };
    let plain = wanted.wire == Wire::Json && !wanted.pretty;
    let rendered = if plain {
        None
    } else {
        render::tree(&status.to_value(), wanted).ok()
    };
    let (bytes, wanted) = match rendered {
        Some(bytes) => (bytes, wanted),
        None => (status.to_json().into(), Wanted::JSON),
    };
    let code = StatusCode::from_u16(status.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = full(code, wanted, bytes);
    let retry = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    if retry > 0 && matches!(status.code, 429 | 500..) {
        response.headers_mut().insert("retry-after", HeaderValue::from(retry));
    }
    response
}

/// Compresses, quickly.
pub(crate) fn gzip(bytes: &[u8]) -> Bytes {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::with_capacity(bytes.len() / 4), flate2::Compression::fast());
    // Writing into memory can't fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default().into()
}

/// The Status that tells of a deletion.
pub(crate) fn deleted(kind: &Kind, name: &str, uid: &str) -> Answer {
    Answer::Status(Status::success(Some(meta::Details {
        name: name.to_owned(),
        group: kind.resource.group.clone(),
        kind: kind.resource.resource.clone(),
        uid: (!uid.is_empty()).then(|| meta::Uid::from(uid)),
        ..meta::Details::default()
    })))
}
