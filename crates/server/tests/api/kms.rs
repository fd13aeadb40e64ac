//! A plug-in of a key management service for tests: gRPC over a socket, by hand, so that the other side is checked
//! against the wire and not against its own code.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use futures::stream;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::net::UnixListener;

/// `StatusResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

/// `EncryptRequest`, and what of `DecryptResponse` is the same.
#[derive(Clone, PartialEq, prost::Message)]
struct Plain {
    #[prost(bytes = "vec", tag = "1")]
    bytes: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
}

/// `EncryptResponse`.
#[derive(Clone, PartialEq, prost::Message)]
struct Encrypted {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    annotations: BTreeMap<String, Vec<u8>>,
}

/// `DecryptRequest`.
#[derive(Clone, PartialEq, prost::Message)]
struct Decrypt {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "4")]
    annotations: BTreeMap<String, Vec<u8>>,
}

#[derive(Default)]
struct State {
    key_id: String,
    calls: Vec<String>,
}

/// A running plug-in; it ends with the test's runtime, or by [`Kms::stop`].
pub(crate) struct Kms {
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Kms {
    /// Listens on a socket, with the key `one`.
    pub(crate) fn start(socket: &Path) -> Kms {
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        let state: Arc<Mutex<State>> = Arc::default();
        state.lock().key_id = "one".to_owned();
        let served = Arc::clone(&state);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let state = Arc::clone(&served);
                connections.spawn(async move {
                    let service = service_fn(move |request| answer(request, Arc::clone(&state)));
                    let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                        .serve_connection(TokioIo::new(socket), service)
                        .await;
                });
            }
        });
        Kms { state, task }
    }

    /// Goes on with another key.
    pub(crate) fn rotate(&self, key_id: &str) {
        self.state.lock().key_id = key_id.to_owned();
    }

    /// How often a method was called.
    pub(crate) fn calls(&self, method: &str) -> usize {
        self.state.lock().calls.iter().filter(|call| *call == method).count()
    }

    /// Ends it, with its connections.
    pub(crate) async fn stop(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

pub(crate) type Answered =
    Response<StreamBody<stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, std::convert::Infallible>>>>>;

async fn answer(request: Request<Incoming>, state: Arc<Mutex<State>>) -> Result<Answered, hyper::Error> {
    let method = request.uri().path().to_owned();
    let body = request.into_body().collect().await?.to_bytes();
    let message = &body[5..];
    let key_id = {
        let mut state = state.lock();
        state.calls.push(method.rsplit('/').next().unwrap().to_owned());
        state.key_id.clone()
    };
    let turned = |bytes: &[u8]| bytes.iter().map(|byte| !byte).collect::<Vec<u8>>();
    let mut code = "0";
    let answer = match method.as_str() {
        "/v2.KeyManagementService/Status" => Status {
            version: "v2".to_owned(),
            healthz: "ok".to_owned(),
            key_id,
        }
        .encode_to_vec(),
        "/v2.KeyManagementService/Encrypt" => {
            let request = Plain::decode(message).unwrap();
            assert!(!request.uid.is_empty());
            Encrypted {
                ciphertext: turned(&request.bytes),
                annotations: BTreeMap::from([("by.example.com".to_owned(), key_id.clone().into_bytes())]),
                key_id,
            }
            .encode_to_vec()
        }
        "/v2.KeyManagementService/Decrypt" => {
            let request = Decrypt::decode(message).unwrap();
            assert_eq!(request.annotations["by.example.com"], request.key_id.as_bytes());
            Plain {
                bytes: turned(&request.ciphertext),
                uid: String::new(),
            }
            .encode_to_vec()
        }
        _ => {
            code = "12";
            Vec::new()
        }
    };
    Ok(framed(&answer, code))
}

/// An answer of one message, with the code that the call ends with.
pub(crate) fn framed(answer: &[u8], code: &str) -> Answered {
    let mut framed = BytesMut::new();
    framed.put_u8(0);
    framed.put_u32(u32::try_from(answer.len()).unwrap());
    framed.put_slice(answer);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", code.parse().unwrap());
    let frames = vec![Ok(Frame::data(framed.freeze())), Ok(Frame::trailers(trailers))];
    let mut response = Response::new(StreamBody::new(stream::iter(frames)));
    let headers = response.headers_mut();
    headers.insert("content-type", "application/grpc".parse().unwrap());
    response
}
