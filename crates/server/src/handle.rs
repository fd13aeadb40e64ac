//! The way of every request: who is it, may they, what is it about, and the answer.

use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use meta::Status;
use parking_lot::Mutex;

use crate::audit::Trail;
use crate::authz::{self, Attributes, Decision};
use crate::core::Core;
use crate::http::Body;
use crate::http::body::Incoming;
use crate::http::listen::PeerCertificate;
use crate::http::negotiate::{self, Forms, Wanted};
use crate::http::path::{RequestInfo, ResourcePath};
use crate::http::query::Query;
use crate::kinds::Kind;
use crate::rest::{self, Call, answer, spans};
use crate::traces::{self, Arrived, Root};
use crate::user::User;
use crate::{aggregation, authn, endpoints, mounted};

/// No body is larger.
const MAX_BODY: usize = 3 * 1024 * 1024;
/// No name that a client gives its request is longer.
const MAX_AUDIT_ID: usize = 64;

/// How it is known who makes a request.
pub(crate) enum Identity {
    /// By certificate or token.
    Network(Option<PeerCertificate>),
    /// By the one who holds the in-process service.
    InProcess(Arc<User>),
}

/// A request, and what its line and headers say.
struct Asked {
    parts: Parts,
    query: Query,
    info: RequestInfo,
    body: Incoming,
    wanted: Wanted,
    audit_id: String,
}

/// Answers a request.
pub(crate) async fn handle(core: Arc<Core>, parts: Parts, body: Incoming, identity: Identity) -> Response<Body> {
    let started = Instant::now();
    let query = Query::parse(parts.uri.query());
    let info = RequestInfo::parse(&parts.method, parts.uri.path(), &query);
    let (group, resource) = match &info.resource {
        Some(found) => (found.group.clone(), found.resource.clone()),
        None => Default::default(),
    };
    let verb = info.verb;
    if mounted::owns(&info.path)
        && let Some(registry) = core.registry.get().cloned()
    {
        return mounted::answer(&core, registry, parts, body, identity).await;
    }
    let core_of_metrics = Arc::clone(&core);
    let _running = core_of_metrics.metrics.request();
    let mut wanted = negotiate::accept(&parts.headers, Forms::All).unwrap_or(Wanted::JSON);
    wanted.pretty |= query.flag("pretty");
    let audit_id = audit_id(&parts);
    let asked = Asked {
        parts,
        query,
        info,
        body,
        wanted,
        audit_id: audit_id.clone(),
    };
    let mut response = identified(core, asked, identity, started).await;
    if let Ok(id) = HeaderValue::from_str(&audit_id) {
        response.headers_mut().insert("audit-id", id);
    }
    core_of_metrics
        .metrics
        .answered(verb, &group, &resource, response.status().as_u16(), started.elapsed());
    response
}

/// The name of the request in the audit log: what the client gave it, or a new one.
fn audit_id(parts: &Parts) -> String {
    let given = parts.headers.get("audit-id").and_then(|value| value.to_str().ok());
    match given.filter(|id| !id.is_empty() && id.len() <= MAX_AUDIT_ID) {
        Some(id) => id.to_owned(),
        None => uuid::Uuid::new_v4().to_string(),
    }
}

/// Finds out who asks. With that it is known which trace the request belongs to.
async fn identified(core: Arc<Core>, asked: Asked, identity: Identity, started: Instant) -> Response<Body> {
    let user = match identity {
        Identity::InProcess(user) => Ok((*user).clone()),
        Identity::Network(peer) => {
            let parts = &asked.parts;
            authn::authenticate(&core, parts.uri.path(), &parts.headers, peer.as_ref()).await
        }
    };
    let Some(tracer) = &core.tracer else {
        return audited(core, user, asked).await;
    };
    let root = Root::begin(
        tracer,
        &Arrived {
            parts: &asked.parts,
            info: &asked.info,
            audit_id: &asked.audit_id,
            user: user.as_ref().ok(),
            at: started,
        },
    );
    root.preceded_by("authentication");
    // Boxed, as it is seldom needed.
    let response = Box::pin(root.run(audited(core, user, asked))).await;
    root.end(response)
}

/// Begins the trail of the request for the audit log.
async fn audited(core: Arc<Core>, user: Result<User, Status>, asked: Asked) -> Response<Body> {
    let wanted = asked.wanted;
    let trail = core.audit.as_ref().and_then(|audit| {
        let _span = traces::leaf("audit");
        let user = user.as_ref().ok();
        audit.begin(user, &asked.parts, &asked.info, &asked.query, &asked.audit_id)
    });
    let answered = match user {
        Ok(user) => run(core, user, asked, trail.clone()).await,
        Err(status) => Err(status),
    };
    let response = answered.unwrap_or_else(|status| answer::of_status(&status, wanted));
    match trail {
        Some(trail) => trail.answered(response).await,
        None => response,
    }
}

async fn run(core: Arc<Core>, mut user: User, asked: Asked, trail: Option<Trail>) -> Result<Response<Body>, Status> {
    if let Some(other) = authn::impersonation::requested(&core, &user, &asked.parts.headers)? {
        user = other;
        if let Some(trail) = &trail {
            trail.impersonate(&user);
        }
    }
    let wanted = asked.wanted;
    let attributes = Attributes::of(&user, &asked.info, asked.query.get("fieldSelector").unwrap_or_default());
    let waiting = traces::leaf("priorityandfairness");
    let place = match core.fairness.enter(&core, &attributes, &asked.info, &asked.query).await {
        Ok(place) => place,
        Err(too_many) => return Ok(too_many.response()),
    };
    drop(waiting);
    let answered = serve(core, user, asked, trail).await;
    let mut response = answered.unwrap_or_else(|status| answer::of_status(&status, wanted));
    if let Some(place) = place {
        place.mark(response.headers_mut());
    }
    Ok(response)
}

/// Answers a request whose turn it is.
async fn serve(core: Arc<Core>, user: User, mut asked: Asked, trail: Option<Trail>) -> Result<Response<Body>, Status> {
    authorize(&core, &user, &asked.info, &asked.query, trail.as_ref()).await?;
    if let Some(route) = core.aggregation.route(&asked.info) {
        if let Some(trail) = &trail {
            trail.passed_on();
        }
        // Boxed, as it is seldom needed.
        return Box::pin(aggregation::pass(
            &core,
            &user,
            &mut asked.parts,
            asked.body,
            &route,
            &asked.audit_id,
        ))
        .await;
    }
    let Some(path) = asked.info.resource.clone() else {
        return endpoints::serve(&core, &user, &mut asked.parts, &asked.query, &asked.info).await;
    };
    resource(core, user, asked, path, trail).await
}

async fn authorize(
    core: &Core,
    user: &User,
    info: &RequestInfo,
    query: &Query,
    trail: Option<&Trail>,
) -> Result<(), Status> {
    let _span = traces::leaf("authorization");
    let attributes = Attributes::of(user, info, query.get("fieldSelector").unwrap_or_default());
    let mut decision = core.decide(&attributes);
    if user.node().is_some() && matches!(decision, Decision::NoOpinion(_)) {
        // The pod by which the node may do this can be newer than the cache.
        core.hub.fresh().await.map_err(crate::status::of_watch)?;
        decision = core.decide(&attributes);
    }
    let (told, why) = match &decision {
        Decision::Allow(why) => ("allow", why),
        Decision::NoOpinion(why) => ("forbid", why),
    };
    if let Some(trail) = trail {
        trail.annotate("authorization.k8s.io/decision", told);
        trail.annotate("authorization.k8s.io/reason", why);
    }
    match &decision {
        Decision::Allow(_) => Ok(()),
        Decision::NoOpinion(why) => Err(authz::forbidden(&attributes, why)),
    }
}

fn forms(kind: &Kind, subresource: Option<&str>) -> Forms {
    match subresource {
        Some("scale") => Forms::All,
        Some("binding" | "eviction" | "token") => Forms::Question,
        _ if kind.row.custom.is_some() => Forms::Custom,
        _ if kind.is_question() => Forms::Question,
        _ => Forms::All,
    }
}

async fn resource(
    core: Arc<Core>,
    user: User,
    asked: Asked,
    path: ResourcePath,
    trail: Option<Trail>,
) -> Result<Response<Body>, Status> {
    let Asked {
        parts,
        query,
        info,
        body,
        ..
    } = asked;
    let Some(kind) = core.kinds.find(&path.group, &path.version, &path.resource) else {
        return Ok(endpoints::not_found());
    };
    let mut wanted = negotiate::accept(&parts.headers, forms(&kind, path.subresource.as_deref()))?;
    wanted.pretty |= query.flag("pretty");
    let (body, unread) = match parts.method {
        _ if path.subresource.as_deref() == Some("proxy") => (Bytes::new(), Some(body)),
        Method::GET | Method::HEAD => (Bytes::new(), None),
        _ => (read(body).await?, None),
    };
    if let Some(trail) = &trail {
        trail.sent(&body, &parts.headers);
    }
    let call = Call {
        core,
        user,
        kind,
        path,
        verb: info.verb,
        method: parts.method,
        uri: parts.uri,
        query,
        headers: parts.headers,
        wanted,
        body,
        unread: Mutex::new(unread),
        warnings: Mutex::default(),
        trail,
        extensions: Mutex::new(parts.extensions),
    };
    if let Some(text) = call.kind.row.custom.as_ref().and_then(|custom| custom.deprecation()) {
        call.warn(text);
    }
    if let Some(text) = call.kind.rules.deprecation() {
        call.warn(text);
    }
    Ok(answered(&call).await)
}

/// The answer of a verb, or why there is none.
async fn answered(call: &Call) -> Response<Body> {
    let verb = spans::verb(call);
    // Boxed: what lies below is deep, and most of it is seldom needed.
    let answered = Box::pin(rest::handle(call)).await;
    let writing = spans::serialize(call);
    let response = answered.and_then(|answer| answer.into_response(call));
    let response = response.unwrap_or_else(|status| {
        let mut response = answer::of_status(&status, call.wanted);
        answer::add_warnings(call, &mut response);
        response
    });
    spans::end(verb, writing, response)
}

async fn read(mut body: Incoming) -> Result<Bytes, Status> {
    let mut all = BytesMut::new();
    let mut first = Bytes::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Status::bad_request(format!("reading the body: {error}")))?;
        let Ok(piece) = frame.into_data() else { continue };
        if first.len() + all.len() + piece.len() > MAX_BODY {
            return Err(Status::too_large(format!("limit is {MAX_BODY}")));
        }
        // Most bodies come in one piece, which needs no copy.
        if first.is_empty() && all.is_empty() {
            first = piece;
        } else {
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&piece);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// A plain text answer.
pub(crate) fn text(code: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::full(text.into()));
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}
