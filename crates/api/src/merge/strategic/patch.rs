//! Applies a strategic merge patch.

use serde_json::{Map, Value};

use super::Fault;
use super::directive::{DELETE_FROM, ORDER, PATCH, RETAIN_KEYS, without_directives, without_nulls};
use super::lists::{self, Kind};
use super::lookup::{Rules, bad_kind, list_rules, no_merge_key, object_rules};
use crate::merge::go_text;
use crate::schema::{Schema, TypeId};

type Object = Map<String, Value>;

/// The object with the patch applied.
pub(super) fn apply(schema: &Schema, ty: TypeId, current: &Value, patch: &Value) -> Result<Value, Fault> {
    let (Value::Object(current), Value::Object(patch)) = (current, patch) else {
        return Err(Fault::NotAnObject);
    };
    Ok(Value::Object(object(schema, ty, current.clone(), patch.clone())?))
}

fn object(schema: &Schema, ty: TypeId, mut current: Object, mut patch: Object) -> Result<Object, Fault> {
    if let Some(directive) = patch.remove(PATCH) {
        return match directive.as_str() {
            Some("replace") => Ok(patch),
            Some("delete") => Ok(Object::new()),
            _ => {
                patch.insert(PATCH.into(), directive.clone());
                Err(unknown_directive(&directive, &patch))
            }
        };
    }
    retain_keys(&mut current, &mut patch)?;
    ordered_lists(schema, ty, &mut current, &mut patch)?;
    for (key, value) in patch {
        let (name, deletes) = match key.strip_prefix(DELETE_FROM) {
            Some(rest) => (rest.strip_prefix('/').ok_or(Fault::BadDeleteList)?.to_owned(), true),
            None => (key, false),
        };
        if value.is_null() {
            current.remove(&name);
            continue;
        }
        match (current.remove(&name), value) {
            (Some(Value::Object(old)), Value::Object(new)) if !deletes => {
                let rules = object_rules(schema, ty, &name)?;
                let merged = if rules.strategy.replace() {
                    new
                } else {
                    object(schema, rules.ty, old, new)?
                };
                current.insert(name, Value::Object(merged));
            }
            (Some(Value::Array(old)), Value::Array(new)) => {
                let rules = list_rules(schema, ty, &name)?;
                current.insert(name, Value::Array(list(schema, rules, old, new, deletes)?));
            }
            (Some(old), _) if deletes => _ = current.insert(name, old),
            (None, _) if deletes => {}
            (_, new) => current.extend(without_directives(&without_nulls(&new)).map(|new| (name, new))),
        }
    }
    Ok(current)
}

fn unknown_directive(directive: &Value, patch: &Object) -> Fault {
    let shown = match directive {
        Value::String(text) => text.clone(),
        other => format!("%!s({}={})", go_text::go_type(other), go_text::plain(other)),
    };
    Fault::Other(format!(
        "unknown patch type: {shown} in map: {}",
        go_text::plain(&Value::Object(patch.clone()))
    ))
}

/// `$retainKeys`: fields that it doesn't name go away. It must name whatever the patch sets.
fn retain_keys(current: &mut Object, patch: &mut Object) -> Result<(), Fault> {
    let Some(list) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    let Value::Array(list) = list else {
        return Err(Fault::BadRetainKeys);
    };
    let is_kept = |name: &str| list.iter().any(|item| item == name);
    let is_set =
        |name: &str, value: &Value| !value.is_null() && !name.starts_with(DELETE_FROM) && !name.starts_with(ORDER);
    if patch.iter().any(|(name, value)| is_set(name, value) && !is_kept(name)) {
        return Err(Fault::BadRetainKeys);
    }
    current.retain(|name, _| is_kept(name));
    Ok(())
}

/// `$setElementOrder/…`: merges each list that has one and puts it in order. Both keys leave the patch.
fn ordered_lists(schema: &Schema, ty: TypeId, current: &mut Object, patch: &mut Object) -> Result<(), Fault> {
    let keys: Vec<String> = patch.keys().filter(|key| key.starts_with(ORDER)).cloned().collect();
    for key in keys {
        let order = as_list(patch.remove(&key))?.unwrap_or_default();
        let name = key[ORDER.len()..].strip_prefix('/').ok_or(Fault::BadOrderList)?;
        let old = as_list(current.get(name).cloned())?;
        let new = as_list(patch.get(name).cloned())?;
        let rules = list_rules(schema, ty, name)?;
        lists::check_order(new.as_deref().unwrap_or_default(), &order, rules.merge_key)?;
        let merged = match (&old, &new) {
            (Some(old), None) => old.clone(),
            (None, Some(new)) => new.iter().filter_map(without_directives).collect(),
            (Some(old), Some(new)) => list(schema, rules, old.clone(), new.clone(), false)?,
            (None, None) => continue,
        };
        let (ours, theirs) = lists::partition(merged, &order, rules.merge_key)?;
        let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
        let kind = lists::kind_of(&[&old, &new])?;
        let all = lists::interleave((ours, &order), (theirs, &old), rules.merge_key, kind)?;
        current.insert(name.to_owned(), Value::Array(all));
        patch.remove(name);
    }
    Ok(())
}

fn as_list(value: Option<Value>) -> Result<Option<Vec<Value>>, Fault> {
    match value {
        None => Ok(None),
        Some(Value::Array(items)) => Ok(Some(items)),
        Some(other) => Err(bad_kind(&Value::Array(Vec::new()), &other)),
    }
}

/// Merges two lists, or replaces one by the other where the schema doesn't say that they merge.
fn list(
    schema: &Schema,
    rules: Rules<'_>,
    old: Vec<Value>,
    new: Vec<Value>,
    deletes: bool,
) -> Result<Vec<Value>, Fault> {
    if !rules.strategy.merge() && !deletes {
        return Ok(new);
    }
    if old.is_empty() && new.is_empty() {
        return Ok(old);
    }
    let kind = lists::kind_of(&[&old, &new])?;
    if kind == Kind::Scalars {
        if deletes {
            return Ok(old.into_iter().filter(|item| !new.contains(item)).collect());
        }
        let merged = lists::united(&old, &new);
        let (ours, theirs) = lists::partition(merged, &new, rules.merge_key)?;
        return lists::interleave((ours, &new), (theirs, &old), rules.merge_key, kind);
    }
    let key = rules.merge_key;
    if key.is_empty() {
        return Err(Fault::Other("cannot merge lists without merge key for struct".into()));
    }
    let (old, new) = directives(old, new, key)?;
    let merged = merge_items(schema, rules, old.clone(), &new)?;
    let (ours, theirs) = lists::partition(merged, &new, key)?;
    lists::interleave((ours, &new), (theirs, &old), key, kind)
}

/// Follows the directives among the items of a patch: deletes from the old list, or replaces it.
fn directives(mut old: Vec<Value>, new: Vec<Value>, key: &str) -> Result<(Vec<Value>, Vec<Value>), Fault> {
    let mut plain = Vec::with_capacity(new.len());
    let mut replaces = false;
    for item in new {
        let Some(directive) = item.get(PATCH) else {
            plain.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                let id = item.get(key).ok_or_else(|| no_merge_key(&item, key))?;
                require_objects(&old)?;
                old.retain(|item| item.get(key) != Some(id));
            }
            Some("replace") => replaces = true,
            Some("merge") => {
                return Err(Fault::Other(
                    "merging lists cannot yet be specified in the patch".into(),
                ));
            }
            _ => return Err(unknown_directive(directive, item.as_object().unwrap_or(&Object::new()))),
        }
    }
    Ok(if replaces { (plain, Vec::new()) } else { (old, plain) })
}

fn merge_items(schema: &Schema, rules: Rules<'_>, mut old: Vec<Value>, new: &[Value]) -> Result<Vec<Value>, Fault> {
    let key = rules.merge_key;
    for item in new {
        if item.get(key).is_none() {
            return Err(no_merge_key(item, key));
        }
        require_objects(&old)?;
        match (lists::position(&old, item, key), item) {
            (Some(index), Value::Object(item)) => {
                let Value::Object(twin) = std::mem::take(&mut old[index]) else {
                    continue;
                };
                old[index] = Value::Object(object(schema, rules.ty, twin, item.clone())?);
            }
            _ => old.push(item.clone()),
        }
    }
    Ok(old)
}

fn require_objects(list: &[Value]) -> Result<(), Fault> {
    match list.iter().position(|item| !item.is_object()) {
        Some(index) => Err(Fault::Other(format!("value for key {index} is not a map"))),
        None => Ok(()),
    }
}
