//! Lists that are merged: their items matched by key or by value, and the order of the result.

use serde_json::{Map, Value};

use super::Fault;
use super::directive::{PATCH, is_delete};
use super::lookup::{bad_kind, no_merge_key};
use crate::merge::go_text;

/// What a list holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Objects,
    Scalars,
}

/// The kind of the items of all these lists; they must agree.
pub(super) fn kind_of(lists: &[&[Value]]) -> Result<Kind, Fault> {
    let mut first: Option<&Value> = None;
    for item in lists.iter().copied().flatten() {
        match first {
            None if item.is_array() => return Err(Fault::ListOfLists),
            None => first = Some(item),
            Some(first) if go_text::go_type(first) != go_text::go_type(item) => {
                let shown: Vec<String> = lists.iter().map(|list| go_text::plain_list(list)).collect();
                let shown = shown.join(" ");
                return Err(Fault::Other(format!("list element types are not identical: [{shown}]")));
            }
            Some(_) => {}
        }
    }
    match first {
        None => Err(Fault::Other("no elements in any of the given slices".into())),
        Some(Value::Object(_)) => Ok(Kind::Objects),
        Some(_) => Ok(Kind::Scalars),
    }
}

/// What an item is matched by: its key, or itself where the list has scalars.
pub(super) fn identity<'a>(item: &'a Value, key: &str) -> Option<&'a Value> {
    if key.is_empty() {
        Some(item)
    } else {
        item.as_object()?.get(key)
    }
}

/// The place of the item with the same identity.
pub(super) fn position(list: &[Value], item: &Value, key: &str) -> Option<usize> {
    let wanted = identity(item, key)?;
    list.iter().position(|item| identity(item, key) == Some(wanted))
}

/// Checks that each item is an object with the key.
pub(super) fn require_keys(list: &[Value], key: &str) -> Result<(), Fault> {
    list.iter().try_for_each(|item| match item {
        Value::Object(map) if map.contains_key(key) => Ok(()),
        Value::Object(_) => Err(no_merge_key(item, key)),
        other => Err(bad_kind(&Value::Object(Map::new()), other)),
    })
}

/// Splits items into those that a list has and those that it hasn't.
pub(super) fn partition(items: Vec<Value>, by: &[Value], key: &str) -> Result<(Vec<Value>, Vec<Value>), Fault> {
    if !key.is_empty() {
        require_keys(&items, key)?;
    }
    Ok(items.into_iter().partition(|item| position(by, item, key).is_some()))
}

/// Puts items in the order of a list; deletions go last, and what the list doesn't have stays where it is.
pub(super) fn sort(items: Vec<Value>, order: &[Value], key: &str, kind: Kind) -> Result<Vec<Value>, Fault> {
    let (mut items, deletions) = if kind == Kind::Objects {
        require_keys(&items, key)?;
        require_keys(order, key)?;
        items
            .into_iter()
            .partition(|item| !item.as_object().is_some_and(is_delete))
    } else {
        (items, Vec::new())
    };
    items.sort_by_cached_key(|item| position(order, item, key).unwrap_or(usize::MAX));
    items.extend(deletions);
    Ok(items)
}

/// One list of what the patch orders and what only the server has: each keeps its own order, and a server's item comes
/// before the first item of the patch that follows it on the server.
pub(super) fn interleave(
    (patch, patch_order): (Vec<Value>, &[Value]),
    (server, server_order): (Vec<Value>, &[Value]),
    key: &str,
    kind: Kind,
) -> Result<Vec<Value>, Fault> {
    let patch = sort(patch, patch_order, key, kind)?;
    let server = sort(server, server_order, key, kind)?;
    let mut out = Vec::with_capacity(patch.len() + server.len());
    let mut server = server.into_iter().peekable();
    for item in patch {
        let place = position(server_order, &item, key);
        while let (Some(place), Some(next)) = (place, server.peek()) {
            match position(server_order, next, key) {
                Some(next) if next < place => out.extend(server.next()),
                _ => break,
            }
        }
        out.push(item);
    }
    out.extend(server);
    Ok(out)
}

/// Checks that the items of a patch come in the order that it declares, and that it declares all of them.
pub(super) fn check_order(patch: &[Value], order: &[Value], key: &str) -> Result<(), Fault> {
    if patch.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut items = Vec::with_capacity(patch.len());
    for item in patch {
        match item {
            Value::Object(map) if !key.is_empty() && is_delete(map) => {}
            other if !key.is_empty() && !other.is_object() => return Err(bad_kind(&Value::Object(Map::new()), other)),
            item => items.push(item),
        }
    }
    let mut declared = order.iter().peekable();
    let mut items = items.into_iter().peekable();
    while let (Some(item), Some(next)) = (items.peek(), declared.peek()) {
        if item.as_object().is_some_and(|map| map.contains_key(PATCH)) {
            items.next();
            continue;
        }
        if !key.is_empty() {
            require_keys(std::slice::from_ref(*item), key)?;
            require_keys(std::slice::from_ref(*next), key)?;
        }
        if identity(item, key) == identity(next, key) {
            items.next();
        }
        declared.next();
    }
    if items.peek().is_some() {
        return Err(Fault::Other(format!(
            "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
            go_text::plain_list(patch),
            go_text::plain_list(order)
        )));
    }
    Ok(())
}

/// The scalars of both lists, each once.
pub(super) fn united(left: &[Value], right: &[Value]) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::with_capacity(left.len() + right.len());
    for item in left.iter().chain(right) {
        if !out.contains(item) {
            out.push(item.clone());
        }
    }
    out
}
