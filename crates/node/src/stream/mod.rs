//! What the server asks of a node through the tunnel that the node opened: logs, exec, attach, connections, usage, and the
//! images that other nodes want. Below `/kubelet` is what others may ask of it through the server.

mod attach;
mod dial;
mod exec;
mod frames;
mod kubelet;
pub(crate) mod logs;
pub(crate) mod pipe;
mod port_forward;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use client::Backoff;
use engine::State;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use tokio::net::TcpStream;
use tunnel::Body;

use crate::address::HostIp;
use crate::credentials::Credentials;
use crate::pods::Context;
use crate::pods::start::label;

/// How long each step of opening it may take: a server that is cut off answers never.
const PATIENCE: Duration = Duration::from_secs(10);

/// Keeps a tunnel open to the server, again and again. From another address it is opened anew at once.
pub(crate) async fn serve(ctx: Arc<Context>, credentials: Arc<ArcSwap<Credentials>>, mut host_ip: HostIp) {
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    loop {
        let now = credentials.load_full();
        let ended = tokio::select! {
            ended = connect(&ctx, &now) => ended,
            () = host_ip.changed() => {
                backoff.reset();
                continue;
            }
        };
        match ended {
            Ok(()) => {
                tracing::info!("the tunnel to the server was closed");
                backoff.reset();
            }
            Err(error) => tracing::debug!(%error, "the tunnel to the server"),
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}

async fn connect(
    ctx: &Arc<Context>,
    credentials: &Credentials,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let tcp = tokio::time::timeout(PATIENCE, TcpStream::connect(credentials.address())).await??;
    tcp.set_nodelay(true)?;
    let connector = tokio_rustls::TlsConnector::from(credentials.tls()?);
    let name = credentials.server_name()?;
    let opening = async {
        let stream = connector.connect(name, tcp).await?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(tunnel::dial(stream, &credentials.authority()).await?)
    };
    let upgraded = tokio::time::timeout(PATIENCE, opening).await??;
    tracing::info!("the tunnel to the server is open");
    let ctx = ctx.clone();
    tunnel::serve(upgraded, move |request| answer(ctx.clone(), request)).await?;
    Ok(())
}

async fn answer(ctx: Arc<Context>, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_string();
    ctx.pods.listed().await;
    if let Some(path) = path.strip_prefix("/kubelet/") {
        return kubelet::answer(&ctx, &request, path).await;
    }
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["healthz"] => text(StatusCode::OK, "ok"),
        ["containerLogs", namespace, pod, container] => logs::answer(&ctx, &request, namespace, pod, container),
        ["exec", namespace, pod, container] => {
            let (namespace, pod, container) = (namespace.to_string(), pod.to_string(), container.to_string());
            exec::answer(&ctx, request, &namespace, &pod, &container).await
        }
        ["attach", namespace, pod, container] => {
            let (namespace, pod, container) = (namespace.to_string(), pod.to_string(), container.to_string());
            attach::answer(&ctx, request, &namespace, &pod, &container).await
        }
        ["dial", host, port] => {
            let to = host.parse::<IpAddr>().ok().zip(port.parse().ok());
            let to = to.map(SocketAddr::from);
            dial::answer(to, request).await
        }
        ["usage"] => kubelet::usage(&ctx).await,
        ["portForward", namespace, pod] => {
            let (namespace, pod) = (namespace.to_string(), pod.to_string());
            port_forward::answer(&ctx, request, &namespace, &pod).await
        }
        ["v2", ..] => ctx.registry.handle(request.map(registry::incoming)).await,
        _ => text(StatusCode::NOT_FOUND, "no such path on a node"),
    }
}

/// The running container that is asked for, or what there is instead.
fn running(ctx: &Context, namespace: &str, pod: &str, container: &str) -> Result<engine::Container, String> {
    let Some(found) = ctx.pods.find(namespace, pod) else {
        return Err(format!("pod {namespace}/{pod} is not on this node"));
    };
    let uid = found.metadata.uid.as_deref().unwrap_or_default();
    let has = |c: &engine::Container, key: &str, value: &str| c.labels.iter().any(|(k, v)| k == key && v == value);
    let running = ctx.engine.containers().into_iter().find(|c| {
        has(c, label::POD_UID, uid) && has(c, label::CONTAINER, container) && matches!(c.state, State::Running(_))
    });
    running.ok_or_else(|| format!("container not found (\"{container}\")"))
}

fn no_pod(namespace: &str, pod: &str) -> Response<Body> {
    text(
        StatusCode::NOT_FOUND,
        format!("pod {namespace}/{pod} is not on this node"),
    )
}

/// A short answer.
fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let body = Full::new(Bytes::from(text.into()))
        .map_err(|never| match never {})
        .boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// The values of a query's parameter, decoded.
fn query_values(request: &Request<Incoming>, name: &str) -> Vec<String> {
    let query = request.uri().query().unwrap_or_default();
    let pairs = query
        .split('&')
        .filter_map(|pair| pair.split_once('=').or((!pair.is_empty()).then_some((pair, ""))));
    pairs
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| decode(value))
        .collect()
}

fn query_value(request: &Request<Incoming>, name: &str) -> Option<String> {
    query_values(request, name)
        .into_iter()
        .next()
        .filter(|value| !value.is_empty())
}

fn query_flag(request: &Request<Incoming>, name: &str) -> bool {
    query_value(request, name).is_some_and(|value| matches!(value.as_str(), "true" | "1"))
}

/// `%41` and `+` of a query.
fn decode(text: &str) -> String {
    percent_decoded(&text.replace('+', " "))
}

/// `%41` of a path.
fn decode_path(text: &str) -> String {
    percent_decoded(text)
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let hex = bytes.get(i + 1..i + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match (bytes[i], hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                out.push(byte);
                i += 3;
            }
            (byte, _) => {
                out.push(byte);
                i += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn queries_are_decoded() {
        assert_eq!(super::decode("a%20b+c%2Fd%zz%4"), "a b c/d%zz%4");
    }
}
