//! Fairness: when more is asked of the server than it can do at once, each priority level has its share, and within a
//! level each flow has its turn (`flowcontrol.apiserver.k8s.io`, API Priority and Fairness).
//!
//! Flow schemas say to which level a request goes and what flow it is of; levels have seats and queues. Who is of an
//! exempt level, as the administrators are, never waits and takes no lock.

mod follow;
mod level;
pub(crate) mod objects;
mod plan;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::authz::Attributes;
use crate::core::Core;
use crate::handle;
use crate::http::Body;
use crate::http::path::RequestInfo;
use crate::http::query::Query;

pub(crate) use follow::run as follow;
use level::Seats;
use plan::Plan;

/// How many requests are served at once over all levels: what Kubernetes allows by default for reading and writing.
const SEATS: u32 = 600;
/// How long a request waits for a seat: a quarter of the time that a request may take.
const PATIENCE: Duration = Duration::from_secs(15);
/// A list takes a seat for so many objects, and so many seats at most.
const OBJECTS_OF_A_SEAT: usize = 100;
const WIDEST: usize = 10;

const SCHEMA_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-flowschema-uid");
const LEVEL_UID: HeaderName = HeaderName::from_static("x-kubernetes-pf-prioritylevel-uid");

/// The schemas and levels as they are now.
#[derive(Default)]
pub(crate) struct Fairness {
    plan: ArcSwap<Plan>,
}

/// What a request was found to be, for its answer's headers, and its seats while it is served.
pub(crate) struct Place {
    schema: HeaderValue,
    level: HeaderValue,
    _seats: Option<Seats>,
}

/// The request can't be served now.
pub(crate) struct TooMany;

impl Fairness {
    /// Waits until it is the request's turn; none when it is of a kind that is not counted.
    pub(crate) async fn enter(
        &self,
        core: &Core,
        asked: &Attributes<'_>,
        info: &RequestInfo,
        query: &Query,
    ) -> Result<Option<Place>, TooMany> {
        if takes_long(asked) {
            return Ok(None);
        }
        let plan = self.plan.load();
        let Some(found) = plan.classify(asked) else {
            return Ok(None);
        };
        let (schema, level) = (found.schema.header.clone(), found.level.header.clone());
        let limits = found.level.limits.clone();
        let flow = found.flow(asked);
        drop(plan);
        let seats = match limits {
            None => None,
            Some(limits) => {
                let waiting = limits.enter(flow, width(core, asked, info, query));
                let turn = tokio::time::timeout(PATIENCE, waiting).await;
                Some(turn.ok().flatten().ok_or(TooMany)?)
            }
        };
        Ok(Some(Place {
            schema,
            level,
            _seats: seats,
        }))
    }
}

impl Place {
    /// Says by which schema and level the request was served.
    pub(crate) fn mark(&self, headers: &mut HeaderMap) {
        headers.insert(SCHEMA_UID, self.schema.clone());
        headers.insert(LEVEL_UID, self.level.clone());
    }
}

impl TooMany {
    /// The answer, as Kubernetes words it.
    pub(crate) fn response(self) -> Response<Body> {
        let text = "Too many requests, please try again later.\n";
        let mut response = handle::text(StatusCode::TOO_MANY_REQUESTS, text);
        let headers = response.headers_mut();
        headers.insert("retry-after", HeaderValue::from_static("1"));
        response
    }
}

/// Streams that live as long as their client are no burden that a turn could bound.
fn takes_long(asked: &Attributes<'_>) -> bool {
    matches!(asked.subresource, "attach" | "exec" | "log" | "portforward" | "proxy")
}

/// How many seats a request takes: lists by what they have to read.
fn width(core: &Core, asked: &Attributes<'_>, info: &RequestInfo, query: &Query) -> u32 {
    let Some(path) = info.resource.as_ref().filter(|_| asked.verb == "list") else {
        return 1;
    };
    if !asked.name.is_empty() {
        return 1;
    }
    let kind = core.kinds.find(&path.group, &path.version, &path.resource);
    let stored = kind
        .and_then(|kind| kind.cache().ok().map(|cache| cache.len()))
        .unwrap_or(0);
    let limit = query
        .get("limit")
        .and_then(|limit| limit.parse().ok())
        .filter(|limit| *limit > 0);
    let objects = limit.map_or(stored, |limit: usize| limit.min(stored));
    let seats = objects.div_ceil(OBJECTS_OF_A_SEAT).clamp(1, WIDEST);
    u32::try_from(seats).unwrap_or(1)
}

/// What limits a level; shared with the requests that wait.
type Limits = Arc<level::Level>;
