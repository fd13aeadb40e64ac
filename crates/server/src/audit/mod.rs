//! The audit log: who asked for what, and how it ended, as a policy says. A request's trail begins when it is known who
//! makes it, gathers what is found out on its way, and is written at each stage that the policy wants.
//!
//! Nothing of it is paid for by a server without a policy.

mod event;
mod log;
mod policy;
mod webhook;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use api::codec::{self, ContentType};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Response};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use serde_json::Value;

use crate::authz::Attributes;
use crate::http::Body;
use crate::http::listen::PeerAddress;
use crate::http::path::RequestInfo;
use crate::http::query::Query;
use crate::user::User;

use event::Event;
use log::Log;

pub use log::LogSettings;
pub use policy::{Level, Policy, Stage};
pub use webhook::WebhookSettings;

/// Subresources whose answers last as long as the client wants.
const STREAMS: [&str; 5] = ["attach", "exec", "log", "portforward", "proxy"];

/// What is written down, and where to.
#[derive(Clone, Debug, Default)]
pub struct AuditSettings {
    /// What; without it nothing is.
    pub policy: Option<Policy>,
    /// The file.
    pub log: Option<LogSettings>,
    /// The service that events are sent to.
    pub webhook: Option<WebhookSettings>,
}

/// Where events go, and which.
pub(crate) struct Audit {
    policy: Policy,
    log: Option<Log>,
    webhook: Option<webhook::Webhook>,
}

impl Audit {
    /// Opens what the settings name; none when nothing is to be written, or to nowhere.
    pub(crate) fn open(settings: &AuditSettings) -> Result<Option<Arc<Audit>>, crate::Error> {
        let Some(policy) = settings.policy.clone() else {
            return Ok(None);
        };
        let log = match &settings.log {
            None => None,
            Some(log) => Some(Log::open(log).map_err(|source| crate::Error::AuditLog {
                path: log.path.clone(),
                source,
            })?),
        };
        let webhook = settings.webhook.clone().map(webhook::Webhook::new).transpose();
        let webhook = webhook.map_err(crate::Error::AuditWebhook)?;
        if log.is_none() && webhook.is_none() {
            return Ok(None);
        }
        Ok(Some(Arc::new(Audit { policy, log, webhook })))
    }

    /// Sends what was gathered to the webhook, until the server stops.
    pub(crate) async fn run(&self, core: &crate::core::Core) {
        if let Some(webhook) = &self.webhook {
            webhook.run(core).await;
        }
    }

    fn write(&self, event: &Event) {
        if let Some(log) = &self.log {
            log.write(&event.line());
        }
        if let Some(webhook) = &self.webhook {
            webhook.send(event);
        }
    }

    /// Begins the trail of a request; none when the policy doesn't want it. `user` is none for somebody who could not show
    /// who they are.
    pub(crate) fn begin(
        self: &Arc<Self>,
        user: Option<&User>,
        parts: &Parts,
        info: &RequestInfo,
        query: &Query,
        audit_id: &str,
    ) -> Option<Trail> {
        let nobody = User::default();
        let fields = query.get("fieldSelector").unwrap_or_default();
        let asked = Attributes::of(user.unwrap_or(&nobody), info, fields);
        let verdict = self.policy.judge(&asked, user.is_some());
        if verdict.level == Level::None {
            return None;
        }
        let now = meta::time::now_micros();
        let event = Event {
            kind: "Event",
            api_version: "audit.k8s.io/v1",
            level: verdict.level,
            audit_id: audit_id.to_owned(),
            stage: Stage::RequestReceived,
            request_uri: parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
            verb: info.verb,
            user: event::user(user.unwrap_or(&nobody)),
            impersonated_user: None,
            source_ips: sources(parts),
            user_agent: header(&parts.headers, "user-agent").to_owned(),
            object_ref: info.resource.as_ref().map(event::object_ref),
            response_status: None,
            request_object: None,
            response_object: None,
            request_received_timestamp: now,
            stage_timestamp: String::new(),
            annotations: Default::default(),
        };
        let lasts = matches!(info.verb, "watch" | "proxy") || STREAMS.contains(&asked.subresource);
        let trail = Trail(Arc::new(Inner {
            audit: Arc::clone(self),
            omit_stages: verdict.omit_stages,
            omit_managed_fields: verdict.omit_managed_fields,
            level: verdict.level,
            lasts,
            foreign: AtomicBool::new(false),
            event: Mutex::new(event),
        }));
        trail.0.reach(Stage::RequestReceived);
        Some(trail)
    }
}

/// The trail of one request. Clones are the same trail.
#[derive(Clone)]
pub(crate) struct Trail(Arc<Inner>);

struct Inner {
    audit: Arc<Audit>,
    omit_stages: Vec<Stage>,
    omit_managed_fields: bool,
    level: Level,
    /// Whether the answer is a stream.
    lasts: bool,
    /// Whether somebody else answers.
    foreign: AtomicBool,
    event: Mutex<Event>,
}

impl Inner {
    fn reach(&self, stage: Stage) {
        if self.omit_stages.contains(&stage) {
            return;
        }
        let mut event = self.event.lock();
        event.stage = stage;
        event.stage_timestamp = match stage {
            Stage::RequestReceived => event.request_received_timestamp.clone(),
            _ => meta::time::now_micros(),
        };
        self.audit.write(&event);
    }
}

impl Trail {
    /// The one in whose name it goes on.
    pub(crate) fn impersonate(&self, user: &User) {
        self.0.event.lock().impersonated_user = Some(event::user(user));
    }

    /// Somebody else answers: what was sent and what is answered goes by unseen.
    pub(crate) fn passed_on(&self) {
        self.0.foreign.store(true, Ordering::Relaxed);
    }

    /// Notes something that was found out.
    pub(crate) fn annotate(&self, key: &str, value: &str) {
        let mut event = self.0.event.lock();
        event
            .annotations
            .entry(key.to_owned())
            .or_insert_with(|| value.to_owned());
    }

    /// Notes what was sent.
    pub(crate) fn sent(&self, body: &Bytes, headers: &HeaderMap) {
        if body.is_empty() || self.0.level < Level::Request {
            return;
        }
        let Some(mut object) = codec::decode_any(body, content(headers)) else {
            return;
        };
        if self.0.omit_managed_fields {
            event::without_managed_fields(&mut object);
        }
        let mut event = self.0.event.lock();
        if let Some(named) = &mut event.object_ref {
            for key in ["name", "namespace", "uid", "resourceVersion"] {
                let value = object["metadata"].get(key).filter(|value| value.is_string());
                if let Some(value) = value.filter(|_| !named.contains_key(key)) {
                    named.insert(key.to_owned(), value.clone());
                }
            }
        }
        event.request_object = Some(object);
    }

    /// Notes how it ends. The answer's body is only read where the policy wants it or it is a refusal; a stream ends the
    /// trail when it ends itself.
    pub(crate) async fn answered(&self, response: Response<Body>) -> Response<Body> {
        let (parts, body) = response.into_parts();
        let code = parts.status.as_u16();
        let foreign = self.0.foreign.load(Ordering::Relaxed);
        let wants_object = self.0.level == Level::RequestResponse && !self.0.lasts && !foreign;
        let (object, body) = match (code >= 400 && !foreign) || wants_object {
            true => read(&parts.headers, body).await,
            false => (None, body),
        };
        let is_status = object.as_ref().is_some_and(|object| object["kind"] == "Status");
        {
            let mut event = self.0.event.lock();
            event.response_status = Some(event::response_status(code, object.as_ref().filter(|_| is_status)));
            if wants_object {
                event.response_object = object.map(|mut object| {
                    if self.0.omit_managed_fields {
                        event::without_managed_fields(&mut object);
                    }
                    object
                });
            }
        }
        if !self.0.lasts && foreign {
            return Response::from_parts(parts, body.until_dropped(End(Arc::clone(&self.0))));
        }
        if !self.0.lasts || code >= 400 {
            self.0.reach(Stage::ResponseComplete);
            return Response::from_parts(parts, body);
        }
        self.0.reach(Stage::ResponseStarted);
        Response::from_parts(parts, body.until_dropped(End(Arc::clone(&self.0))))
    }
}

/// Ends the trail of a stream.
struct End(Arc<Inner>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.reach(Stage::ResponseComplete);
    }
}

/// The object in a body, and the body again.
async fn read(headers: &HeaderMap, body: Body) -> (Option<Value>, Body) {
    match body.collect().await {
        Ok(collected) => {
            let bytes = collected.to_bytes();
            let plain = match header(headers, "content-encoding") {
                "gzip" => gunzip(&bytes),
                _ => bytes.clone(),
            };
            (codec::decode_any(&plain, content(headers)), Body::full(bytes))
        }
        Err(error) => (None, Body::stream(futures::stream::once(async move { Err(error) }))),
    }
}

fn gunzip(bytes: &[u8]) -> Bytes {
    let mut plain = Vec::new();
    let _ = std::io::copy(&mut flate2::read::GzDecoder::new(bytes), &mut plain);
    plain.into()
}

fn content(headers: &HeaderMap) -> ContentType {
    let text = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    match text.and_then(|text| text.split(';').next()).unwrap_or_default().trim() {
        "application/vnd.kubernetes.protobuf" => ContentType::Protobuf,
        text if text.ends_with("yaml") => ContentType::Yaml,
        _ => ContentType::Json,
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// Where a request comes from: what proxies say, then the connection's other end.
fn sources(parts: &Parts) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut add = |address: &str| {
        if let Ok(address) = address.trim().parse::<IpAddr>() {
            let address = address.to_string();
            if found.last() != Some(&address) {
                found.push(address);
            }
        }
    };
    header(&parts.headers, "x-forwarded-for").split(',').for_each(&mut add);
    add(header(&parts.headers, "x-real-ip"));
    if let Some(PeerAddress(peer)) = parts.extensions.get::<PeerAddress>() {
        add(&peer.ip().to_canonical().to_string());
    }
    found
}
