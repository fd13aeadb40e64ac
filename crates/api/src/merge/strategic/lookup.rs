//! What the schema says about patching a field.

use serde_json::Value;

use super::Fault;
use crate::merge::go_text;
use crate::schema::{PatchStrategy, Schema, Type, TypeId};

/// How a field is patched.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    /// The type of the field; of a list's elements when it was looked up as a list.
    pub(super) ty: TypeId,
    pub(super) strategy: PatchStrategy,
    /// The key that items are matched by; empty for scalars.
    pub(super) merge_key: &'a str,
}

/// The rules for a field that holds an object.
pub(super) fn object_rules<'a>(schema: &'a Schema, ty: TypeId, name: &str) -> Result<Rules<'a>, Fault> {
    let body = match schema.get(ty) {
        Type::Struct(body) => body,
        Type::Any => return Err(unknown("RawExtension", name)),
        other => {
            let kind = go_kind(other);
            return Err(Fault::Other(format!(
                "merging an object in json but data type is not struct, instead is: {kind}"
            )));
        }
    };
    // Go matches names without regard to case where there is no exact match.
    let field = body
        .field(name)
        .or_else(|| body.fields.iter().find(|field| field.name.eq_ignore_ascii_case(name)))
        .ok_or_else(|| unknown(body.name.rsplit('.').next().unwrap_or_default(), name))?;
    Ok(Rules {
        ty: field.ty,
        strategy: field.patch_strategy,
        merge_key: field.patch_merge_key.as_deref().unwrap_or(""),
    })
}

/// The rules for a field that holds a list.
pub(super) fn list_rules<'a>(schema: &'a Schema, ty: TypeId, name: &str) -> Result<Rules<'a>, Fault> {
    let rules = object_rules(schema, ty, name)?;
    match schema.get(rules.ty) {
        Type::List(list) if matches!(schema.get(list.element), Type::List(_)) => {
            Err(Fault::Other("unexpected slice of slice".into()))
        }
        Type::List(list) => Ok(Rules {
            ty: list.element,
            ..rules
        }),
        _ => Err(Fault::Other(format!(
            "expected slice or array type, but got: {}",
            go_kind(schema.get(ty))
        ))),
    }
}

/// An item that should have the merge key, and hasn't.
pub(super) fn no_merge_key(item: &Value, key: &str) -> Fault {
    Fault::Other(format!(
        "map: {} does not contain declared merge key: {key}",
        go_text::plain(item)
    ))
}

/// A value of another kind than belongs there.
pub(super) fn bad_kind(expected: &Value, got: &Value) -> Fault {
    Fault::Other(format!(
        "expected a {}, but received a {}",
        go_text::go_type(expected),
        go_text::go_type(got)
    ))
}

fn unknown(body: &str, name: &str) -> Fault {
    Fault::Other(format!(
        "unable to find api field in struct {body} for the json field {}",
        meta::quote(name)
    ))
}

fn go_kind(ty: &Type) -> &'static str {
    match ty {
        Type::Bool => "bool",
        Type::Int32 => "int32",
        Type::Int64 => "int64",
        Type::Double => "float64",
        Type::Map(_) => "map",
        Type::List(_) | Type::Bytes => "slice",
        Type::String => "string",
        _ => "struct",
    }
}
