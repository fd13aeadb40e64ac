//! A webhook for tests: a small HTTPS server with an authority of its own, which answers what the test says and remembers
//! what it was asked.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls_pki_types::PrivateKeyDer;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What was asked: path with query, and body.
pub(crate) type Asked = (String, Value);
type Answering = dyn Fn(&str, &Value) -> Value + Send + Sync;

/// A running webhook; it ends with the test's runtime.
pub(crate) struct Hook {
    pub(crate) address: SocketAddr,
    /// The authority, as `caBundle` has it.
    pub(crate) bundle: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    headers: Arc<Mutex<Vec<HeaderMap>>>,
    connections: Arc<AtomicUsize>,
}

/// How long paths that begin with `/slow` take.
const SLOW: Duration = Duration::from_secs(3);

impl Hook {
    /// Starts one that answers each path as the function says, under these names and 127.0.0.1.
    pub(crate) async fn start(names: &[&str], answer: impl Fn(&str, &Value) -> Value + Send + Sync + 'static) -> Hook {
        let (tls, bundle) = identity(names);
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let hook = Hook {
            address: SocketAddr::from(([127, 0, 0, 1], listener.local_addr().unwrap().port())),
            bundle,
            asked: Arc::default(),
            headers: Arc::default(),
            connections: Arc::default(),
        };
        let (asked, connections) = (Arc::clone(&hook.asked), Arc::clone(&hook.connections));
        let headers = Arc::clone(&hook.headers);
        let answer: Arc<Answering> = Arc::new(answer);
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, asked, answer) = (acceptor.clone(), Arc::clone(&asked), Arc::clone(&answer));
                let headers = Arc::clone(&headers);
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(tcp).await else { return };
                    let service = service_fn(move |request: Request<Incoming>| {
                        headers.lock().push(request.headers().clone());
                        serve(request, Arc::clone(&asked), Arc::clone(&answer))
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        hook
    }

    /// A `clientConfig` that leads to a path of it.
    pub(crate) fn client(&self, path: &str) -> Value {
        json!({"url": format!("https://{}{path}", self.address), "caBundle": self.bundle})
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().clone()
    }

    /// The headers of what it was asked so far.
    pub(crate) fn headers(&self) -> Vec<HeaderMap> {
        self.headers.lock().clone()
    }

    /// How often somebody has connected.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn serve(
    request: Request<Incoming>,
    asked: Arc<Mutex<Vec<Asked>>>,
    answer: Arc<Answering>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let path = request.uri().to_string();
    let bytes = request.into_body().collect().await?.to_bytes();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    asked.lock().push((path.clone(), body.clone()));
    if path.starts_with("/slow") {
        tokio::time::sleep(SLOW).await;
    }
    let answer = answer(&path, &body);
    let mut response = Response::new(Full::new(Bytes::from(answer.to_string())));
    if answer.is_null() {
        *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        *response.body_mut() = Full::new(Bytes::from_static(b"out of order"));
    }
    Ok(response)
}

fn identity(names: &[&str]) -> (rustls::ServerConfig, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    names.push("127.0.0.1".to_owned());
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (tls, STANDARD.encode(ca_certificate.pem()))
}

/// A review's answer that lets the request pass.
pub(crate) fn allow(review: &Value) -> Value {
    respond(review, json!({"allowed": true}))
}

/// A review's answer that refuses.
pub(crate) fn deny(review: &Value, message: &str) -> Value {
    respond(review, json!({"allowed": false, "status": {"message": message}}))
}

/// A review's answer with a patch.
pub(crate) fn patch(review: &Value, patch: &Value) -> Value {
    let patch = STANDARD.encode(patch.to_string());
    respond(
        review,
        json!({"allowed": true, "patch": patch, "patchType": "JSONPatch"}),
    )
}

/// A review's answer.
pub(crate) fn respond(review: &Value, mut response: Value) -> Value {
    response["uid"] = review["request"]["uid"].clone();
    json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": response})
}
