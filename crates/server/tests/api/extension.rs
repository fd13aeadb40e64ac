//! An extension API server for tests: HTTPS, for clients with a certificate of the front proxy's authority only, with
//! discovery, OpenAPI and a resource (`flunders`) that can be made, read, watched and connected to. It remembers what it
//! was asked.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

pub(crate) const VERSION: &str = "/apis/wardle.example.com/v1alpha1";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    /// The name in the client's certificate.
    pub(crate) peer: String,
    pub(crate) body: Value,
}

/// Which documents it has.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Age {
    /// Discovery as lists, OpenAPI of version 2.
    Old,
    /// Aggregated discovery, OpenAPI of both versions.
    New,
}

/// A running server; it ends with the test's runtime.
pub(crate) struct Extension {
    pub(crate) port: u16,
    /// Its authority, as `caBundle` has it.
    pub(crate) bundle: String,
    state: Arc<State>,
}

struct State {
    age: Age,
    asked: Mutex<Vec<Asked>>,
    flunders: Mutex<Vec<Value>>,
    watchers: Mutex<Vec<UnboundedSender<Bytes>>>,
}

impl Extension {
    /// Starts one under this name. `ca` is the authority of its clients.
    pub(crate) async fn start(name: &str, ca: &str, age: Age) -> Extension {
        let (tls, bundle) = identity(name, ca);
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            age,
            asked: Mutex::default(),
            flunders: Mutex::default(),
            watchers: Mutex::default(),
        });
        let (acceptor, shared) = (tokio_rustls::TlsAcceptor::from(Arc::new(tls)), Arc::clone(&state));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, state) = (acceptor.clone(), Arc::clone(&shared));
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(tcp).await else { return };
                    let peer = common_name(&stream.get_ref().1.peer_certificates().unwrap()[0]);
                    let service = service_fn(move |request| {
                        let (state, peer) = (Arc::clone(&state), peer.clone());
                        async move { Ok::<_, Infallible>(state.serve(request, peer).await) }
                    });
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .with_upgrades()
                        .await;
                });
            }
        });
        Extension { port, bundle, state }
    }

    /// What it was asked about `flunders` so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        let asked = self.state.asked.lock();
        let flunders = asked.iter().filter(|one| one.target.contains("flunders"));
        flunders.cloned().collect()
    }

    /// The last question with this path.
    pub(crate) fn last(&self, path: &str) -> Option<Asked> {
        let asked = self.state.asked.lock();
        let mut found = asked
            .iter()
            .rev()
            .filter(|one| one.target.split('?').next() == Some(path));
        found.next().cloned()
    }

    /// Where it is reached from other machines.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(crate::webhooks::own_address(), self.port)
    }
}

impl State {
    async fn serve(&self, mut request: Request<Incoming>, peer: String) -> Response<Body> {
        if request.headers().contains_key("upgrade") {
            self.note(&request, peer, Value::Null);
            return connected(&mut request);
        }
        let (parts, body) = request.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let request = Request::from_parts(parts, ());
        self.note(&request, peer, body.clone());
        let path = request.uri().path();
        match path {
            "/apis" if self.age == Age::New => aggregated(request.headers()),
            VERSION => json_answer(&list()),
            "/openapi/v3" if self.age == Age::New => json_answer(&json!({"paths": {
                "version": {"serverRelativeURL": "/openapi/v3/version?hash=1"},
                (&VERSION[1..]): {"serverRelativeURL": format!("/openapi/v3{VERSION}?hash=ABC")}}})),
            "/openapi/v2" => json_answer(&spec()),
            _ if path == format!("/openapi/v3{VERSION}") => json_answer(&json!({"openapi": "3.0.0", "mine": true})),
            _ if path.starts_with(VERSION) => self.flunders(&request, body),
            _ => answer(StatusCode::NOT_FOUND, "text/plain", "404 page not found\n"),
        }
    }

    fn note<T>(&self, request: &Request<T>, peer: String, body: Value) {
        self.asked.lock().push(Asked {
            method: request.method().clone(),
            target: request.uri().to_string(),
            headers: request.headers().clone(),
            peer,
            body,
        });
    }

    fn flunders(&self, request: &Request<()>, mut body: Value) -> Response<Body> {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        let name = path.rsplit('/').next().unwrap_or_default();
        match *request.method() {
            Method::POST => {
                body["metadata"]["uid"] = "u-1".into();
                self.flunders.lock().push(body.clone());
                let event = format!("{}\n", json!({"type": "ADDED", "object": body}));
                let sent = |watcher: &UnboundedSender<Bytes>| watcher.send(event.clone().into()).is_ok();
                self.watchers.lock().retain(sent);
                let mut made = json_answer(&body);
                *made.status_mut() = StatusCode::CREATED;
                made
            }
            Method::GET if query.contains("watch=") => {
                let (sender, receiver) = unbounded_channel();
                self.watchers.lock().push(sender);
                let events = futures::stream::unfold(receiver, |mut receiver| async move {
                    let event = receiver.recv().await?;
                    Some((Ok(Frame::data(event)), receiver))
                });
                Response::new(StreamBody::new(events).boxed_unsync())
            }
            Method::GET if name == "flunders" => json_answer(&json!({"apiVersion": "wardle.example.com/v1alpha1",
                "kind": "FlunderList", "metadata": {}, "items": *self.flunders.lock()})),
            Method::GET => {
                let all = self.flunders.lock();
                match all.iter().find(|flunder| flunder["metadata"]["name"] == name) {
                    Some(flunder) => json_answer(flunder),
                    None => answer(StatusCode::NOT_FOUND, "application/json", "{\"kind\":\"Status\"}"),
                }
            }
            _ => answer(StatusCode::METHOD_NOT_ALLOWED, "text/plain", "no\n"),
        }
    }
}

/// Sends back in capitals what comes.
fn connected(request: &mut Request<Incoming>) -> Response<Body> {
    let upgrade = hyper::upgrade::on(request);
    tokio::spawn(async move {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = TokioIo::new(upgrade.await.unwrap());
        let mut buffer = [0; 64];
        while let Ok(length @ 1..) = stream.read(&mut buffer).await {
            buffer[..length].make_ascii_uppercase();
            stream.write_all(&buffer[..length]).await.unwrap();
        }
    });
    let mut response = answer(StatusCode::SWITCHING_PROTOCOLS, "text/plain", "");
    response.headers_mut().insert("connection", "Upgrade".parse().unwrap());
    response.headers_mut().insert("upgrade", "capitals/1".parse().unwrap());
    response
}

fn list() -> Value {
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "wardle.example.com/v1alpha1", "resources": [
        {"name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder",
            "verbs": ["create", "get", "list", "watch"]}]})
}

fn aggregated(headers: &HeaderMap) -> Response<Body> {
    assert_eq!(headers["accept"], AGGREGATED);
    if headers.get("if-none-match").is_some_and(|tag| tag == "\"one\"") {
        return answer(StatusCode::NOT_MODIFIED, AGGREGATED, "");
    }
    let document = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "items": [
        {"metadata": {"name": "wardle.example.com"}, "versions": [{"version": "v1alpha1", "freshness": "Current",
            "resources": [{"resource": "flunders", "scope": "Namespaced", "singularResource": "flunder",
                "verbs": ["get", "list"], "categories": ["wardle"]}]}]}]});
    let mut response = answer(StatusCode::OK, AGGREGATED, document.to_string());
    response.headers_mut().insert("etag", "\"one\"".parse().unwrap());
    response
}

/// Its own flunder, and a meaning of its own for a name that everyone uses.
fn spec() -> Value {
    let reference = |name: &str| json!({"$ref": format!("#/definitions/{name}")});
    let (flunder, meta) = (
        "com.example.wardle.v1alpha1.Flunder",
        "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta",
    );
    json!({"swagger": "2.0", "info": {"title": "wardle", "version": "1"},
        "paths": {
            (format!("{VERSION}/flunders")): {"get": {"produces": ["application/json"], "responses": {
                "200": {"description": "OK", "schema": reference(flunder)}}}},
            "/version/": {"get": {"responses": {"200": {"description": "OK"}}}}},
        "definitions": {
            (flunder): {"type": "object", "properties": {"metadata": reference(meta)}},
            (meta): {"type": "object", "properties": {"only": {"type": "string"}}}}})
}

fn json_answer(value: &Value) -> Response<Body> {
    answer(StatusCode::OK, "application/json", value.to_string())
}

fn answer(code: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = code;
    response
        .headers_mut()
        .insert("content-type", content_type.parse().unwrap());
    response
}

fn common_name(der: &[u8]) -> String {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).unwrap();
    let name = certificate.subject().iter_common_name().next().unwrap();
    name.as_str().unwrap().to_owned()
}

fn identity(name: &str, client_ca: &str) -> (rustls::ServerConfig, String) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_certificate = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(client_ca.as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .unwrap();
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (tls, STANDARD.encode(ca_certificate.pem()))
}
