//! `portforward`: connections to ports of a pod, as many as the client likes over one connection of its own.
//!
//! Each is one request to the node, whose body and answer are the bytes of the two directions; the end of either is a
//! half-close.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use http::Method;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use meta::Status;
use spdy::{Reader, Session, Writer};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::io::{CopyToBytes, SinkWriter, StreamReader};

use super::upgrade::{Form, ForwardWire, Upgrade};
use super::{carry, permitted, websocket};
use crate::core::Core;
use crate::object::{self, text};
use crate::rest::sub::{node_call, pieces};
use crate::rest::{Answer, Call, update};

/// How long a client may take to open the second stream of a connection.
const OPENING: Duration = Duration::from_secs(30);
/// How long a client may take to answer that all is over.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// So many pieces may wait for a slow node.
const WAITING: usize = 16;

/// The pod whose ports are asked for.
#[derive(Clone)]
struct Target {
    core: Arc<Core>,
    node: String,
    namespace: String,
    pod: String,
    uid: String,
}

/// Answers a GET or a POST of `pods/NAME/portforward`.
pub(in super::super) async fn portforward(call: &Call) -> Result<Answer, Status> {
    permitted(call)?;
    let name = call.name()?;
    let current = update::current(&call.core, &call.kind, call.namespace(), name).await?;
    let pod = current.ok_or_else(|| call.kind.not_found(name))?.tree;
    let node = text(&pod, &["spec", "nodeName"]).to_owned();
    if node.is_empty() {
        return Err(node_call::no_host(call));
    }
    let target = Target {
        core: Arc::clone(&call.core),
        node,
        namespace: object::namespace(&pod).to_owned(),
        pod: name.to_owned(),
        uid: object::uid(&pod).to_owned(),
    };
    let ports = ports(call)?;
    let upgrade = Upgrade::of_forward(call)?;
    let wire = upgrade.wire;
    if matches!(wire, ForwardWire::Channels(_)) && ports.is_empty() {
        return Err(Status::bad_request("query parameter \"ports\" is required"));
    }
    carry(call, upgrade.on, async move |client| match wire {
        ForwardWire::Spdy => serve(Session::server(TokioIo::new(client)), target).await,
        ForwardWire::Tunnel => serve(tunnelled(client).await, target).await,
        ForwardWire::Channels(form) => channels(client, form, ports, target).await,
    });
    Ok(Answer::Raw(upgrade.response))
}

fn ports(call: &Call) -> Result<Vec<u16>, Status> {
    let words = call.query.all("ports").flat_map(|value| value.split(','));
    words
        .map(|word| match word.parse::<u16>() {
            Ok(0) => Err(Status::bad_request(format!("port {word:?} must be > 0"))),
            Ok(port) => Ok(port),
            Err(_) => Err(Status::bad_request(format!("unable to parse {word:?} as a port"))),
        })
        .collect()
}

/// SPDY's bytes in binary messages of a websocket.
async fn tunnelled(client: Upgraded) -> Session {
    let (to, from) = websocket::open(client).await.split();
    let bytes = from.filter_map(async |message| match message {
        Ok(Message::Binary(data)) => Some(Ok(data)),
        Ok(Message::Text(_)) => Some(Err(io::Error::from(io::ErrorKind::InvalidData))),
        Ok(_) => None,
        Err(error) => Some(Err(io::Error::other(error))),
    });
    let to = to
        .with(async |data: Bytes| Ok::<_, tokio_tungstenite::tungstenite::Error>(Message::Binary(data)))
        .sink_map_err(io::Error::other);
    let reader = StreamReader::new(Box::pin(bytes));
    let writer = SinkWriter::new(CopyToBytes::new(Box::pin(to)));
    Session::server(tokio::io::join(reader, writer))
}

/// Serves the connections of a client until it is gone.
async fn serve(mut session: Session, target: Target) {
    // A connection is two streams with the same request id, which may come in either order.
    let mut halves: HashMap<String, Half> = HashMap::new();
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            stream = session.accept() => {
                let Some(stream) = stream else { break };
                let Some((id, port, is_data)) = about(&stream) else {
                    stream.refuse().await;
                    continue;
                };
                let half = Half::of(stream, is_data).await;
                halves.retain(|_, half| half.since.elapsed() < OPENING);
                match halves.remove(&id) {
                    None => drop(halves.insert(id, half)),
                    Some(other) => match other.joined(half) {
                        Some(pair) => drop(running.spawn(connection(target.clone(), port, pair))),
                        None => tracing::debug!(id, "a second stream of the same type"),
                    },
                }
            }
            Some(_) = running.join_next() => {}
        }
    }
    running.shutdown().await;
    session.close(LAST_WORDS).await;
}

/// Request id, port and type of a stream, if they are in order.
fn about(stream: &spdy::Stream) -> Option<(String, u16, bool)> {
    let port = stream.header("port")?.parse().ok().filter(|port| *port > 0)?;
    let is_data = match stream.header("streamtype")? {
        "data" => true,
        "error" => false,
        _ => return None,
    };
    let id = match stream.header("requestid") {
        Some(id) if !id.is_empty() => id.to_owned(),
        // Old clients name none; their data stream comes right after the error stream.
        _ => stream.id().saturating_sub(if is_data { 2 } else { 0 }).to_string(),
    };
    Some((id, port, is_data))
}

/// One of a connection's two streams.
struct Half {
    is_data: bool,
    reader: Reader,
    writer: Writer,
    since: tokio::time::Instant,
}

struct Pair {
    from_client: Reader,
    to_client: Writer,
    errors: Writer,
    /// The client closes its end of the error stream at once; while it is kept nothing is dropped.
    _error_reader: Reader,
}

impl Half {
    async fn of(stream: spdy::Stream, is_data: bool) -> Half {
        let (reader, writer) = stream.accept().await;
        Half {
            is_data,
            reader,
            writer,
            since: tokio::time::Instant::now(),
        }
    }

    fn joined(self, other: Half) -> Option<Pair> {
        let (data, error) = match (self.is_data, other.is_data) {
            (true, false) => (self, other),
            (false, true) => (other, self),
            _ => return None,
        };
        Some(Pair {
            from_client: data.reader,
            to_client: data.writer,
            errors: error.writer,
            _error_reader: error.reader,
        })
    }
}

async fn connection(target: Target, port: u16, pair: Pair) {
    let Pair {
        mut from_client,
        to_client,
        errors,
        _error_reader,
    } = pair;
    let (to_pod, mut from_pod) = match target.connect(port).await {
        Ok(both) => both,
        Err(why) => {
            errors.send(why.into()).await;
            errors.finish().await;
            return to_client.reset().await;
        }
    };
    let up = async {
        while let Some(bytes) = from_client.next().await {
            if to_pod.send(bytes).await.is_err() {
                break;
            }
        }
        drop(to_pod);
    };
    let down = async {
        while let Some(piece) = from_pod.frame().await {
            let Ok(piece) = piece else {
                return to_client.reset().await;
            };
            if !to_client.send(piece.into_data().unwrap_or_default()).await {
                return;
            }
        }
        to_client.finish().await;
        // The client takes the end of this stream for the end of the connection.
        errors.finish().await;
    };
    tokio::join!(up, down);
}

/// Two channels a port: data, then errors. The first message of each is the port's number.
async fn channels(client: Upgraded, form: Form, ports: Vec<u16>, target: Target) {
    let (mut to_client, mut from_client) = websocket::open(client).await.split();
    let (send, mut outgoing) = mpsc::channel::<(u8, Bytes)>(WAITING);
    let mut inputs = Vec::new();
    let mut running = JoinSet::new();
    for (index, port) in ports.into_iter().enumerate() {
        let Ok(channel) = u8::try_from(index * 2) else { break };
        let (input, from_client) = mpsc::channel::<Bytes>(WAITING);
        inputs.push(input);
        running.spawn(one_port(target.clone(), port, channel, from_client, send.clone()));
    }
    drop(send);
    let up = async {
        while let Some((channel, data)) = websocket::receive(&mut from_client, form).await {
            if channel.is_multiple_of(2)
                && let Some(input) = inputs.get(usize::from(channel / 2))
            {
                let _ = input.send(data).await;
            }
        }
    };
    let down = async {
        while let Some((channel, data)) = outgoing.recv().await {
            websocket::send(&mut to_client, form, channel, &data).await?;
        }
        websocket::goodbye(&mut to_client).await
    };
    tokio::pin!(up, down);
    tokio::select! {
        _ = &mut down => drop(tokio::time::timeout(LAST_WORDS, &mut up).await),
        () = &mut up => {}
    }
}

async fn one_port(
    target: Target,
    port: u16,
    channel: u8,
    mut from_client: mpsc::Receiver<Bytes>,
    to_client: mpsc::Sender<(u8, Bytes)>,
) {
    for channel in [channel, channel + 1] {
        let number = Bytes::copy_from_slice(&port.to_le_bytes());
        let _ = to_client.send((channel, number)).await;
    }
    let (to_pod, mut from_pod) = match target.connect(port).await {
        Ok(both) => both,
        Err(why) => return drop(to_client.send((channel + 1, why.into())).await),
    };
    let up = async {
        while let Some(bytes) = from_client.recv().await {
            if to_pod.send(bytes).await.is_err() {
                break;
            }
        }
        // The client has no way to say that it has no more: it closes all or nothing.
        std::future::pending::<()>().await;
    };
    let down = async {
        while let Some(Ok(piece)) = from_pod.frame().await {
            let data = piece.into_data().unwrap_or_default();
            if to_client.send((channel, data)).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = up => {}
        () = down => {}
    }
}

impl Target {
    /// Opens a connection to a port, or says why there is none.
    async fn connect(&self, port: u16) -> Result<(mpsc::Sender<Bytes>, Incoming), String> {
        let (to_pod, from_client) = mpsc::channel(WAITING);
        let path = format!("/portForward/{}/{}?port={port}", self.namespace, self.pod);
        let body = StreamBody::new(pieces(from_client)).boxed_unsync();
        match node_call::send_to(&self.core, &self.node, Method::POST, &path, body).await {
            Ok(answer) => Ok((to_pod, answer.into_body())),
            Err(status) => Err(format!(
                "error forwarding port {port} to pod {}, uid {}: {}",
                self.pod, self.uid, status.message
            )),
        }
    }
}
