//! `exec` and `attach`: a client's connection and a frame stream of the node, joined. Everything that can go wrong is
//! found out before the client's connection is upgraded, so that it gets a Status.
//!
//! What a client speaks (websockets, SPDY) is in `websocket` and `spdy_streams`; here it is only what both carry.

mod from_node;
mod spdy_streams;
mod upgrade;
mod websocket;

pub(super) mod forward;

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::upgrade::{OnUpgrade, Upgraded};
use meta::Status;
use tokio::sync::mpsc;

use super::node_call::{self, Place, Query};
use super::{Answer, Call, pieces};
use crate::authz::{self, Attributes, Decision};
use crate::object::text;
use from_node::FromNode;
use upgrade::{Upgrade, Wire};

/// So many pieces may wait for a slow node.
const WAITING: usize = 64;

/// The streams that a client wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

/// Both ends of a program's frames on its node.
struct NodeEnds {
    to_node: mpsc::Sender<Bytes>,
    from_node: FromNode,
}

/// Answers a GET or a POST of `pods/NAME/exec`.
pub(super) async fn exec(call: &Call) -> Result<Answer, Status> {
    permitted(call)?;
    let place = find(call, "exec into").await?;
    let mut query = Query::default();
    for word in call.query.all("command") {
        query.add("command", word);
    }
    if query.0.is_empty() {
        return Err(Status::bad_request(
            "you must specify at least 1 command for the container",
        ));
    }
    run(call, "exec", &place, query).await
}

/// Answers a GET or a POST of `pods/NAME/attach`.
pub(super) async fn attach(call: &Call) -> Result<Answer, Status> {
    permitted(call)?;
    let place = find(call, "attach to").await?;
    run(call, "attach", &place, Query::default()).await
}

/// The container that is meant, on a node, in a pod that has not ended.
async fn find(call: &Call, what: &str) -> Result<Place, Status> {
    let place = node_call::find(call).await?;
    if place.node.is_empty() {
        return Err(node_call::no_host(call));
    }
    let phase = text(&place.pod, &["status", "phase"]);
    if matches!(phase, "Succeeded" | "Failed") {
        let why = format!("cannot {what} a container in a completed pod; current phase is {phase}");
        return Err(Status::bad_request(why));
    }
    Ok(place)
}

async fn run(call: &Call, what: &str, place: &Place, mut query: Query) -> Result<Answer, Status> {
    let asked = Asked::of(call)?;
    for (name, wanted) in [
        ("stdin", asked.stdin),
        ("stdout", asked.stdout),
        ("stderr", asked.stderr),
        ("tty", asked.tty),
    ] {
        if wanted {
            query.add(name, "true");
        }
    }
    let upgrade = Upgrade::of_command(call)?;
    let (to_node, from_client) = mpsc::channel::<Bytes>(WAITING);
    let path = format!("/{what}/{}{}", node_call::path_of(place), query.0);
    let body = StreamBody::new(pieces(from_client)).boxed_unsync();
    let answer = node_call::send(call, &place.node, Method::POST, &path, body).await?;
    let ends = NodeEnds {
        to_node,
        from_node: FromNode::new(answer.into_body()),
    };
    let wire = upgrade.wire;
    carry(call, upgrade.on, async move |client| {
        join(client, wire, asked, ends).await
    });
    Ok(Answer::Raw(upgrade.response))
}

/// Does what is to be done on an upgraded connection, until it is done or the server stops.
fn carry<F>(call: &Call, on: OnUpgrade, work: impl FnOnce(Upgraded) -> F + Send + 'static)
where
    F: Future<Output = ()> + Send,
{
    let stopping = call.core.stopping.clone();
    tokio::spawn(async move {
        match on.await {
            Ok(upgraded) => {
                tokio::select! {
                    () = work(upgraded) => {}
                    () = stopping.cancelled() => {}
                }
            }
            Err(error) => tracing::debug!(%error, "a client went away before its stream began"),
        }
    });
}

async fn join(client: Upgraded, wire: Wire, asked: Asked, ends: NodeEnds) {
    match wire {
        Wire::Channels(form) => websocket::join(client, form, asked, ends).await,
        Wire::Spdy(version) => spdy_streams::join(client, version, asked, ends).await,
    }
}

impl Asked {
    fn of(call: &Call) -> Result<Asked, Status> {
        let flag = |name| call.query.flag(name);
        let tty = flag("tty");
        let asked = Asked {
            stdin: flag("stdin"),
            stdout: flag("stdout"),
            // A terminal has one output.
            stderr: flag("stderr") && !tty,
            tty,
        };
        if !asked.stdin && !asked.stdout && !asked.stderr {
            return Err(Status::bad_request(
                "you must specify at least 1 of stdin, stdout, stderr",
            ));
        }
        Ok(asked)
    }

    /// Whether the client wants what comes on a channel.
    fn wants(self, channel: u8) -> bool {
        match channel {
            tunnel::frame::STDOUT => self.stdout,
            tunnel::frame::STDERR => self.stderr,
            tunnel::frame::ERROR => true,
            _ => false,
        }
    }
}

/// A GET opens the stream, but what it does is to create something.
fn permitted(call: &Call) -> Result<(), Status> {
    let asked = Attributes {
        subresource: call.subresource(),
        namespace: call.namespace().unwrap_or_default(),
        name: call.name()?,
        ..Attributes::resource(&call.user, "create", "", "pods")
    };
    match call.core.decide(&asked) {
        Decision::Allow(_) => Ok(()),
        Decision::NoOpinion(why) => Err(authz::forbidden(&asked, &why)),
    }
}

/// The message in a `Status` that a node sent, where it tells of a failure.
fn message_of(status: &[u8]) -> Option<String> {
    let tree: serde_json::Value = serde_json::from_slice(status).ok()?;
    (tree["status"] != "Success").then(|| text(&tree, &["message"]).to_owned())
}

#[cfg(test)]
mod tests {
    use super::message_of;

    #[test]
    fn old_clients_get_the_message_alone() {
        assert_eq!(message_of(br#"{"status":"Success"}"#), None);
        let failed = br#"{"status":"Failure","message":"exit status 3"}"#;
        assert_eq!(message_of(failed).as_deref(), Some("exit status 3"));
    }
}
