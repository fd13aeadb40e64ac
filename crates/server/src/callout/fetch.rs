//! Documents that the server fetches over HTTPS: an issuer's discovery and its keys. Seldom enough for a connection each.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HOST, LOCATION, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;

use super::Credentials;
use super::place::To;
use super::tls::{self, Secure, Trust};

/// How long it may take, redirections and all.
const TIMEOUT: Duration = Duration::from_secs(30);
/// No document is larger.
const MAX: usize = 4 * 1024 * 1024;
/// No more redirections are followed.
const HOPS: usize = 10;

/// Fetches documents from servers that some authorities vouch for.
pub(crate) struct Fetcher {
    config: Arc<ClientConfig>,
}

impl Fetcher {
    /// Trusts a bundle of PEM certificates; without one, those that the machine trusts.
    pub(crate) fn new(bundle: &[u8]) -> Result<Fetcher, String> {
        let config = tls::config(&Trust::Bundle(bundle), &Credentials::default())?;
        Ok(Fetcher { config })
    }

    /// The document at a URL.
    pub(crate) async fn get(&self, url: &str, token: Option<&str>) -> Result<(StatusCode, Bytes), String> {
        let told = |why: String| format!("Get {url:?}: {why}");
        let fetched = async {
            let (mut at, mut token) = (url.to_owned(), token);
            for _ in 0..HOPS {
                match self.hop(&at, token).await? {
                    Hop::Document(code, bytes) => return Ok((code, bytes)),
                    Hop::Elsewhere(next) => {
                        // What proves who asks is for the one who was asked.
                        token = token.filter(|_| authority(&next) == authority(&at));
                        at = next;
                    }
                }
            }
            Err(format!("stopped after {HOPS} redirects"))
        };
        match tokio::time::timeout(TIMEOUT, fetched).await {
            Ok(result) => result.map_err(told),
            Err(_) => Err(told("context deadline exceeded".to_owned())),
        }
    }

    async fn hop(&self, url: &str, token: Option<&str>) -> Result<Hop, String> {
        let uri: http::Uri = url.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
        if uri.scheme_str() != Some("https") {
            return Err("the URL's scheme must be https".to_owned());
        }
        let (to, _) = To::parse(url)?;
        let To::Url { host, port, .. } = &to else {
            return Err("no host".to_owned());
        };
        let tcp = TcpStream::connect((host.as_str(), *port)).await;
        let tcp = tcp.map_err(|error| format!("dial tcp {host}:{port}: {error}"))?;
        let secure = Secure::new(Arc::clone(&self.config), &to.server_name())
            .over(tcp)
            .await?;
        let (mut sender, connection) = handshake(TokioIo::new(secure))
            .await
            .map_err(|error| error.to_string())?;
        let connection = tokio::spawn(connection);
        let mut request = Request::get(uri.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, to.host())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, "gantry");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Empty::<Bytes>::new()).map_err(|error| error.to_string())?;
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let code = answer.status();
        if code.is_redirection()
            && let Some(next) = answer.headers().get(LOCATION).and_then(|next| next.to_str().ok())
        {
            let next = match next.strip_prefix('/') {
                Some(path) => format!("https://{}/{path}", to.host()),
                None => next.to_owned(),
            };
            return Ok(Hop::Elsewhere(next));
        }
        let body = Limited::new(answer.into_body(), MAX).collect().await;
        let bytes = body.map_err(|error| error.to_string())?.to_bytes();
        connection.abort();
        Ok(Hop::Document(code, bytes))
    }
}

enum Hop {
    Document(StatusCode, Bytes),
    Elsewhere(String),
}

fn authority(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    uri.authority().map(ToString::to_string)
}
