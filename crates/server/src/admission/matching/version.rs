//! Objects in the version that somebody wants to see, and what they make of them brought back.

use api::codec::{self, FieldValidation, Shape};
use meta::Status;
use serde_json::Value;

use super::{Matched, body};
use crate::admission::Review;
use crate::kinds::Kind;

impl Matched {
    /// An object of the request in the version in which the request was matched.
    pub(crate) async fn see(&self, review: &Review<'_>, object: Option<&Value>) -> Result<Option<Value>, Status> {
        Ok(match (self, object) {
            (_, None) => None,
            (Matched::Own, Some(object)) => Some(object.clone()),
            (Matched::Other(kind), Some(object)) => Some(review.kind.convert(review.core, object, kind).await?),
        })
    }

    /// What somebody has made of the object, brought into its shape, with defaults, in the request's version.
    pub(crate) async fn take_back(&self, review: &Review<'_>, changed: Value) -> Result<Value, Status> {
        let kind = self.kind(review);
        let shape = shape(review, kind)?;
        let is_itself = shape.kind == kind.row.group_version_kind();
        let mut changed = codec::conform(changed, &shape, FieldValidation::Ignore)?.value;
        if is_itself {
            kind.rules.default(&mut changed);
        }
        match self {
            Matched::Own => Ok(changed),
            Matched::Other(_) => kind.convert(review.core, &changed, review.kind).await,
        }
    }
}

/// The shape of the request's body.
pub(crate) fn shape<'a>(review: &Review<'_>, kind: &'a Kind) -> Result<Shape<'a>, Status> {
    let gvk = body(review, kind);
    if gvk == kind.row.group_version_kind() {
        return Ok(Shape::from(&*kind.row));
    }
    Shape::builtin(gvk).ok_or_else(Status::no_such_resource)
}
