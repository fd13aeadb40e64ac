//! Where a node opens the connection on which the server calls it.

use std::sync::Arc;

use http::header::{CONNECTION, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use meta::{GroupResource, Status};

use crate::core::Core;
use crate::http::Body;
use crate::user::User;

/// Takes over the connection of a node.
pub(crate) fn open(core: &Arc<Core>, user: &User, parts: &mut Parts) -> Result<Response<Body>, Status> {
    let Some(node) = user.node().map(str::to_owned) else {
        let why = format!("User {:?} is no node: only a node may open its tunnel", user.name);
        return Err(Status::forbidden(&GroupResource::default(), "", why));
    };
    let asked = parts.headers.get(UPGRADE).and_then(|value| value.to_str().ok());
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    let (Some(tunnel::PROTOCOL), Some(upgrade)) = (asked, upgrade) else {
        return Err(Status::bad_request(format!(
            "an upgrade to {:?} over HTTP/1.1 is required",
            tunnel::PROTOCOL
        )));
    };
    let core = Arc::clone(core);
    tokio::spawn(async move {
        let link = match upgrade.await {
            Ok(upgraded) => tunnel::accept(upgraded).await,
            Err(error) => Err(error.into()),
        };
        match link {
            Ok((link, closed)) => {
                let registration = core.tunnels.register(&node, link);
                tracing::info!(%node, "a node has opened its tunnel");
                tokio::select! {
                    _ = closed => {}
                    () = core.stopping.cancelled() => {}
                }
                drop(registration);
                tracing::info!(%node, "a node's tunnel is closed");
            }
            Err(error) => tracing::warn!(%node, %error, "a tunnel could not be opened"),
        }
    });
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    response
        .headers_mut()
        .insert(UPGRADE, HeaderValue::from_static(tunnel::PROTOCOL));
    Ok(response)
}
