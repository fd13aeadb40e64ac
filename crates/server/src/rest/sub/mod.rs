//! What lies below an object's path, and the resources whose objects are questions that nobody keeps.

mod access;
mod binding;
mod components;
mod connect;
mod eviction;
mod node_call;
pub(crate) mod proxy;
pub(crate) mod scale;
mod stream;
mod token;
mod token_review;
mod usage;

use bytes::Bytes;
use http_body::Frame;
use meta::Status;
use tokio::sync::mpsc;

use super::{Answer, Call, get, patch, update};

/// Answers a request for a subresource.
pub(crate) async fn handle(call: &Call) -> Result<Answer, Status> {
    let name = call.subresource();
    let Some(known) = call.kind.row.subresource(name) else {
        return Ok(Answer::Raw(crate::endpoints::not_found()));
    };
    // Methods that have no verb (OPTIONS) are the proxied server's business.
    if name == "proxy" {
        connect::admit(call).await?;
        return proxy::handle(call).await;
    }
    // A stream is opened by a GET (websocket) or a POST (SPDY).
    if !known.verbs.contains(&call.verb) {
        return Err(Status::method_not_allowed(&call.kind.resource, call.verb));
    }
    if matches!(name, "exec" | "attach" | "portforward") {
        connect::admit(call).await?;
    }
    let plural = call.kind.resource.resource.as_str();
    match (call.kind.resource.group.as_str(), plural, name) {
        (_, _, "scale") => scale::handle(call).await,
        ("", "pods", "binding") => binding::of_pod(call).await,
        ("", "pods", "eviction") => eviction::evict(call).await,
        ("", "pods", "log") => node_call::log(call).await,
        ("", "pods", "exec") => stream::exec(call).await,
        ("", "pods", "attach") => stream::attach(call).await,
        ("", "pods", "portforward") => stream::forward::portforward(call).await,
        ("", "serviceaccounts", "token") => token::request(call).await,
        _ => match call.verb {
            "get" => get::get(call).await,
            "update" => update::put(call).await,
            "patch" => patch::patch(call).await,
            verb => Err(Status::method_not_allowed(&call.kind.resource, verb)),
        },
    }
}

/// Answers a resource that is asked and not kept.
pub(crate) async fn review(call: &Call) -> Result<Answer, Status> {
    match (call.kind.resource.group.as_str(), call.kind.resource.resource.as_str()) {
        ("", "bindings") => binding::of_collection(call).await,
        ("", "componentstatuses") => components::statuses(call).await,
        ("authentication.k8s.io", "tokenreviews") => token_review::review(call).await,
        ("authentication.k8s.io", "selfsubjectreviews") => token_review::myself(call),
        ("authorization.k8s.io", "selfsubjectrulesreviews") => access::rules(call),
        ("authorization.k8s.io", _) => access::review(call),
        ("metrics.k8s.io", _) => usage::metrics(call).await,
        _ => Err(Status::method_not_allowed(&call.kind.resource, call.verb)),
    }
}

/// What a task sends, as the body of a request to a node.
fn pieces(from: mpsc::Receiver<Bytes>) -> impl futures::Stream<Item = std::io::Result<Frame<Bytes>>> + Send {
    futures::stream::unfold(from, |mut pieces| async move {
        let bytes = pieces.recv().await?;
        Some((Ok(Frame::data(bytes)), pieces))
    })
}
