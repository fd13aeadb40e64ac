//! Makes a strategic merge patch out of two objects, with the same result as kubectl's algorithm.

use serde_json::{Map, Value};

use super::Fault;
use super::directive::{DELETE_FROM, ORDER, PATCH, RETAIN_KEYS};
use super::lists::{self, Kind};
use super::lookup::{list_rules, object_rules};
use crate::merge::go_text;
use crate::schema::{Schema, TypeId};

type Object = Map<String, Value>;

/// What is new or changed in a list, what is deleted by value, and the new order.
type Changes = (Vec<Value>, Vec<Value>, Vec<Value>);

/// The patch that makes `new` out of `old`.
pub(super) fn diff(schema: &Schema, ty: TypeId, old: &Value, new: &Value) -> Result<Value, Fault> {
    let (Value::Object(old), Value::Object(new)) = (old, new) else {
        return Err(Fault::NotAnObject);
    };
    Ok(Value::Object(objects(schema, ty, old, new, false)?))
}

fn objects(schema: &Schema, ty: TypeId, old: &Object, new: &Object, retains: bool) -> Result<Object, Fault> {
    let mut patch = Object::new();
    for (name, after) in new {
        let Some(before) = old.get(name) else {
            patch.insert(name.clone(), after.clone());
            continue;
        };
        match (before, after) {
            (Value::Object(before), Value::Object(after)) => {
                object_field(schema, ty, name, (before, after), &mut patch)?;
            }
            (Value::Array(before), Value::Array(after)) => {
                list_field(schema, ty, name, (before, after), &mut patch)?;
            }
            (before, after) if before != after => _ = patch.insert(name.clone(), after.clone()),
            _ => {}
        }
    }
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        patch.insert(name.clone(), Value::Null);
    }
    let is_set = |(name, value): (&String, &Value)| (!value.is_null()).then(|| Value::from(name.as_str()));
    let mut kept: Vec<Value> = if retains {
        new.iter().filter_map(is_set).collect()
    } else {
        Vec::new()
    };
    let drops = || {
        old.iter()
            .any(|(name, value)| !value.is_null() && !new.contains_key(name))
    };
    if !kept.is_empty() && (!patch.is_empty() || drops()) {
        kept.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        patch.insert(RETAIN_KEYS.into(), Value::Array(kept));
    }
    Ok(patch)
}

fn object_field(
    schema: &Schema,
    ty: TypeId,
    name: &str,
    (old, new): (&Object, &Object),
    patch: &mut Object,
) -> Result<(), Fault> {
    let rules = match object_rules(schema, ty, name) {
        Err(_) if old == new => return Ok(()),
        other => other?,
    };
    if rules.strategy.replace() {
        patch.insert(name.into(), Value::Object(new.clone()));
        return Ok(());
    }
    let inner = objects(schema, rules.ty, old, new, rules.strategy.retain_keys())?;
    if !inner.is_empty() {
        patch.insert(name.into(), Value::Object(inner));
    }
    Ok(())
}

fn list_field(
    schema: &Schema,
    ty: TypeId,
    name: &str,
    (old, new): (&[Value], &[Value]),
    patch: &mut Object,
) -> Result<(), Fault> {
    let rules = match list_rules(schema, ty, name) {
        Err(_) if old == new => return Ok(()),
        other => other?,
    };
    if !rules.strategy.merge() {
        if old != new {
            patch.insert(name.into(), Value::Array(new.to_vec()));
        }
        return Ok(());
    }
    if old.is_empty() {
        if !new.is_empty() {
            patch.insert(name.into(), Value::Array(new.to_vec()));
        }
        return Ok(());
    }
    let key = rules.merge_key;
    let retains = rules.strategy.retain_keys();
    let (changed, deleted, order) = match lists::kind_of(&[old, new])? {
        Kind::Scalars => scalars(old, new)?,
        Kind::Objects => (
            keyed(schema, rules.ty, (old, new), key, retains)?,
            Vec::new(),
            key_list(new, key),
        ),
    };
    let reordered = match key {
        "" => old != new,
        key => old.len() != new.len() || old.iter().zip(new).any(|(old, new)| old.get(key) != new.get(key)),
    };
    let needs_order = reordered || !changed.is_empty() || !deleted.is_empty();
    if !changed.is_empty() {
        patch.insert(name.into(), Value::Array(changed));
    }
    if !deleted.is_empty() {
        patch.insert(format!("{DELETE_FROM}/{name}"), Value::Array(deleted));
    }
    if needs_order && !order.is_empty() {
        patch.insert(format!("{ORDER}/{name}"), Value::Array(order));
    }
    Ok(())
}

/// What is added to a list of scalars, what is deleted from it, and its new order.
fn scalars(old: &[Value], new: &[Value]) -> Result<Changes, Fault> {
    let missing_in = |items: &[Value], list: &[Value]| -> Vec<Value> {
        let mut out: Vec<Value> = Vec::new();
        for item in items {
            if !list.contains(item) && !out.contains(item) {
                out.push(item.clone());
            }
        }
        out
    };
    let added = lists::sort(missing_in(new, old), new, "", Kind::Scalars)?;
    let mut deleted = missing_in(old, new);
    deleted.sort_by_cached_key(go_text::plain);
    Ok((added, deleted, new.to_vec()))
}

/// The changed items of a list of objects in their new order, then a deletion for each that is gone.
fn keyed(
    schema: &Schema,
    ty: TypeId,
    (old, new): (&[Value], &[Value]),
    key: &str,
    retains: bool,
) -> Result<Vec<Value>, Fault> {
    lists::require_keys(old, key)?;
    lists::require_keys(new, key)?;
    let mut out = Vec::new();
    // A key that is there twice, as a Service's port for two protocols, is paired from the end.
    let mut left: Vec<&Value> = old.iter().collect();
    for item in new.iter().rev() {
        let twin = left.iter().rposition(|before| before.get(key) == item.get(key));
        match (twin.map(|index| left.remove(index)), item) {
            (Some(Value::Object(before)), Value::Object(after)) => {
                let mut inner = objects(schema, ty, before, after, retains)?;
                if !inner.is_empty() {
                    inner.insert(key.into(), after[key].clone());
                    out.push(Value::Object(inner));
                }
            }
            _ => out.push(item.clone()),
        }
    }
    out.sort_by_cached_key(|item| lists::position(new, item, key));
    let mut gone: Vec<&Value> = left.into_iter().filter_map(|item| item.get(key)).collect();
    gone.sort_by_cached_key(|id| go_text::plain(id));
    for id in gone {
        let mut directive = Object::new();
        directive.insert(PATCH.into(), "delete".into());
        directive.insert(key.into(), id.clone());
        out.push(Value::Object(directive));
    }
    Ok(out)
}

/// The keys of a list's items, each in an object of its own.
fn key_list(list: &[Value], key: &str) -> Vec<Value> {
    let only_key = |item: &Value| {
        Some(Value::Object(Object::from_iter([(
            key.to_owned(),
            item.get(key)?.clone(),
        )])))
    };
    list.iter().filter_map(only_key).collect()
}
