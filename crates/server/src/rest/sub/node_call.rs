//! Calls to the node that a pod runs on, through the node's tunnel: which container is meant, and its log.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use meta::Status;
use serde_json::Value;

use super::{Answer, Call};
use crate::core::Core;
use crate::http::Body;
use crate::object::{self, text};
use crate::rest::update;

/// How long a call waits for a node whose tunnel isn't open: it redials after a restart of either end.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// How much of a node's complaint is passed on.
const MAX_COMPLAINT: usize = 16 * 1024;

/// A container of a pod on a node.
pub(super) struct Place {
    pub(super) pod: Value,
    pub(super) node: String,
    pub(super) container: String,
}

/// Answers a GET of `pods/NAME/log`.
pub(super) async fn log(call: &Call) -> Result<Answer, Status> {
    let place = find(call).await?;
    if place.node.is_empty() {
        // Not scheduled yet: there is nothing to read.
        return Ok(Answer::Raw(plain(Body::empty())));
    }
    let mut query = Query::default();
    for name in [
        "follow",
        "previous",
        "sinceSeconds",
        "sinceTime",
        "timestamps",
        "tailLines",
        "limitBytes",
        "stream",
    ] {
        if let Some(value) = call.query.get(name) {
            query.add(name, value);
        }
    }
    let path = format!("/containerLogs/{}{}", path_of(&place), query.0);
    let body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    let answer = send(call, &place.node, Method::GET, &path, body).await?;
    Ok(Answer::Raw(plain(Body::foreign(answer.into_body()))))
}

fn plain(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    response
}

/// `NAMESPACE/POD/CONTAINER` of the kubelet's paths.
pub(super) fn path_of(place: &Place) -> String {
    let pod = &place.pod;
    format!("{}/{}/{}", object::namespace(pod), object::name(pod), place.container)
}

/// Finds the pod, and the container that the query names or that there is only one of.
pub(super) async fn find(call: &Call) -> Result<Place, Status> {
    let name = call.name()?;
    let current = update::current(&call.core, &call.kind, call.namespace(), name).await?;
    let pod = current.ok_or_else(|| call.kind.not_found(name))?.tree;
    let names = |list: &str| -> Vec<String> {
        let containers = pod["spec"][list].as_array().into_iter().flatten();
        containers
            .map(|container| text(container, &["name"]).to_owned())
            .collect()
    };
    let (own, init, ephemeral) = (
        names("containers"),
        names("initContainers"),
        names("ephemeralContainers"),
    );
    let wanted = call.query.get("container").unwrap_or_default();
    let container = match (wanted, own.as_slice()) {
        ("", [only]) => only.clone(),
        ("", _) => {
            let mut why = format!(
                "a container name must be specified for pod {name}, choose one of: [{}]",
                own.join(" ")
            );
            if !init.is_empty() {
                why.push_str(&format!(" or one of the init containers: [{}]", init.join(" ")));
            }
            if !ephemeral.is_empty() {
                why.push_str(&format!(
                    " or one of the ephemeral containers: [{}]",
                    ephemeral.join(" ")
                ));
            }
            return Err(Status::bad_request(why));
        }
        (wanted, _) => {
            if ![&own, &init, &ephemeral]
                .iter()
                .any(|list| list.iter().any(|known| known == wanted))
            {
                return Err(Status::bad_request(format!(
                    "container {wanted} is not valid for pod {name}"
                )));
            }
            wanted.to_owned()
        }
    };
    let node = text(&pod, &["spec", "nodeName"]).to_owned();
    Ok(Place { pod, node, container })
}

/// The text of a query, escaped.
#[derive(Default)]
pub(super) struct Query(pub(super) String);

impl Query {
    pub(super) fn add(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        for byte in value.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => self.0.push(char::from(byte)),
                other => self.0.push_str(&format!("%{other:02X}")),
            }
        }
    }
}

/// Sends a request to a node; anything but success comes back as the Status to answer with.
pub(super) async fn send(
    call: &Call,
    node: &str,
    method: Method,
    path: &str,
    body: tunnel::Body,
) -> Result<Response<Incoming>, Status> {
    send_to(&call.core, node, method, path, body).await
}

/// The same for one who outlives the call.
pub(super) async fn send_to(
    core: &Core,
    node: &str,
    method: Method,
    path: &str,
    body: tunnel::Body,
) -> Result<Response<Incoming>, Status> {
    let unavailable = |error: tunnel::Error| Status::service_unavailable(error.to_string());
    let link = core.tunnels.get_within(node, PATIENCE).await.map_err(unavailable)?;
    let request = Request::builder().method(method).uri(format!("http://{node}{path}"));
    let request = request.body(body).map_err(Status::internal)?;
    let answer = link.send(request).await.map_err(unavailable)?;
    if answer.status() == StatusCode::OK {
        return Ok(answer);
    }
    Err(complaint(answer).await)
}

/// What a node complains of: a Status when it says so itself, or its text.
async fn complaint(answer: Response<Incoming>) -> Status {
    let code = answer.status().as_u16();
    let body = Limited::new(answer.into_body(), MAX_COMPLAINT).collect().await;
    let bytes = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    if let Ok(tree) = serde_json::from_slice::<Value>(&bytes)
        && tree["kind"] == "Status"
        && let Ok(status) = serde_json::from_value(tree)
    {
        return status;
    }
    let message = String::from_utf8_lossy(&bytes).trim().to_owned();
    match code {
        400 => Status::bad_request(message),
        404 => Status::failure(
            404,
            "NotFound",
            format!("the server could not find the requested resource: {message}"),
        ),
        // What the node was to connect to isn't there.
        502 => Status::service_unavailable(message),
        _ => Status::internal(message),
    }
}

/// A pod that has no node yet can't be entered.
pub(super) fn no_host(call: &Call) -> Status {
    let name = call.path.name.as_deref().unwrap_or_default();
    Status::bad_request(format!("pod {name} does not have a host assigned"))
}
