//! `exec`: a websocket of the client and a frame stream of the node, joined. Everything that can go wrong is found out
//! before the client's connection is upgraded, so that it gets a Status.

use bytes::{Bytes, BytesMut};
use futures::{SinkExt as _, StreamExt as _};
use http::header::{CONNECTION, HeaderValue, UPGRADE};
use http::{HeaderMap, Method, Response, StatusCode};
use http_body::Frame as BodyFrame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use meta::Status;
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_util::codec::Decoder as _;
use tunnel::frame::{CLOSE, Codec, ERROR, Frame, STDOUT};

use super::node_call::{self, Query};
use super::{Answer, Call};
use crate::authz::{self, Attributes, Decision};
use crate::http::Body;
use crate::object::text;

/// The protocols of current clients, the best one first.
const PROTOCOLS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
/// So many pieces may wait for a slow node.
const WAITING: usize = 64;

/// Answers a GET of `pods/NAME/exec`.
pub(super) async fn exec(call: &Call) -> Result<Answer, Status> {
    permitted(call)?;
    let place = node_call::find(call).await?;
    if place.node.is_empty() {
        return Err(node_call::no_host(call));
    }
    let phase = text(&place.pod, &["status", "phase"]);
    if matches!(phase, "Succeeded" | "Failed") {
        let why = format!("cannot exec into a container in a completed pod; current phase is {phase}");
        return Err(Status::bad_request(why));
    }
    let mut query = Query::default();
    for word in call.query.all("command") {
        query.add("command", word);
    }
    if query.0.is_empty() {
        return Err(Status::bad_request(
            "you must specify at least 1 command for the container",
        ));
    }
    for name in ["stdin", "stdout", "stderr", "tty"] {
        if call.query.flag(name) {
            query.add(name, "true");
        }
    }
    let (accept, protocol) = handshake(&call.headers)?;
    let Some(upgrade) = call.extensions.lock().remove::<OnUpgrade>() else {
        return Err(upgrade_required());
    };
    let (to_node, from_client) = mpsc::channel::<Bytes>(WAITING);
    let pieces = futures::stream::unfold(from_client, |mut pieces| async move {
        let bytes = pieces.recv().await?;
        Some((Ok(BodyFrame::data(bytes)), pieces))
    });
    let path = format!("/exec/{}{}", node_call::path_of(&place), query.0);
    let body = StreamBody::new(pieces).boxed_unsync();
    let answer = node_call::send(call, &place.node, Method::POST, &path, body).await?;
    let stopping = call.core.stopping.clone();
    tokio::spawn(async move {
        match upgrade.await {
            Ok(upgraded) => {
                tokio::select! {
                    () = join(upgraded, to_node, answer.into_body()) => {}
                    () = stopping.cancelled() => {}
                }
            }
            Err(error) => tracing::debug!(%error, "a client went away before its stream began"),
        }
    });
    Ok(Answer::Raw(switching(&accept, protocol)))
}

/// A GET opens the stream, but what it does is to create a process.
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

fn upgrade_required() -> Status {
    Status::bad_request("Upgrade request required")
}

/// The accept key, and the protocol that both sides know.
fn handshake(headers: &HeaderMap) -> Result<(String, &'static str), Status> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let key = text("sec-websocket-key");
    if !text("upgrade").eq_ignore_ascii_case("websocket") || key.is_empty() || text("sec-websocket-version") != "13" {
        return Err(upgrade_required());
    }
    let offered: Vec<&str> = headers
        .get_all("sec-websocket-protocol")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .collect();
    let known = PROTOCOLS.into_iter().find(|protocol| offered.contains(protocol));
    let protocol = known.ok_or_else(|| {
        Status::bad_request(format!(
            "unable to negotiate protocol: client supports {offered:?}, server supports {PROTOCOLS:?}"
        ))
    })?;
    Ok((derive_accept_key(key.as_bytes()), protocol))
}

fn switching(accept: &str, protocol: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert("sec-websocket-protocol", HeaderValue::from_static(protocol));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert("sec-websocket-accept", accept);
    }
    response
}

/// How long a client may take to answer that the stream is over.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(5);

/// Copies both ways until the node is done or the client is gone.
async fn join(upgraded: Upgraded, to_node: mpsc::Sender<Bytes>, from_node: Incoming) {
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None).await;
    let (mut to_client, mut from_client) = socket.split();
    let up = async {
        while let Some(Ok(message)) = from_client.next().await {
            let data = match message {
                Message::Binary(data) => data,
                Message::Text(text) => Bytes::from(text),
                Message::Close(_) => break,
                _ => continue,
            };
            let Some((channel, rest)) = data.split_first() else {
                continue;
            };
            let frame = Frame::new(*channel, data.slice_ref(rest));
            // A node that is done takes no more; the client's own end is still to be read.
            let _ = to_node.send(frame.encode()).await;
        }
    };
    let down = async {
        // An empty message tells the client that the stream is open.
        to_client
            .send(Message::Binary(Bytes::from_static(&[STDOUT])))
            .await
            .ok()?;
        let mut body = from_node;
        let mut buffer = BytesMut::new();
        'node: while let Some(piece) = body.frame().await {
            let Ok(piece) = piece else { break };
            buffer.extend_from_slice(&piece.into_data().unwrap_or_default());
            while let Ok(Some(frame)) = Codec.decode(&mut buffer) {
                if frame.channel == CLOSE {
                    continue;
                }
                let mut message = BytesMut::with_capacity(frame.data.len() + 1);
                message.extend_from_slice(&[frame.channel]);
                message.extend_from_slice(&frame.data);
                to_client.send(Message::Binary(message.freeze())).await.ok()?;
                if frame.channel == ERROR {
                    // How it ended is the last thing that a client reads.
                    break 'node;
                }
            }
        }
        // Clients take any other end, also one without a code, for a broken stream.
        let end = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        to_client.send(Message::Close(Some(end))).await.ok()?;
        to_client.close().await.ok()
    };
    tokio::pin!(up, down);
    tokio::select! {
        _ = &mut down => {
            // To close with unread input resets the connection, and the client may lose what was just sent.
            let _ = tokio::time::timeout(LAST_WORDS, &mut up).await;
        }
        () = &mut up => {
            // The client is gone; the node learns it by the end of its input.
        }
    }
}
