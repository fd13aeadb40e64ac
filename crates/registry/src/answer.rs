//! Answers: bodies, and errors in the form and with the codes that the specification has.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use image::{Error, Refused};
use serde_json::{Value, json};

use crate::Body;

/// Pieces of a blob that wait for a slow reader.
const QUEUE: usize = 4;
const PIECE: usize = 256 << 10;

/// Why a request isn't done.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: StatusCode,
    code: &'static str,
    message: String,
    headers: Vec<(&'static str, String)>,
}

impl Failure {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            headers: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn no_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "the registry has no such path")
    }

    pub(crate) fn unsupported() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "UNSUPPORTED",
            "this can't be done with such a path",
        )
    }

    pub(crate) fn name(error: Error) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "NAME_INVALID", error.to_string())
    }

    pub(crate) fn digest(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message)
    }

    pub(crate) fn manifest_unknown(reference: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "MANIFEST_UNKNOWN",
            format!("there is no manifest {reference}"),
        )
    }

    pub(crate) fn blob_unknown(digest: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "BLOB_UNKNOWN",
            format!("there is no blob {digest}"),
        )
    }

    pub(crate) fn upload_unknown() -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", "there is no such upload")
    }

    pub(crate) fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::warn!(%error, "the registry");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "UNKNOWN",
            "the registry failed; its log says why",
        )
    }

    /// The body broke off or couldn't be read.
    pub(crate) fn body(error: &dyn std::fmt::Display) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "BLOB_UPLOAD_INVALID",
            format!("reading the body: {error}"),
        )
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let document = json!({"errors": [{"code": self.code, "message": self.message, "detail": null}]});
        let mut response = json_of(self.status, "application/json", &document);
        for (name, value) in self.headers {
            set(&mut response, name, &value);
        }
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match &error {
            Error::Digest { .. } => Self::digest(error.to_string()),
            Error::Reference(_) => Self::new(StatusCode::BAD_REQUEST, "TAG_INVALID", error.to_string()),
            // The only documents that come from outside here are digests and names.
            Error::Invalid { what, .. } if what.starts_with("digest") => Self::digest(error.to_string()),
            other => Self::internal(other),
        }
    }
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let (status, code) = match refused {
            Refused::Store(error) => return error.into(),
            Refused::Invalid(_) => (StatusCode::BAD_REQUEST, "MANIFEST_INVALID"),
            Refused::Digest(_) => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            Refused::Unknown(_) => (StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN"),
        };
        Self::new(status, code, refused.to_string())
    }
}

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

pub(crate) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(full(Bytes::new()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

pub(crate) fn json_of(status: StatusCode, media_type: &str, document: &Value) -> Response<Body> {
    let bytes = document.to_string();
    let length = bytes.len();
    let mut response = Response::new(full(bytes));
    *response.status_mut() = status;
    set(&mut response, CONTENT_TYPE.as_str(), media_type);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// Sets a header; a value that can't be one is left out.
pub(crate) fn set(response: &mut Response<Body>, name: &str, value: &str) {
    if let (Ok(name), Ok(value)) = (
        http::HeaderName::from_bytes(name.as_bytes()),
        HeaderValue::from_str(value),
    ) {
        response.headers_mut().insert(name, value);
    }
}

/// The head of an answer alone, its length included.
pub(crate) fn without_body(response: Response<Body>) -> Response<Body> {
    response.map(|_| full(Bytes::new()))
}

/// Part of a file, read as it is taken.
pub(crate) fn file(path: PathBuf, from: u64, length: u64) -> Body {
    let (sender, receiver) = tokio::sync::mpsc::channel(QUEUE);
    tokio::task::spawn_blocking(move || {
        let open = || -> std::io::Result<std::io::Take<File>> {
            let mut file = File::open(path)?;
            file.seek(SeekFrom::Start(from))?;
            Ok(file.take(length))
        };
        let mut file = match open() {
            Ok(file) => file,
            Err(error) => return drop(sender.blocking_send(Err(error))),
        };
        loop {
            let size = usize::try_from(file.limit()).unwrap_or(PIECE).min(PIECE);
            let mut piece = vec![0; size];
            match file.read(&mut piece) {
                Ok(0) => return,
                Ok(read) => {
                    piece.truncate(read);
                    if sender.blocking_send(Ok(Frame::data(Bytes::from(piece)))).is_err() {
                        return;
                    }
                }
                Err(error) => return drop(sender.blocking_send(Err(error))),
            }
        }
    });
    let frames = futures::stream::unfold(receiver, |mut receiver| async move {
        let frame = receiver.recv().await?;
        Some((frame, receiver))
    });
    StreamBody::new(frames).boxed_unsync()
}
