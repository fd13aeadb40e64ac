//! A configuration laid over an object without any bookkeeping of owners: as server-side apply merges, and nothing is
//! ever taken away. What is atomic can't be laid over a part of, so it is refused.

use serde_json::Value;

use super::typed::{merge, validate};
use crate::schema::{ListType, MapType, Schema, Type, TypeId};

/// The live object with the configuration laid over it.
///
/// # Errors
/// Why the configuration doesn't fit, in Kubernetes' words.
pub fn overlay(schema: &Schema, ty: TypeId, live: &Value, config: &Value) -> Result<Value, String> {
    validate(schema, ty, config).map_err(|why| format!("failed to convert patch object to typed object: {why}"))?;
    let mut atomics = Vec::new();
    find(schema, ty, config, &mut String::new(), &mut atomics);
    if !atomics.is_empty() {
        let list = atomics.join(", ");
        return Err(format!(
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {list}"
        ));
    }
    merge(schema, ty, live, config).map_err(|why| format!("failed to merge patch: {why}"))
}

/// Collects the paths of everything atomic.
fn find(schema: &Schema, ty: TypeId, value: &Value, path: &mut String, out: &mut Vec<String>) {
    let here = path.len();
    match (schema.get(ty), value) {
        (Type::Struct(body), Value::Object(fields)) => {
            if body.map_type != MapType::Granular {
                out.push(path.clone());
            }
            for (name, value) in fields {
                if let Some(field) = body.field(name) {
                    path.push_str(&format!(".{name}"));
                    find(schema, field.ty, value, path, out);
                    path.truncate(here);
                }
            }
        }
        (Type::Map(map), Value::Object(entries)) => {
            if map.map_type != MapType::Granular {
                out.push(path.clone());
            }
            for (name, value) in entries {
                path.push_str(&format!(".{name}"));
                find(schema, map.value, value, path, out);
                path.truncate(here);
            }
        }
        (Type::List(list), Value::Array(items)) => {
            if list.list_type == ListType::Atomic {
                out.push(path.clone());
            }
            for (index, item) in items.iter().enumerate() {
                path.push_str(&format!("[{index}]"));
                find(schema, list.element, item, path, out);
                path.truncate(here);
            }
        }
        (Type::Any, Value::Object(_) | Value::Array(_)) | (Type::Deduced, Value::Array(_)) => out.push(path.clone()),
        _ => {}
    }
}
