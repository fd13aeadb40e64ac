//! What Kubernetes says of a body that can't be read.

use meta::{Status, quote};

use super::Shape;
use crate::resource::builtin_type;

/// It isn't known what the body is.
pub(super) fn unrecognized(shape: &Shape<'_>, why: &str, body: &[u8]) -> Status {
    let kind = &shape.kind.kind;
    Status::bad_request(format!(
        "the object provided is unrecognized (must be of type {kind}): {why} ({})",
        beginning(body)
    ))
}

/// The body is known to be of the kind, and is wrong.
pub(super) fn cannot_be_handled(shape: &Shape<'_>, why: &str) -> Status {
    let kind = &shape.kind.kind;
    Status::bad_request(format!(
        "{kind} in version {} cannot be handled as a {kind}: {why}",
        quote(&shape.kind.version)
    ))
}

/// Whether the kind is read whatever group stands in its `apiVersion`: options are part of every group.
pub(super) fn is_common(shape: &Shape<'_>) -> bool {
    shape.kind.kind.ends_with("Options")
}

/// The body is of another group or version.
pub(super) fn other_version(shape: &Shape<'_>, api_version: &str, kind: &str, is_known: bool) -> Status {
    let expected = shape.kind.api_version();
    if is_known || kind.is_empty() {
        return Status::bad_request(format!(
            "the API version in the data ({api_version}) does not match the expected API version ({expected})"
        ));
    }
    not_registered(shape, api_version, kind)
}

/// The body is of another kind.
pub(super) fn other_kind(shape: &Shape<'_>, kind: &str) -> Status {
    let found = shape.kind.group_version().with_kind(kind);
    if builtin_type(&found).is_none() {
        return not_registered(shape, &shape.kind.api_version(), kind);
    }
    let (version, expected) = (&shape.kind.version, &shape.kind.kind);
    Status::bad_request(format!(
        "{kind} in version {} cannot be handled as a {expected}: converting ({version}.{kind}) to \
         ({version}.{expected}): unknown conversion",
        quote(version)
    ))
}

fn not_registered(shape: &Shape<'_>, api_version: &str, kind: &str) -> Status {
    let version = api_version.rsplit('/').next().unwrap_or(api_version);
    Status::bad_request(format!(
        "{kind} in version {} cannot be handled as a {}: no kind {} is registered for version {} in scheme \
         \"pkg/api/legacyscheme/scheme.go:30\"",
        quote(version),
        shape.kind.kind,
        quote(kind),
        quote(api_version)
    ))
}

/// The beginning of a body, so that its sender can find the mistake.
fn beginning(body: &[u8]) -> String {
    const SHOWN: usize = 30;
    let start = &body[..body.len().min(SHOWN)];
    let mut text = match start.first() {
        None => return "<empty>".to_owned(),
        Some(b'{') => String::from_utf8_lossy(start).into_owned(),
        Some(_) => start.iter().map(|byte| format!("{byte:02x}")).collect(),
    };
    if body.len() > SHOWN {
        text.push_str(" ...");
    }
    text
}
