//! Channels in websocket messages: a byte for the channel, then its bytes; or a digit and base64 in text messages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tunnel::frame::{CLOSE, ERROR, Frame, STDERR, STDIN, STDOUT};

use super::upgrade::Form;
use super::{Asked, NodeEnds, message_of};

/// A client's websocket.
pub(super) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// How long a client may take to answer that the stream is over.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(5);

/// The websocket on an upgraded connection.
pub(super) async fn open(client: Upgraded) -> Socket {
    WebSocketStream::from_raw_socket(TokioIo::new(client), Role::Server, None).await
}

/// Copies both ways until the node is done or the client is gone.
pub(super) async fn join(client: Upgraded, form: Form, asked: Asked, ends: NodeEnds) {
    let (mut to_client, mut from_client) = open(client).await.split();
    let NodeEnds { to_node, mut from_node } = ends;
    let up = async {
        while let Some((channel, data)) = receive(&mut from_client, form).await {
            if channel == STDIN && !asked.stdin {
                continue;
            }
            // A node that is done takes no more; the client's own end is still to be read.
            let _ = to_node.send(Frame::new(channel, data).encode()).await;
        }
    };
    let down = async {
        // An empty message tells the client that the stream is open.
        let first = match asked {
            Asked { stdout: true, .. } => STDOUT,
            Asked { stderr: true, .. } => STDERR,
            _ => ERROR,
        };
        send(&mut to_client, form, first, &[]).await?;
        while let Some(frame) = from_node.next().await {
            if !asked.wants(frame.channel) {
                continue;
            }
            if frame.channel == ERROR {
                // How it ended is the last thing that a client reads.
                let message = message_of(&frame.data);
                match (form.status, message) {
                    (true, _) => send(&mut to_client, form, ERROR, &frame.data).await?,
                    (false, Some(message)) => send(&mut to_client, form, ERROR, message.as_bytes()).await?,
                    (false, None) => {}
                }
                break;
            }
            send(&mut to_client, form, frame.channel, &frame.data).await?;
        }
        goodbye(&mut to_client).await
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

/// Clients take any end without a code for a broken stream.
pub(super) async fn goodbye(to_client: &mut SplitSink<Socket, Message>) -> Option<()> {
    let end = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    to_client.send(Message::Close(Some(end))).await.ok()?;
    to_client.close().await.ok()
}

/// The next piece of a channel; `None` when the client is gone.
pub(super) async fn receive(from: &mut SplitStream<Socket>, form: Form) -> Option<(u8, Bytes)> {
    loop {
        let data = match from.next().await?.ok()? {
            Message::Binary(data) => data,
            Message::Text(text) => Bytes::from(text),
            Message::Close(_) => return None,
            _ => continue,
        };
        if let Some(piece) = unpack(&data, form) {
            return Some(piece);
        }
    }
}

fn unpack(data: &Bytes, form: Form) -> Option<(u8, Bytes)> {
    let (channel, rest) = data.split_first()?;
    if !form.base64 {
        return Some((*channel, data.slice_ref(rest)));
    }
    let digit = channel.checked_sub(b'0').filter(|digit| *digit <= 9)?;
    Some((digit, STANDARD.decode(rest).ok()?.into()))
}

/// Sends a piece of a channel; `None` when the client is gone.
pub(super) async fn send(to: &mut SplitSink<Socket, Message>, form: Form, channel: u8, data: &[u8]) -> Option<()> {
    if channel == CLOSE {
        return Some(());
    }
    let message = if form.base64 {
        let mut text = String::with_capacity(data.len() * 4 / 3 + 8);
        text.push(char::from(b'0' + channel));
        STANDARD.encode_string(data, &mut text);
        Message::Text(text.into())
    } else {
        let mut message = BytesMut::with_capacity(data.len() + 1);
        message.put_u8(channel);
        message.put_slice(data);
        Message::Binary(message.freeze())
    };
    to.send(message).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms() {
        let form = |base64| Form { base64, status: true };
        let of = |data: &'static [u8], base64| unpack(&Bytes::from_static(data), form(base64));
        assert_eq!(of(b"\x00hi", false), Some((0, Bytes::from_static(b"hi"))));
        assert_eq!(of(b"0aGk=", true), Some((0, Bytes::from_static(b"hi"))));
        assert_eq!(of(b"0", true), Some((0, Bytes::new())));
        assert_eq!(of(b"0!", true), None);
        assert_eq!(of(b"", false), None);
        assert_eq!(of(b"\xff\x00", false), Some((CLOSE, Bytes::from_static(b"\x00"))));
    }
}
