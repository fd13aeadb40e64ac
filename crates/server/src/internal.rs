//! Requests of the server to itself: the same way as everybody's, as a named user.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use meta::Status;
use serde_json::Value;

use crate::core::Core;
use crate::handle::{Identity, handle};
use crate::http::body::incoming;
use crate::user::{MASTERS, User};

/// One request of the server to itself.
pub(crate) async fn send(
    core: &Arc<Core>,
    method: Method,
    path: &str,
    content_type: &str,
    body: &Value,
) -> Result<(), Status> {
    let bytes = Bytes::from(serde_json::to_vec(body).map_err(Status::internal)?);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type)
        .header("user-agent", "gantry-server")
        .body(Full::new(bytes))
        .map_err(Status::internal)?;
    let (parts, body) = request.into_parts();
    let user = Arc::new(User::new("system:apiserver", &[MASTERS]));
    let response = Box::pin(handle(
        Arc::clone(core),
        parts,
        incoming(body),
        Identity::InProcess(user),
    ))
    .await;
    if response.status().is_success() {
        return Ok(());
    }
    let bytes = response
        .into_body()
        .collect()
        .await
        .map_err(Status::internal)?
        .to_bytes();
    Err(serde_json::from_slice(&bytes).unwrap_or_else(|_| Status::internal(String::from_utf8_lossy(&bytes))))
}
