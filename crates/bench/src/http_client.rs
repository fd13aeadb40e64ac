//! A client that costs as little as it can, because it shares the machine with what it measures: HTTP/1.1 with keep-alive,
//! one request at a time on a connection, bodies made beforehand, answers counted and thrown away. It decodes nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// How much of an answer that is no success is kept, to be shown.
const ERROR_TEXT: usize = 600;
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Where requests go, and as whom.
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) authority: HeaderValue,
    pub(crate) prefix: String,
    pub(crate) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    pub(crate) bearer: Option<HeaderValue>,
}

/// One request.
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) body: Bytes,
}

impl Call {
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: Bytes::new(),
        }
    }
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// How many bytes the body had.
    pub(crate) bytes: u64,
    /// The beginning of the body, unless it succeeded.
    pub(crate) error: Option<String>,
}

/// A connection that is kept.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    target: Arc<Target>,
}

impl Connection {
    pub(crate) async fn open(target: &Arc<Target>) -> anyhow::Result<Self> {
        let opening = async {
            let stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
            stream.set_nodelay(true)?;
            match &target.tls {
                None => Self::over(stream, target).await,
                Some((tls, name)) => {
                    let stream = TlsConnector::from(tls.clone()).connect(name.clone(), stream).await?;
                    Self::over(stream, target).await
                }
            }
        };
        let opened = tokio::time::timeout(CONNECT_LIMIT, opening)
            .await
            .map_err(anyhow::Error::from)
            .flatten();
        opened.with_context(|| format!("connecting to {}:{}", target.host, target.port))
    }

    async fn over<S>(stream: S, target: &Arc<Target>) -> anyhow::Result<Self>
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends by itself when the sender is dropped; a failure shows in the request that it hits.
        tokio::spawn(connection);
        Ok(Self {
            sender,
            target: target.clone(),
        })
    }

    /// Sends a request; the answer's body is still to be read.
    pub(crate) async fn send(&mut self, call: Call) -> anyhow::Result<Response<Incoming>> {
        let target = &self.target;
        let uri = if target.prefix.is_empty() {
            call.path
        } else {
            format!("{}{}", target.prefix, call.path)
        };
        let mut request = Request::builder()
            .method(call.method)
            .uri(uri)
            .header(HOST, &target.authority)
            .header(USER_AGENT, HeaderValue::from_static("gantry-bench"))
            .header(ACCEPT, JSON);
        if let Some(bearer) = &target.bearer {
            request = request.header(AUTHORIZATION, bearer);
        }
        if !call.body.is_empty() {
            request = request.header(CONTENT_TYPE, JSON);
        }
        let request = request.body(Full::new(call.body))?;
        self.sender.ready().await?;
        Ok(self.sender.send_request(request).await?)
    }

    /// Sends a request and reads the answer to its end.
    pub(crate) async fn exchange(&mut self, call: Call) -> anyhow::Result<Answer> {
        let response = self.send(call).await?;
        let status = response.status();
        let mut body = response.into_body();
        let mut bytes = 0;
        let mut text = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame?;
            let Some(data) = frame.data_ref() else { continue };
            bytes += data.len() as u64;
            if !status.is_success() && text.len() < ERROR_TEXT {
                text.extend_from_slice(&data[..data.len().min(ERROR_TEXT)]);
            }
        }
        let error = (!status.is_success()).then(|| format!("{status}: {}", String::from_utf8_lossy(&text)));
        Ok(Answer { status, bytes, error })
    }

    /// Sends a request and answers the body, for the few that are looked into.
    pub(crate) async fn fetch(&mut self, call: Call) -> anyhow::Result<Bytes> {
        let path = call.path.clone();
        let response = self.send(call).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        anyhow::ensure!(
            status.is_success(),
            "{path}: {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(body)
    }
}
