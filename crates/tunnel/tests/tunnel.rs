//! Both sides of a tunnel over a pipe in memory.

#![allow(clippy::unwrap_used)]

use std::convert::Infallible;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Frame as BodyFrame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio_util::codec::Decoder as _;
use tunnel::frame::{Codec, Frame, STDIN, STDOUT};
use tunnel::{Body, Link, Registry};

fn body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}

/// Answers with every frame it gets, one by one, on stdout.
async fn echo(request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    if path == "/plain" {
        return Response::new(body("plain"));
    }
    let stream = futures::stream::unfold(
        (request.into_body(), BytesMut::new()),
        |(mut input, mut buffer)| async move {
            loop {
                if let Some(frame) = Codec.decode(&mut buffer).unwrap() {
                    let answer = Frame::new(STDOUT, frame.data).encode();
                    return Some((Ok(BodyFrame::data(answer)), (input, buffer)));
                }
                match input.frame().await {
                    Some(Ok(part)) => buffer.extend_from_slice(&part.into_data().unwrap_or_default()),
                    _ => return None,
                }
            }
        },
    );
    Response::new(StreamBody::new(stream).boxed_unsync())
}

async fn pair() -> Link {
    let (node_io, server_io) = tokio::io::duplex(1 << 16);
    let (tx, rx) = tokio::sync::oneshot::channel();
    let tx = std::sync::Mutex::new(Some(tx));
    tokio::spawn(async move {
        let service = service_fn(|mut request: Request<Incoming>| {
            assert_eq!(request.uri().path(), tunnel::PATH);
            let upgrade = hyper::upgrade::on(&mut request);
            let tx = tx.lock().unwrap().take().unwrap();
            tokio::spawn(async move {
                let (link, _closed) = tunnel::accept(upgrade.await.unwrap()).await.unwrap();
                let _ = tx.send(link);
            });
            async {
                Response::builder()
                    .status(StatusCode::SWITCHING_PROTOCOLS)
                    .header("connection", "upgrade")
                    .header("upgrade", tunnel::PROTOCOL)
                    .body(Empty::<Bytes>::new())
            }
        });
        let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server_io), service);
        connection.with_upgrades().await.unwrap();
    });
    let upgraded = tunnel::dial(node_io, "server").await.unwrap();
    tokio::spawn(tunnel::serve(upgraded, echo));
    rx.await.unwrap()
}

#[tokio::test]
async fn the_server_calls_the_node() {
    let link = pair().await;
    let request = Request::get("http://node/plain").body(body("")).unwrap();
    let answer = link.send(request).await.unwrap();
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "plain");
}

#[tokio::test]
async fn bodies_stream_both_ways_at_once() {
    let link = pair().await;
    let (tx, rx) = tokio::sync::mpsc::channel::<Bytes>(1);
    let stream = futures::stream::unfold(rx, |mut rx| async move {
        let bytes = rx.recv().await?;
        Some((Ok(BodyFrame::data(bytes)), rx))
    });
    let request = Request::post("http://node/exec")
        .body(StreamBody::new(stream).boxed_unsync())
        .unwrap();
    let mut answer = link.send(request).await.unwrap().into_body().into_data_stream();
    for word in ["one", "two"] {
        tx.send(Frame::new(STDIN, word).encode()).await.unwrap();
        let bytes = answer.next().await.unwrap().unwrap();
        assert_eq!(bytes, Frame::new(STDOUT, word).encode());
    }
    drop(tx);
    assert!(answer.next().await.is_none_or(|rest| rest.unwrap().is_empty()));
}

#[tokio::test]
async fn only_the_newest_tunnel_of_a_node_counts() {
    let registry = Registry::default();
    assert!(registry.get("a").is_err());
    let old = registry.register("a", pair().await);
    let new = registry.register("a", pair().await);
    drop(old);
    assert!(registry.get("a").is_ok());
    drop(new);
    assert!(registry.get("a").is_err());
}
