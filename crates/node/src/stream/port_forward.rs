//! Connections to ports of a pod, as from inside of it.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tunnel::Body;

use super::dial::joined;
use super::{no_pod, query_value, text};
use crate::pods::Context;

/// Answers a request for a connection.
pub(super) async fn answer(
    ctx: &Arc<Context>,
    request: Request<Incoming>,
    namespace: &str,
    pod: &str,
) -> Response<Body> {
    let port = query_value(&request, "port").and_then(|port| port.parse::<u16>().ok());
    let Some(port) = port.filter(|port| *port > 0) else {
        return text(StatusCode::BAD_REQUEST, "the port is missing, or is none");
    };
    let Some(found) = ctx.pods.find(namespace, pod) else {
        return no_pod(namespace, pod);
    };
    let uid = found.metadata.uid.as_deref().unwrap_or_default();
    let Some(slot) = ctx.slots.of(uid) else {
        return text(StatusCode::BAD_REQUEST, format!("pod {namespace}/{pod} is not running"));
    };
    let netns = match ctx.engine.sandbox(&slot.id) {
        Ok(sandbox) => sandbox.netns,
        Err(error) => return text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    match connect(netns, port).await {
        Ok(stream) => joined(stream, request.into_body()),
        Err(error) => text(
            StatusCode::BAD_GATEWAY,
            format!("failed to connect to localhost:{port} inside the pod's network: {error}"),
        ),
    }
}

/// Connects to a port of this machine as it looks from inside of a network namespace.
async fn connect(netns: Option<PathBuf>, port: u16) -> io::Result<TcpStream> {
    let both = [
        SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        SocketAddr::from((Ipv6Addr::LOCALHOST, port)),
    ];
    let mut first_error = None;
    for address in both {
        let socket = match &netns {
            Some(netns) => socket_in(netns.clone(), address).await,
            None => socket(address),
        };
        let connected = match socket {
            Ok(socket) => socket.connect(address).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error) => drop(first_error.get_or_insert(error)),
        }
    }
    Err(first_error.unwrap_or_else(|| io::ErrorKind::ConnectionRefused.into()))
}

fn socket(to: SocketAddr) -> io::Result<TcpSocket> {
    match to {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }
}

/// A socket stays in the namespace that it was made in. The thread that goes there for it does nothing else after.
async fn socket_in(netns: PathBuf, to: SocketAddr) -> io::Result<TcpSocket> {
    let (sender, receiver) = oneshot::channel();
    let handle = tokio::runtime::Handle::current();
    std::thread::Builder::new().name("netns".into()).spawn(move || {
        let _inside = handle.enter();
        let _ = sender.send(enter(&netns).and_then(|()| socket(to)));
    })?;
    receiver.await.map_err(io::Error::other)?
}

fn enter(netns: &Path) -> io::Result<()> {
    let file = std::fs::File::open(netns)?;
    move_into_link_name_space(std::os::fd::AsFd::as_fd(&file), Some(LinkNameSpaceType::Network))?;
    Ok(())
}
