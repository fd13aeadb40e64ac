//! Calls to services of the cluster or to URLs, over HTTPS connections that are kept and used again: webhooks' requests
//! with a JSON body, and requests that are passed on to extension servers. Errors are told in the words that Kubernetes'
//! users know.
//!
//! What is asked, and what follows from the answer, is the caller's.

mod answer;
mod fetch;
mod place;
mod pool;
mod tls;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use serde_json::Value;

use crate::core::Core;
use crate::http::body::Incoming;
use crate::object::text;
use crate::rest::sub::proxy::place::Place;
use crate::traces::{Caller, Outgoing};

pub(crate) use fetch::Fetcher;
use place::To;
use pool::{Pool, Question};
use tls::Trust;

/// How the server shows who it is, where that is wanted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    /// A certificate and its key, PEM.
    pub(crate) identity: Option<(Vec<u8>, Vec<u8>)>,
    /// A bearer token.
    pub(crate) token: Option<String>,
}

/// Where a webhook or an extension server is, and how it is called: a `clientConfig`, or the part of an APIService's spec
/// that reads like one, compiled.
pub(crate) struct Endpoint {
    to: To,
    path: String,
    pool: Pool,
}

impl Endpoint {
    /// Compiles a `clientConfig`.
    pub(crate) fn compile(config: &Value) -> Result<Endpoint, String> {
        Endpoint::compile_with(config, &Credentials::default())
    }

    /// The same for a service that wants to know who calls.
    pub(crate) fn compile_with(config: &Value, credentials: &Credentials) -> Result<Endpoint, String> {
        let service = &config["service"];
        let (to, path) = if service.is_object() {
            let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok());
            let to = To::Service {
                namespace: text(service, &["namespace"]).to_owned(),
                name: text(service, &["name"]).to_owned(),
                port: port.unwrap_or(443),
            };
            (to, text(service, &["path"]).to_owned())
        } else {
            To::parse(text(config, &["url"]))?
        };
        let bundle = STANDARD
            .decode(text(config, &["caBundle"]))
            .map_err(|error| error.to_string())?;
        let path = if path.starts_with('/') {
            path
        } else {
            format!("/{path}")
        };
        // Only APIServices have this field.
        let trust = match config["insecureSkipTLSVerify"] == true {
            true => Trust::Anyone,
            false => Trust::Bundle(&bundle),
        };
        Ok(Endpoint {
            pool: Pool::new(tls::config(&trust, credentials)?, &to.server_name(), credentials)?,
            to,
            path,
        })
    }

    /// Sends a body on somebody's behalf, and gives the answer's.
    pub(crate) async fn post(
        &self,
        core: &Core,
        caller: Caller<'_>,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, String> {
        let query = format!("?timeout={}s", timeout.as_secs());
        let url = format!("https://{}{}{query}", self.to.host(), self.path);
        let told = |why: String| format!("Post {url:?}: {why}");
        let mut call = Outgoing::begin(caller, "POST", &url);
        let mut headers = HeaderMap::new();
        call.mark(&mut headers);
        let exchange = async {
            let place = self.to.resolve(core).await?;
            let uri = format!("{}{query}", self.path);
            let question = Question {
                host: &self.to.host(),
                uri: &uri,
                headers: &headers,
                body: &body,
            };
            self.pool.send(core, &place, &question).await
        };
        let exchange = tokio::time::timeout(timeout, exchange).await;
        let exchange = exchange.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()));
        let (status, bytes) = exchange.map_err(|why| {
            call.failed(&why);
            told(why)
        })?;
        call.answered(status);
        answer::judge(status, &bytes)?;
        Ok(bytes)
    }

    /// All addresses that it has now, at least one.
    pub(crate) async fn places(&self, core: &Core) -> Result<Vec<Place>, String> {
        self.to.places(core).await
    }

    /// One of its addresses.
    pub(crate) async fn resolve(&self, core: &Core) -> Result<Place, String> {
        self.to.resolve(core).await
    }

    /// Passes a request on to one of its addresses as it is, and gives the answer when it begins.
    pub(crate) async fn pass(
        &self,
        core: &Core,
        place: &Place,
        request: Request<Incoming>,
    ) -> Result<Response<hyper::body::Incoming>, String> {
        self.pool.pass(core, place, request).await
    }
}
