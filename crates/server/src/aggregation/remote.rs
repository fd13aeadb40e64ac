//! One version of a group at another server: where that is, and questions of this server's own to it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST, HeaderMap, HeaderValue, IF_NONE_MATCH, USER_AGENT};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use meta::Status;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use super::headers;
use crate::callout::{Credentials, Endpoint};
use crate::core::Core;
use crate::http::body::incoming;
use crate::object::{self, text};
use crate::pki::Pki;
use crate::rest::sub::proxy::place::Place;
use crate::user::User;

/// No document of another server is larger.
const MAX_DOCUMENT: usize = 32 << 20;

/// A version of a group that an APIService leads elsewhere for.
pub(crate) struct Remote {
    /// The APIService's name.
    pub(super) name: String,
    pub(crate) group: String,
    pub(crate) version: String,
    /// The priorities of the group, and of the version in it.
    pub(super) of_group: i64,
    pub(super) of_version: i64,
    pub(super) service: Service,
    /// What it was made from: another origin is another remote.
    pub(super) origin: [u8; 32],
    /// How it is called, or why it can't be.
    pub(super) endpoint: Result<Endpoint, String>,
    /// Told when it is worth asking again.
    pub(super) wake: Notify,
}

/// The Service that an APIService names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) port: i64,
}

/// An answer to this server.
pub(super) struct Answer {
    pub(super) code: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A question of this server.
pub(super) struct Question<'a> {
    pub(super) path: &'a str,
    pub(super) accept: &'static str,
    /// The tag of the answer that is known already.
    pub(super) known: Option<&'a str>,
    pub(super) user: &'a User,
    pub(super) patience: Duration,
}

impl Remote {
    /// The remote of an APIService; none when it is local, or not another server's to serve.
    pub(super) fn of(service: &Value, origin: [u8; 32], pki: &Pki) -> Option<Remote> {
        let (group, version) = key(service)?;
        let spec = &service["spec"];
        let client = pki.front_proxy.client();
        let credentials = Credentials {
            identity: Some((client.cert_pem.clone().into(), client.key_pem.clone().into())),
            token: None,
        };
        Some(Remote {
            name: object::name(service).to_owned(),
            group: group.to_owned(),
            version: version.to_owned(),
            of_group: spec["groupPriorityMinimum"].as_i64().unwrap_or_default(),
            of_version: spec["versionPriority"].as_i64().unwrap_or_default(),
            service: Service {
                namespace: text(spec, &["service", "namespace"]).to_owned(),
                name: text(spec, &["service", "name"]).to_owned(),
                port: spec["service"]["port"].as_i64().unwrap_or(443),
            },
            origin,
            endpoint: Endpoint::compile_with(spec, &credentials),
            wake: Notify::new(),
        })
    }

    /// `GROUP/VERSION`.
    pub(super) fn key(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }

    /// The path of its discovery document, which every such server must have.
    pub(super) fn path(&self) -> String {
        format!("/apis/{}/{}", self.group, self.version)
    }

    /// Asks at any of its addresses.
    pub(super) async fn ask(&self, core: &Core, question: &Question<'_>) -> Result<Answer, String> {
        let endpoint = self.endpoint.as_ref().map_err(Clone::clone)?;
        let place = endpoint.resolve(core).await?;
        self.ask_at(core, &place, question).await
    }

    /// Asks at one address.
    pub(super) async fn ask_at(&self, core: &Core, place: &Place, question: &Question<'_>) -> Result<Answer, String> {
        let endpoint = self.endpoint.as_ref().map_err(Clone::clone)?;
        let request = question.request(place).map_err(|status| status.message)?;
        let exchange = async {
            let answer = endpoint.pass(core, place, request).await?;
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, MAX_DOCUMENT).collect().await;
            Ok::<_, String>(Answer {
                code: parts.status,
                headers: parts.headers,
                body: body.map_err(|error| error.to_string())?.to_bytes(),
            })
        };
        let answer = tokio::time::timeout(question.patience, exchange).await;
        answer.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()))
    }
}

impl Question<'_> {
    fn request(&self, place: &Place) -> Result<Request<crate::http::body::Incoming>, Status> {
        let mut request = Request::get(self.path)
            .header(HOST, authority(place))
            .header(ACCEPT, self.accept)
            .header(USER_AGENT, "gantry-aggregator")
            .body(incoming(Empty::<Bytes>::new()))
            .map_err(Status::internal)?;
        let out = request.headers_mut();
        if let Some(known) = self.known.and_then(|known| HeaderValue::from_str(known).ok()) {
            out.insert(IF_NONE_MATCH, known);
        }
        headers::identify(out, self.user)?;
        Ok(request)
    }
}

/// Group and version of an APIService that leads elsewhere.
pub(super) fn key(service: &Value) -> Option<(&str, &str)> {
    let (group, version) = (text(service, &["spec", "group"]), text(service, &["spec", "version"]));
    let is_remote = service["spec"]["service"].is_object() && !group.is_empty() && group != super::GROUP;
    is_remote.then_some((group, version))
}

/// What tells whether an APIService is still the one that a remote was made from.
pub(super) fn origin(service: &Value) -> [u8; 32] {
    let text = format!("{} {}", object::uid(service), service["spec"]);
    Sha256::digest(text).into()
}

/// An address as it stands in URLs.
pub(super) fn authority(place: &Place) -> String {
    match place.host.contains(':') {
        true => format!("[{}]:{}", place.host, place.port),
        false => format!("{}:{}", place.host, place.port),
    }
}

/// Two of them are one as long as they have one origin.
pub(super) fn same(one: &Arc<Remote>, other: &Arc<Remote>) -> bool {
    one.origin == other.origin
}
