//! Logs and exec through the tunnel that a node opens over TLS.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::{SinkExt as _, StreamExt as _};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::json;
use server::pki::ClientCert;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::codec::Decoder as _;
use tunnel::frame::{Codec, ERROR, Frame, STDIN, STDOUT};

use crate::world::World;

/// A TLS connection with a client certificate, HTTP/1.1 only.
pub(crate) async fn connect(world: &World, address: std::net::SocketAddr, client: &ClientCert) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(world.server.pki().ca().pem().as_bytes()).unwrap())
        .unwrap();
    let chain = vec![CertificateDer::from_pem_slice(client.cert_pem.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(client.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(address.ip().to_string()).unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
        .unwrap()
}

fn full(text: impl Into<Bytes>) -> tunnel::Body {
    Full::new(text.into())
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}

/// A node: a log that says where it was asked for, and a process that answers its first input in capitals.
async fn node(request: Request<Incoming>) -> Response<tunnel::Body> {
    let path = request.uri().path_and_query().unwrap().to_string();
    if path.starts_with("/containerLogs/") {
        return Response::new(full(path));
    }
    assert_eq!(
        path,
        "/exec/default/p/c?command=tr&command=a%20b&stdin=true&stdout=true"
    );
    let output = futures::stream::once(async move {
        let (mut body, mut buffer) = (request.into_body(), BytesMut::new());
        let frame = loop {
            if let Some(frame) = Codec.decode(&mut buffer).unwrap() {
                break frame;
            }
            buffer.extend_from_slice(&body.frame().await.unwrap().unwrap().into_data().unwrap());
        };
        assert_eq!(frame.channel, STDIN);
        let mut out = Frame::new(STDOUT, frame.data.to_ascii_uppercase()).encode().to_vec();
        out.extend_from_slice(&Frame::new(ERROR, r#"{"kind":"Status","status":"Success"}"#).encode());
        Ok(http_body::Frame::data(Bytes::from(out)))
    });
    Response::new(StreamBody::new(output).boxed_unsync())
}

#[tokio::test]
async fn logs_and_exec_travel_the_nodes_tunnel() {
    let world = World::new().await;
    world.default_account("default").await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(world.server.serve(listener));
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"nodeName": "n1",
        "containers": [{"name": "c", "image": "i"}]}});
    world.post("/api/v1/namespaces/default/pods", &pod).await.expect(201);
    let log = "/api/v1/namespaces/default/pods/p/log?tailLines=5&follow=true&other=x";
    assert_eq!(world.get(log).await.code, 503, "the node has no tunnel yet");

    let stranger = world.server.pki().ca().client("jane", None).unwrap();
    let refused = tunnel::dial(connect(&world, address, &stranger).await, "server")
        .await
        .unwrap_err();
    assert!(
        matches!(refused, tunnel::Error::Refused { status, .. } if status == 403),
        "{refused}"
    );
    let client = world
        .server
        .pki()
        .ca()
        .client("system:node:n1", Some("system:nodes"))
        .unwrap();
    let upgraded = tunnel::dial(connect(&world, address, &client).await, "server")
        .await
        .unwrap();
    tokio::spawn(tunnel::serve(upgraded, node));
    let answer = loop {
        let answer = world.get(log).await;
        if answer.code != 503 {
            break answer;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(answer.bytes, "/containerLogs/default/p/c?follow=true&tailLines=5");
    world
        .get("/api/v1/namespaces/default/pods/p/log?container=x")
        .await
        .expect(400);

    let path = "/api/v1/namespaces/default/pods/p/exec?command=tr&command=a%20b&stdin=true&stdout=true";
    world.get(path).await.expect(400);
    let admin = world.server.pki().ca().client("admin", Some("system:masters")).unwrap();
    let request = Request::get(format!("wss://{address}{path}"))
        .header("host", address.to_string())
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header(
            "sec-websocket-key",
            tokio_tungstenite::tungstenite::handshake::client::generate_key(),
        )
        .header("sec-websocket-protocol", "v5.channel.k8s.io")
        .body(())
        .unwrap();
    let stream = connect(&world, address, &admin).await;
    let (mut socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "v5.channel.k8s.io");
    socket
        .send(Message::Binary(Bytes::from_static(b"\x00hello")))
        .await
        .unwrap();
    let mut seen = Vec::new();
    while let Some(Ok(Message::Binary(data))) = socket.next().await {
        seen.push(data);
    }
    let wanted: [&[u8]; 3] = [
        b"\x01",
        b"\x01HELLO",
        b"\x03{\"kind\":\"Status\",\"status\":\"Success\"}",
    ];
    assert_eq!(seen, wanted);
}
