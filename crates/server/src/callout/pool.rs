//! Connections to one webhook, kept by the address that they lead to: when a service's pod is replaced, its successor
//! gets connections of its own.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::Credentials;
use super::tls::Secure;
use crate::core::Core;
use crate::rest::sub::proxy::place::{Place, Way};
use crate::rest::sub::proxy::stream;

/// A connection that nobody has used for so long is given up.
const IDLE: Duration = Duration::from_secs(90);
/// So many wait at one address.
const MOST_IDLE: usize = 16;
/// No answer is larger.
const MAX_ANSWER: usize = 8 * 1024 * 1024;

type Sender = SendRequest<Full<Bytes>>;

/// The connections to a webhook.
pub(super) struct Pool {
    secure: Secure,
    authorization: Option<HeaderValue>,
    idle: Mutex<HashMap<String, Vec<(Instant, Sender)>>>,
}

impl Pool {
    pub(super) fn new(
        config: std::sync::Arc<rustls::ClientConfig>,
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
            idle: Mutex::default(),
        })
    }

    /// Sends a request to a place. A kept connection that the other side has closed meanwhile is replaced.
    pub(super) async fn send(
        &self,
        core: &Core,
        place: &Place,
        host: &str,
        uri: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), String> {
        let at = format!("{:?} {}:{}", place.way, place.host, place.port);
        while let Some(mut kept) = self.kept(&at) {
            if kept.ready().await.is_err() {
                continue;
            }
            match self.exchange(&mut kept, host, uri, body.clone()).await {
                Ok(answer) => {
                    self.keep(at, kept);
                    return Ok(answer);
                }
                Err(Broken::Closed) => {}
                Err(Broken::Told(why)) => return Err(why),
            }
        }
        let mut fresh = self.connect(core, place).await?;
        match self.exchange(&mut fresh, host, uri, body).await {
            Ok(answer) => {
                self.keep(at, fresh);
                Ok(answer)
            }
            Err(Broken::Closed) => Err("EOF".to_owned()),
            Err(Broken::Told(why)) => Err(why),
        }
    }

    fn kept(&self, at: &str) -> Option<Sender> {
        let mut idle = self.idle.lock();
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
        let mut idle = self.idle.lock();
        idle.retain(|_, list| {
            list.retain(|(since, sender)| since.elapsed() < IDLE && !sender.is_closed());
            !list.is_empty()
        });
        let list = idle.entry(at).or_default();
        if list.len() < MOST_IDLE {
            list.push((Instant::now(), sender));
        }
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
                (sender, futures::future::Either::Left(connection))
            }
            Way::Node(_) | Way::Kubelet(_) => {
                let tunnel = stream::connect(core, place).await.map_err(|status| status.message)?;
                let secure = self.secure.over(tunnel).await?;
                let (sender, connection) = handshake(TokioIo::new(secure)).await.map_err(|e| e.to_string())?;
                (sender, futures::future::Either::Right(connection))
            }
        };
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to a webhook ended");
            }
        });
        Ok(sender)
    }

    async fn exchange(
        &self,
        sender: &mut Sender,
        host: &str,
        uri: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Broken> {
        let mut request = Request::post(uri)
            .header(HOST, host)
            .header(ACCEPT, "application/json, */*")
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, "kube-apiserver-admission")
            .body(Full::new(body))
            .map_err(|error| Broken::Told(error.to_string()))?;
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

enum Broken {
    /// Before anything was answered.
    Closed,
    Told(String),
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
