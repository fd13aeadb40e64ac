//! What a client's request to upgrade its connection asks for, and the answer that grants it.

use http::header::{CONNECTION, HeaderName, HeaderValue, UPGRADE};
use http::{HeaderMap, Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use meta::Status;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::Call;
use crate::http::Body;

/// Channels in websocket messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    /// Text messages with base64 instead of binary ones.
    pub(super) base64: bool,
    /// The error channel carries a `Status`; before version 4 it was a message.
    pub(super) status: bool,
}

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// A websocket whose messages begin with a channel's number.
    Channels(Form),
    /// SPDY streams, in this version of Kubernetes' protocol on top.
    Spdy(u8),
}

/// A port-forward's wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ForwardWire {
    /// A websocket with two channels a port.
    Channels(Form),
    /// SPDY frames inside of binary websocket messages.
    Tunnel,
    /// SPDY on the connection itself.
    Spdy,
}

/// An upgrade that is as good as granted.
pub(super) struct Upgrade<W> {
    pub(super) on: OnUpgrade,
    pub(super) response: Response<Body>,
    pub(super) wire: W,
}

const fn channels(base64: bool, status: bool) -> Wire {
    Wire::Channels(Form { base64, status })
}

/// The protocols of clients that run commands over a websocket.
const COMMAND: [(&str, Wire); 5] = [
    ("v5.channel.k8s.io", channels(false, true)),
    ("v4.channel.k8s.io", channels(false, true)),
    ("v4.base64.channel.k8s.io", channels(true, true)),
    ("channel.k8s.io", channels(false, false)),
    ("base64.channel.k8s.io", channels(true, false)),
];
/// The same over SPDY.
const COMMAND_SPDY: [(&str, Wire); 4] = [
    ("v4.channel.k8s.io", Wire::Spdy(4)),
    ("v3.channel.k8s.io", Wire::Spdy(3)),
    ("v2.channel.k8s.io", Wire::Spdy(2)),
    ("channel.k8s.io", Wire::Spdy(1)),
];
/// The protocols of clients that forward ports over a websocket.
const FORWARD: [(&str, ForwardWire); 3] = [
    ("SPDY/3.1+portforward.k8s.io", ForwardWire::Tunnel),
    ("v4.channel.k8s.io", forward_channels(false)),
    ("v4.base64.channel.k8s.io", forward_channels(true)),
];
/// The same over SPDY.
const FORWARD_SPDY: [(&str, ForwardWire); 1] = [("portforward.k8s.io", ForwardWire::Spdy)];

const fn forward_channels(base64: bool) -> ForwardWire {
    ForwardWire::Channels(Form { base64, status: true })
}

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const WEBSOCKET_PROTOCOL: HeaderName = HeaderName::from_static("sec-websocket-protocol");

impl Upgrade<Wire> {
    /// What a client that runs a command speaks.
    pub(super) fn of_command(call: &Call) -> Result<Self, Status> {
        Self::negotiate(call, &COMMAND, channels(false, false), &COMMAND_SPDY)
    }
}

impl Upgrade<ForwardWire> {
    /// What a client that forwards ports speaks.
    pub(super) fn of_forward(call: &Call) -> Result<Self, Status> {
        Self::negotiate(call, &FORWARD, forward_channels(false), &FORWARD_SPDY)
    }
}

impl<W: Copy> Upgrade<W> {
    /// `unnamed` is for websocket clients that name no protocol.
    fn negotiate(
        call: &Call,
        websocket: &[(&'static str, W)],
        unnamed: W,
        spdy: &[(&'static str, W)],
    ) -> Result<Self, Status> {
        let headers = &call.headers;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let answer = response.headers_mut();
        answer.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        let wire = match word(headers, "upgrade").to_ascii_lowercase().as_str() {
            "websocket" => {
                let key = word(headers, "sec-websocket-key");
                if key.is_empty() || word(headers, "sec-websocket-version") != "13" {
                    return Err(required());
                }
                answer.insert(UPGRADE, HeaderValue::from_static("websocket"));
                let accept = derive_accept_key(key.as_bytes());
                let accept = HeaderValue::from_str(&accept).map_err(Status::internal)?;
                answer.insert("sec-websocket-accept", accept);
                let offered = list(headers, &WEBSOCKET_PROTOCOL);
                match offered.is_empty() {
                    true => unnamed,
                    false => choose(&offered, websocket, answer, WEBSOCKET_PROTOCOL)?,
                }
            }
            "spdy/3.1" => {
                answer.insert(UPGRADE, HeaderValue::from_static("SPDY/3.1"));
                let offered = list(headers, &STREAM_PROTOCOL);
                if offered.is_empty() {
                    return Err(Status::bad_request(
                        "unable to upgrade: header X-Stream-Protocol-Version does not exist in request",
                    ));
                }
                choose(&offered, spdy, answer, STREAM_PROTOCOL)?
            }
            _ => return Err(required()),
        };
        let on = call.extensions.lock().remove::<OnUpgrade>().ok_or_else(required)?;
        Ok(Upgrade { on, response, wire })
    }
}

fn required() -> Status {
    Status::bad_request("Upgrade request required")
}

fn word<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Vec<&'a str> {
    let values = headers.get_all(name).into_iter();
    let words = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    words.map(str::trim).filter(|word| !word.is_empty()).collect()
}

/// The first protocol that the client offers and we know.
fn choose<W: Copy>(
    offered: &[&str],
    known: &[(&'static str, W)],
    answer: &mut HeaderMap,
    header: HeaderName,
) -> Result<W, Status> {
    let found = offered
        .iter()
        .find_map(|offer| known.iter().find(|(name, _)| name == offer));
    let Some((name, wire)) = found else {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        return Err(Status::failure(
            403,
            "Forbidden",
            format!(
                "unable to upgrade: unable to negotiate protocol: client supports {offered:?}, server accepts {names:?}"
            ),
        ));
    };
    answer.insert(header, HeaderValue::from_static(name));
    Ok(*wire)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_first_known_protocol_is_taken() {
        let mut headers = HeaderMap::new();
        headers.append(
            STREAM_PROTOCOL,
            HeaderValue::from_static("v9.channel.k8s.io, v3.channel.k8s.io"),
        );
        headers.append(STREAM_PROTOCOL, HeaderValue::from_static("v4.channel.k8s.io"));
        let offered = list(&headers, &STREAM_PROTOCOL);
        let mut answer = HeaderMap::new();
        let wire = choose(&offered, &COMMAND_SPDY, &mut answer, STREAM_PROTOCOL).unwrap();
        assert_eq!(wire, Wire::Spdy(3));
        assert_eq!(answer[STREAM_PROTOCOL], "v3.channel.k8s.io");
        assert!(choose(&["v9"], &COMMAND, &mut answer, WEBSOCKET_PROTOCOL).is_err());
    }
}
