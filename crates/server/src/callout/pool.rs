//! Connections to one service, kept by the address that they lead to: when a service's pod is replaced, its successor
//! gets connections of its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::future::Either;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, UPGRADE, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::Credentials;
use super::tls::Secure;
use crate::core::Core;
use crate::http::body::{Incoming, incoming};
use crate::rest::sub::proxy::place::{Place, Way};
use crate::rest::sub::proxy::stream;

/// A connection that nobody has used for so long is given up.
const IDLE: Duration = Duration::from_secs(90);
/// So many wait at one address.
const MOST_IDLE: usize = 16;
/// No answer is larger.
const MAX_ANSWER: usize = 8 * 1024 * 1024;
/// A connection for a request that is passed on is there within this time.
const PATIENCE: Duration = Duration::from_secs(30);

type Sender = SendRequest<Incoming>;

/// A body that is sent to a service.
pub(super) struct Question<'a> {
    pub(super) host: &'a str,
    pub(super) uri: &'a str,
    /// What goes along beside the usual headers.
    pub(super) headers: &'a HeaderMap,
    pub(super) body: &'a Bytes,
}

/// The connections to a service.
pub(super) struct Pool {
    secure: Secure,
    authorization: Option<HeaderValue>,
    idle: Arc<Idle>,
}

/// Connections that wait for the next request, by what they lead to.
#[derive(Default)]
struct Idle(Mutex<HashMap<String, Vec<(Instant, Sender)>>>);

impl Pool {
    pub(super) fn new(
        config: Arc<rustls::ClientConfig>,
        server_name: &str,
        credentials: &Credentials,
    ) -> Result<Pool, String> {
        let token = credentials.token.as_ref();
        let authorization = token
            .map(|token| HeaderValue::from_str(&format!("Bearer {token}")))
            .transpose();
        Ok(Pool {
            secure: Secure::new(config, server_name),
            authorization: authorization.map_err(|_| "token: can't be sent in a header".to_owned())?,
            idle: Arc::default(),
        })
    }

    /// Sends a request to a place. A kept connection that the other side has closed meanwhile is replaced.
    pub(super) async fn send(
        &self,
        core: &Core,
        place: &Place,
        question: &Question<'_>,
    ) -> Result<(StatusCode, Bytes), String> {
        let at = name(place);
        while let Some(mut kept) = self.idle.take(&at) {
            if kept.ready().await.is_err() {
                continue;
            }
            match self.exchange(&mut kept, question).await {
                Ok(answer) => {
                    self.idle.keep(at, kept);
                    return Ok(answer);
                }
                Err(Broken::Closed) => {}
                Err(Broken::Told(why)) => return Err(why),
            }
        }
        let mut fresh = self.connect(core, place).await?;
        match self.exchange(&mut fresh, question).await {
            Ok(answer) => {
                self.idle.keep(at, fresh);
                Ok(answer)
            }
            Err(Broken::Closed) => Err("EOF".to_owned()),
            Err(Broken::Told(why)) => Err(why),
        }
    }

    /// Passes a request on. Its body can be sent once only: on a kept connection that the other side has closed
    /// meanwhile it is tried again if nothing of it was sent, or if it has none and asks for nothing but an answer.
    pub(super) async fn pass(
        &self,
        core: &Core,
        place: &Place,
        mut request: Request<Incoming>,
    ) -> Result<Response<hyper::body::Incoming>, String> {
        let at = name(place);
        let upgrades = request.headers().contains_key(UPGRADE);
        let mut again = copy(&request);
        while !upgrades && let Some(mut kept) = self.idle.take(&at) {
            if kept.ready().await.is_err() {
                continue;
            }
            let mut failed = match kept.try_send_request(request).await {
                Ok(answer) => {
                    self.idle.keep_later(at, kept);
                    return Ok(answer);
                }
                Err(failed) => failed,
            };
            request = match failed.take_message().or_else(|| again.take()) {
                Some(request) => request,
                None => return Err(told(failed.error())),
            };
            again = copy(&request);
        }
        let fresh = tokio::time::timeout(PATIENCE, self.connect(core, place)).await;
        let mut fresh =
            fresh.unwrap_or_else(|_| Err(format!("dial tcp {}:{}: i/o timeout", place.host, place.port)))?;
        let answer = fresh.send_request(request).await.map_err(|error| told(&error))?;
        if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            self.idle.keep_later(at, fresh);
        }
        Ok(answer)
    }

    async fn connect(&self, core: &Core, place: &Place) -> Result<Sender, String> {
        let (sender, connection) = match &place.way {
            Way::Direct => {
                let tcp = TcpStream::connect((place.host.as_str(), place.port)).await;
                let tcp = tcp.map_err(|error| dial(place, &error))?;
                // A request and its answer are one packet each: waiting for more only costs time.
                let _ = tcp.set_nodelay(true);
                let secure = self.secure.over(tcp).await?;
                let (sender, connection) = handshake(TokioIo::new(secure)).await.map_err(|e| e.to_string())?;
                (sender, Either::Left(connection))
            }
            Way::Node(_) | Way::Kubelet(_) => {
                let tunnel = stream::connect(core, place).await.map_err(|status| status.message)?;
                let secure = self.secure.over(tunnel).await?;
                let (sender, connection) = handshake(TokioIo::new(secure)).await.map_err(|e| e.to_string())?;
                (sender, Either::Right(connection))
            }
        };
        tokio::spawn(async move {
            let ended = match connection {
                Either::Left(connection) => connection.with_upgrades().await,
                Either::Right(connection) => connection.with_upgrades().await,
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection to a service ended");
            }
        });
        Ok(sender)
    }

    async fn exchange(&self, sender: &mut Sender, question: &Question<'_>) -> Result<(StatusCode, Bytes), Broken> {
        let mut request = Request::post(question.uri)
            .header(HOST, question.host)
            .header(ACCEPT, "application/json, */*")
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, "kube-apiserver-admission")
            .body(incoming(Full::new(question.body.clone())))
            .map_err(|error| Broken::Told(error.to_string()))?;
        for (name, value) in question.headers {
            request.headers_mut().insert(name, value.clone());
        }
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let answer = sender.send_request(request).await.map_err(|error| {
            if error.is_canceled() || error.is_closed() || error.is_incomplete_message() {
                Broken::Closed
            } else {
                Broken::Told(error.to_string())
            }
        })?;
        let code = answer.status();
        let collected = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let bytes = collected.map_err(|error| Broken::Told(error.to_string()))?.to_bytes();
        Ok((code, bytes))
    }
}

impl Idle {
    fn take(&self, at: &str) -> Option<Sender> {
        let mut idle = self.0.lock();
        let list = idle.get_mut(at)?;
        while let Some((since, sender)) = list.pop() {
            if since.elapsed() < IDLE && !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    fn keep(&self, at: String, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.0.lock();
        idle.retain(|_, list| {
            list.retain(|(since, sender)| since.elapsed() < IDLE && !sender.is_closed());
            !list.is_empty()
        });
        let list = idle.entry(at).or_default();
        if list.len() < MOST_IDLE {
            list.push((Instant::now(), sender));
        }
    }

    /// Keeps a connection whose answer is still being read, when it has been. One that is given up half-way closes.
    fn keep_later(self: &Arc<Self>, at: String, mut sender: Sender) {
        let idle = Arc::clone(self);
        tokio::spawn(async move {
            if sender.ready().await.is_ok() {
                idle.keep(at, sender);
            }
        });
    }
}

enum Broken {
    /// Before anything was answered.
    Closed,
    Told(String),
}

/// What tells the ways to a place apart.
fn name(place: &Place) -> String {
    format!("{:?} {}:{}", place.way, place.host, place.port)
}

/// A second request like this one, where that is harmless.
fn copy(request: &Request<Incoming>) -> Option<Request<Incoming>> {
    if !request.body().is_end_stream() || !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return None;
    }
    let mut copy = Request::new(incoming(Empty::new()));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// Why there is no answer, in Go's words where they are known.
fn told(error: &hyper::Error) -> String {
    match error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        true => "EOF".to_owned(),
        false => error.to_string(),
    }
}

fn dial(place: &Place, error: &std::io::Error) -> String {
    let why = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        _ => error.to_string(),
    };
    format!("dial tcp {}:{}: {why}", place.host, place.port)
}
