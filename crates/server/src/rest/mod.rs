//! The one path that every resource takes, a file per verb.
//!
//! A write goes: decode, default, mutating admission, prepare, own, validate, validating admission, commit; an update
//! repeats that from the stored object until its revision holds. A read splices stored bytes and parses none. What
//! differs between kinds is in the schema table and in their rules; what is no plain verb is in `sub`.

pub(crate) mod answer;
pub(crate) mod commit;
pub(crate) mod continuation;
pub(crate) mod create;
pub(crate) mod decode;
pub(crate) mod decrypt;
pub(crate) mod delete;
pub(crate) mod delete_collection;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod options;
pub(crate) mod ownership;
pub(crate) mod patch;
pub(crate) mod render;
pub(crate) mod select;
pub(crate) mod spans;
pub(crate) mod sub;
pub(crate) mod table;
mod unsafe_delete;
pub(crate) mod update;
pub(crate) mod watch;

use std::sync::Arc;

use bytes::Bytes;
use http::{Extensions, HeaderMap, Method, Uri};
use meta::Status;
use parking_lot::Mutex;

use crate::audit::Trail;
use crate::core::Core;
use crate::http::body::Incoming;
use crate::http::negotiate::Wanted;
use crate::http::path::ResourcePath;
use crate::http::query::Query;
use crate::kinds::Kind;
use crate::user::User;

pub(crate) use answer::Answer;

/// One request for a resource, authenticated and authorized, its body read unless it is passed on.
pub(crate) struct Call {
    pub(crate) core: Arc<Core>,
    pub(crate) user: User,
    pub(crate) kind: Arc<Kind>,
    pub(crate) path: ResourcePath,
    pub(crate) verb: &'static str,
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) wanted: Wanted,
    pub(crate) body: Bytes,
    /// The body of a request that is passed on: it is not read here.
    pub(crate) unread: Mutex<Option<Incoming>>,
    pub(crate) warnings: Mutex<Vec<String>>,
    /// What the audit log is told of the request.
    pub(crate) trail: Option<Trail>,
    /// What the connection left with the request: the way to upgrade it.
    pub(crate) extensions: Mutex<Extensions>,
}

impl Call {
    pub(crate) fn namespace(&self) -> Option<&str> {
        if self.kind.row.namespaced {
            self.path.namespace.as_deref()
        } else {
            None
        }
    }

    /// The name in the path; a path that must have one and hasn't isn't routed here.
    pub(crate) fn name(&self) -> Result<&str, Status> {
        self.path
            .name
            .as_deref()
            .ok_or_else(|| Status::bad_request("name parameter required"))
    }

    pub(crate) fn subresource(&self) -> &str {
        self.path.subresource.as_deref().unwrap_or_default()
    }

    /// Notes something for the audit log.
    pub(crate) fn annotate(&self, key: &str, value: &str) {
        if let Some(trail) = &self.trail {
            trail.annotate(key, value);
        }
    }

    /// Tells the client something in a `Warning` header.
    pub(crate) fn warn(&self, text: impl Into<String>) {
        let text = text.into();
        let mut warnings = self.warnings.lock();
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }
}

/// Answers a request for a resource.
pub(crate) async fn handle(call: &Call) -> Result<Answer, Status> {
    if call.path.subresource.is_some() {
        return sub::handle(call).await;
    }
    let row = &call.kind.row;
    if !row.has_verb(call.verb) {
        return Err(Status::method_not_allowed(&call.kind.resource, call.verb));
    }
    if call.kind.cache().is_err() {
        return sub::review(call).await;
    }
    if row.namespaced && call.path.namespace.is_none() && !matches!(call.verb, "list" | "watch") {
        return Err(Status::no_such_resource());
    }
    match call.verb {
        "get" => get::get(call).await,
        "list" => list::list(call).await,
        "watch" => watch::watch(call).await,
        "create" if call.path.name.is_none() => create::create(call).await,
        "update" if call.path.name.is_some() => update::put(call).await,
        "patch" if call.path.name.is_some() => patch::patch(call).await,
        "delete" => delete::delete(call).await,
        "deletecollection" => delete_collection::delete_collection(call).await,
        verb => Err(Status::method_not_allowed(&call.kind.resource, verb)),
    }
}
