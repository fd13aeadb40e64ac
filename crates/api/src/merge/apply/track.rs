//! Ownership of everything that isn't an apply: create, update, and the other patches.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::Value;

use super::managed::{self, Entry, Managed, Manager, Operation};
use super::settle::settle;
use super::{NEVER_OWNED, Target, cap};
use crate::merge::typed::skeleton;

/// Brings the managedFields of `new` up to date, which is about to be stored in place of `old` (`None` when it is being
/// created). The fields that differ belong to `manager` from now on; a write that changes nothing changes no ownership.
///
/// A client may replace managedFields itself, or clear them with `[]` or `[{}]`; one that leaves them out keeps the old
/// ones, and so does every write to a subresource. An object without any stays without, until somebody applies to it.
/// Both objects have their `apiVersion` and `kind`, and defaults are in both.
pub fn track_update(target: &Target<'_>, old: Option<&Value>, new: &mut Value, manager: &str, now: Timestamp) {
    if !new.get("metadata").is_some_and(Value::is_object) {
        return;
    }
    let given = managed::take(new);
    let live = old.and_then(managed::of);
    let mut entries = source(target, given, live);
    let stored_before = old.is_some_and(|old| old.pointer("/metadata/uid").is_some_and(|uid| uid != ""));
    if entries.entries.is_empty() && stored_before {
        return;
    }
    let manager = target.manager(manager, Operation::Update);
    match update(target, old, new, &mut entries, manager, now) {
        Ok(()) => managed::put(new, entries.write()),
        // An object that doesn't fit its schema keeps the owners that it had.
        Err(_) => managed::put(new, live.cloned()),
    }
}

/// The entries to go on from: those that the client gave, or those of the live object.
fn source(target: &Target<'_>, given: Option<Value>, live: Option<&Value>) -> Managed {
    let of_live = || {
        live.cloned()
            .and_then(|live| Managed::read(live).ok())
            .unwrap_or_default()
    };
    let Some(given) = given.filter(|given| target.subresource.is_empty() && !given.is_null()) else {
        return of_live();
    };
    if is_cleared(&given) {
        return Managed::default();
    }
    let unchanged = live == Some(&given);
    let read = Managed::read(given).and_then(|mut read| {
        if !unchanged {
            read.decode_all()?;
        }
        Ok(read)
    });
    read.unwrap_or_else(|_| of_live())
}

/// Whether the client asked for managedFields to be cleared.
fn is_cleared(given: &Value) -> bool {
    let is_empty = |value: &Value| value.is_null() || value == "";
    match given.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([Value::Object(entry)]) => entry.values().all(is_empty),
        _ => false,
    }
}

/// Settles the difference between two objects and gives what was written to the manager.
pub(super) fn update(
    target: &Target<'_>,
    old: Option<&Value>,
    new: &Value,
    entries: &mut Managed,
    manager: Manager,
    now: Timestamp,
) -> Result<(), String> {
    let old = old.map_or_else(|| Cow::Owned(skeleton(target.schema, target.ty)), Cow::Borrowed);
    let written = settle(target, (&old, new), entries, None, true).map_err(|unsettled| match unsettled {
        super::settle::Unsettled::Broken(reason) => reason,
        super::settle::Unsettled::Conflicts(_) => "forced, and in conflict".into(),
    })?;
    let written = written.difference(&NEVER_OWNED);
    if !written.is_empty() {
        let index = match entries.find(&manager) {
            Some(index) => {
                let entry = &mut entries.entries[index];
                let united = entry.set()?.union(&written);
                entry.replace(united);
                index
            }
            None => {
                entries.entries.push(Entry::new(manager, written));
                entries.entries.len() - 1
            }
        };
        entries.entries[index].time = Some(now);
    }
    cap::cap(entries)
}
