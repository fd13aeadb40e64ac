//! A request as those who judge it are told of it: an `AdmissionRequest` without the objects.

use std::sync::Arc;

use api::expression::{Asked, Authorizer, Scope, Verdict};
use meta::GroupVersionKind;
use serde_json::{Value, json};

use crate::admission::{Operation, Review};
use crate::authz::{Attributes, Decision};
use crate::core::Core;
use crate::kinds::Kind;
use crate::user::User;

/// The request, its resource in this version.
pub(crate) fn request(review: &Review<'_>, matched: &Kind) -> Value {
    let mut request = json!({
        "kind": kind_of(review, matched),
        "resource": resource_of(matched),
        "requestKind": kind_of(review, review.kind),
        "requestResource": resource_of(review.kind),
        "operation": review.operation.as_str(),
        "userInfo": review.user.to_json(),
        "dryRun": review.is_dry_run(),
        "options": review.options(),
    });
    for (key, value) in [
        ("subResource", review.subresource),
        ("requestSubResource", review.subresource),
        ("name", review.name),
        ("namespace", review.space()),
    ] {
        if !value.is_empty() {
            request[key] = value.into();
        }
    }
    request
}

fn kind_of(review: &Review<'_>, kind: &Kind) -> Value {
    let GroupVersionKind { group, version, kind } = body(review, kind);
    json!({"group": group, "version": version, "kind": kind})
}

/// The kind of the request's body.
pub(crate) fn body(review: &Review<'_>, kind: &Kind) -> GroupVersionKind {
    match kind.row.subresource(review.subresource) {
        Some(subresource) => subresource.kind.clone(),
        None => kind.row.group_version_kind(),
    }
}

fn resource_of(kind: &Kind) -> Value {
    json!({"group": &*kind.row.group, "version": &*kind.row.version, "resource": &*kind.row.plural})
}

/// What expressions see of a request.
pub(crate) fn scope<'a>(review: &Review<'_>, matched: &Kind, object: Option<&Value>, old: Option<&Value>) -> Scope<'a> {
    let (object, old) = (object.unwrap_or(&Value::Null), old.unwrap_or(&Value::Null));
    let mut scope = Scope::new(object, old, &request(review, matched));
    let by: Arc<dyn Authorizer> = Arc::new(Asker {
        core: Arc::clone(&review.call.core),
        user: review.user.clone(),
    });
    let about = Asked {
        group: review.kind.resource.group.clone(),
        resource: review.kind.resource.resource.clone(),
        subresource: review.subresource.to_owned(),
        namespace: review.space().to_owned(),
        name: review.name.to_owned(),
        ..Asked::default()
    };
    scope.set_authorizer(&by, about);
    scope
}

/// Asks the authorizers for the user of the request.
struct Asker {
    core: Arc<Core>,
    user: User,
}

impl Authorizer for Asker {
    fn decide(&self, asked: &Asked) -> Verdict {
        let account = asked.account.as_ref();
        let other = account.map(|(namespace, name)| User::service_account(namespace, name));
        let user = other.as_ref().unwrap_or(&self.user);
        let attributes = Attributes {
            subresource: &asked.subresource,
            namespace: &asked.namespace,
            name: &asked.name,
            fields: &asked.fields,
            path: asked.path.as_deref(),
            ..Attributes::resource(user, &asked.verb, &asked.group, &asked.resource)
        };
        let (allowed, reason) = match self.core.decide(&attributes) {
            Decision::Allow(reason) => (true, reason),
            Decision::NoOpinion(reason) => (false, reason),
        };
        Verdict { allowed, reason }
    }
}

impl Operation {
    /// What rules and reviews call it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Operation::Create => "CREATE",
            Operation::Update => "UPDATE",
            Operation::Delete => "DELETE",
            Operation::Connect => "CONNECT",
        }
    }
}
