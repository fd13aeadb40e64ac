//! One asker at one host: sends requests, answers challenges, follows redirects. Credentials, own headers and client
//! certificates go to the host itself only.

use std::sync::OnceLock;

use bytes::Bytes;
use http::header::{AUTHORIZATION, LOCATION, USER_AGENT};
use http::uri::Scheme;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use parking_lot::Mutex;
use serde_json::Value;

use super::auth::{self, Challenge, Tokens};
use super::credentials::Credential;
use super::hosts::{Endpoint, Tls};
use super::transport::{Outgoing, Transport, full};
use super::url;
use crate::error::{Error, Result, network};

/// Who we are, to registries.
pub(crate) const AGENT: &str = concat!("gantry/", env!("CARGO_PKG_VERSION"));
const MAX_REDIRECTS: usize = 10;
const MAX_ERROR: usize = 64 << 10;

/// A host and who asks it.
pub(crate) struct Session {
    pub(crate) endpoint: Endpoint,
    credential: Option<Credential>,
    transport: Transport,
    /// For other hosts, where redirects lead.
    elsewhere: OnceLock<Transport>,
    tokens: Tokens,
    challenges: Mutex<Vec<Challenge>>,
}

/// A request that can be sent again.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    /// What a token must allow: `repository:NAME:pull`.
    pub(crate) scope: &'a str,
    pub(crate) body: &'a (dyn Fn() -> Result<Outgoing> + Send + Sync),
}

/// No body.
pub(crate) fn nothing() -> Result<Outgoing> {
    Ok(full(Bytes::new()))
}

impl Session {
    /// Opens a session; a host that may do without TLS is asked whether it has it.
    pub(crate) async fn open(endpoint: Endpoint, credential: Option<Credential>) -> Result<Self> {
        let transport = Transport::new(&endpoint.tls)?;
        let mut session = Self {
            endpoint,
            credential,
            transport,
            elsewhere: OnceLock::new(),
            tokens: Tokens::default(),
            challenges: Mutex::default(),
        };
        if session.endpoint.insecure && session.endpoint.base.scheme() == Some(&Scheme::HTTPS) {
            let mut plain = session.endpoint.base.clone().into_parts();
            plain.scheme = Some(Scheme::HTTP);
            let ping = session.request_to(&Method::GET, &session.endpoint.base, &HeaderMap::new(), None)?;
            if session.transport.send(ping(nothing()?)?).await.is_err() {
                session.endpoint.base =
                    Uri::from_parts(plain).map_err(|error| network(&session.endpoint.host, &error))?;
            }
        }
        Ok(session)
    }

    /// Sends a request with what the host wants to see, and returns its last answer, whatever its status.
    pub(crate) async fn send(&self, ask: &Ask<'_>) -> Result<Response<Incoming>> {
        let mut value = self.authorization(ask.scope).await?;
        let mut answer = self.follow(ask, value.as_ref()).await?;
        if answer.status() == StatusCode::UNAUTHORIZED {
            let challenges = auth::challenges(answer.headers());
            if !challenges.is_empty() {
                *self.challenges.lock() = challenges;
                self.tokens.forget(ask.scope);
                value = self.authorization(ask.scope).await?;
                if value.is_some() {
                    answer = self.follow(ask, value.as_ref()).await?;
                }
            }
        }
        Ok(answer)
    }

    /// What the host wants in `Authorization`, as far as its challenges are known.
    async fn authorization(&self, scope: &str) -> Result<Option<HeaderValue>> {
        if let Some(value) = self.tokens.get(scope) {
            return Ok(Some(value));
        }
        let challenges = self.challenges.lock().clone();
        let plain = self.endpoint.base.scheme() == Some(&Scheme::HTTP);
        let mut refused = None;
        for challenge in challenges {
            match &challenge {
                Challenge::Basic => {
                    if let Some(value) = self.credential.as_ref().and_then(auth::basic) {
                        return Ok(Some(value));
                    }
                }
                Challenge::Bearer { .. } => {
                    let token = auth::token(
                        self.token_transport(),
                        &challenge,
                        scope,
                        self.credential.as_ref(),
                        plain,
                    );
                    match token.await {
                        Ok(Some((value, life))) => {
                            self.tokens.put(scope, value.clone(), life);
                            return Ok(Some(value));
                        }
                        Ok(None) => {}
                        Err(error) => refused = Some(error),
                    }
                }
            }
        }
        refused.map_or(Ok(None), Err)
    }

    /// A token service belongs to the registry, and is reached as the registry is; a certificate that is for the
    /// registry alone stays at home.
    fn token_transport(&self) -> &Transport {
        if self.endpoint.cluster {
            self.elsewhere()
        } else {
            &self.transport
        }
    }

    fn elsewhere(&self) -> &Transport {
        self.elsewhere.get_or_init(|| {
            let tls = Tls {
                skip_verify: self.endpoint.insecure,
                ..Tls::default()
            };
            // Without files to read there is nothing that could fail.
            Transport::new(&tls).unwrap_or_else(|_| self.transport.clone())
        })
    }

    async fn follow(&self, ask: &Ask<'_>, authorization: Option<&HeaderValue>) -> Result<Response<Incoming>> {
        let home = url::origin(&self.endpoint.base);
        let mut uri = ask.uri.clone();
        for _ in 0..MAX_REDIRECTS {
            let own = url::origin(&uri) == home;
            let request = self.request_to(&ask.method, &uri, &ask.headers, authorization.filter(|_| own))?;
            let transport = if own { &self.transport } else { self.elsewhere() };
            let answer = transport.send(request((ask.body)()?)?).await?;
            let moved = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let location = answer.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let (true, Some(location), Method::GET | Method::HEAD) = (moved, location, ask.method.clone()) else {
                return Ok(answer);
            };
            let next = url::resolve(&uri, location)?;
            let downgraded = uri.scheme() == Some(&Scheme::HTTPS) && next.scheme() == Some(&Scheme::HTTP);
            if downgraded && !self.endpoint.insecure {
                return Err(self.said(answer.status(), format!("redirects to {next}, which has no TLS")));
            }
            uri = next;
        }
        Err(self.said(StatusCode::LOOP_DETECTED, "redirects without end".to_string()))
    }

    /// A request's head; the body is put in when it is sent.
    fn request_to(
        &self,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
        authorization: Option<&HeaderValue>,
    ) -> Result<impl FnOnce(Outgoing) -> Result<Request<Outgoing>> + use<>> {
        let mut all = headers.clone();
        all.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        if url::origin(uri) == url::origin(&self.endpoint.base) {
            all.extend(self.endpoint.headers.clone());
        }
        if let Some(value) = authorization {
            all.insert(AUTHORIZATION, value.clone());
        }
        let (method, uri, host) = (method.clone(), uri.clone(), self.endpoint.host.clone());
        Ok(move |body| {
            let request = Request::builder().method(method).uri(uri).body(body);
            let mut request = request.map_err(|error| network(&host, &error))?;
            *request.headers_mut() = all;
            Ok(request)
        })
    }

    /// An error of this host.
    pub(crate) fn said(&self, status: StatusCode, reason: String) -> Error {
        Error::Registry {
            host: self.endpoint.host.clone(),
            status: status.as_u16(),
            reason,
        }
    }

    /// The error that an answer means, with what the registry says about it.
    pub(crate) async fn refusal(&self, what: &str, answer: Response<Incoming>) -> Error {
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ERROR).collect().await;
        let bytes = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let said = serde_json::from_slice::<Value>(&bytes).ok().and_then(|document| {
            let first = document.get("errors")?.get(0)?.clone();
            let text = |key: &str| first.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
            Some(format!(": {} {}", text("code"), text("message")))
        });
        let meaning = match status.as_u16() {
            404 => "not found".to_string(),
            401 | 403 if self.credential.is_none() => {
                "it isn't there, or wants credentials (`docker login`, or an image pull secret)".to_string()
            }
            401 | 403 => "these credentials don't allow it".to_string(),
            429 => "too many requests; try again later".to_string(),
            _ => status.to_string(),
        };
        self.said(status, format!("{what}: {meaning}{}", said.unwrap_or_default()))
    }
}
