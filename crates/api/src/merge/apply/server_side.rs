//! Server-side apply: a configuration laid over the live object, with ownership kept and conflicts found.

use jiff::Timestamp;
use serde_json::Value;

use super::managed::{self, Entry, Managed, Manager, Operation};
use super::prune::{Last, prune};
use super::settle::{Unsettled, settle};
use super::{NEVER_OWNED, Target, last_applied, track};
use crate::merge::Problem;
use crate::merge::typed::{fields_of, merge, reconcile, same, skeleton, validate};
use crate::schema::{Presence, Type, TypeId};

/// Who owns what an object had before anybody applied to it.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// The manager name that upgrades from client-side apply.
const KUBECTL: &str = "kubectl";

/// What is applied, and by whom.
#[derive(Clone, Copy)]
pub struct Config<'a> {
    /// The configuration as the client sent it, before any pruning or defaulting: unknown fields are errors.
    pub object: &'a Value,
    /// The field manager.
    pub manager: &'a str,
    /// Whether to take fields from other managers.
    pub force: bool,
}

/// Applies a configuration to the live object, or to nothing when there is none yet. The answer is the object to store,
/// managedFields included; applying the same again answers an object that is the same as the live one.
///
/// The live object has its `apiVersion`, `kind` and defaults. The answer may hold quantities as numbers and lack
/// defaults, as any object from a client may: put it through the same steps.
pub fn apply(target: &Target<'_>, live: Option<&Value>, config: Config<'_>, now: Timestamp) -> Result<Value, Problem> {
    check(target, config.object)?;
    let mut object = live.map_or_else(|| skeleton(target.schema, target.ty), Clone::clone);
    let mut entries = match managed::take(&mut object) {
        Some(entries) => read(entries)?,
        None => Managed::default(),
    };
    if entries.entries.is_empty() && live.is_some() {
        let manager = target.manager(BEFORE_FIRST_APPLY, Operation::Update);
        track::update(target, None, &object, &mut entries, manager, now)
            .map_err(|reason| Problem::Plain(format!("failed to create manager for existing fields: {reason}")))?;
    }
    let mut applied = run(target, &object, config, entries.clone(), now);
    if let Err(Unsettled::Conflicts(conflicts)) = &applied
        && config.manager == KUBECTL
    {
        applied = match last_applied::unresolved(target, &object, conflicts) {
            Some(left) if left.is_empty() => run(target, &object, Config { force: true, ..config }, entries, now),
            Some(left) => Err(Unsettled::Conflicts(left)),
            None => applied,
        };
    }
    let (changed, entries) = applied.map_err(|unsettled| match unsettled {
        Unsettled::Conflicts(conflicts) => Problem::Conflicts(conflicts),
        Unsettled::Broken(reason) => Problem::Plain(reason),
    })?;
    if let Some(changed) = changed {
        object = changed;
        drop_nulls(target, target.ty, &mut object);
    }
    if config.manager == KUBECTL {
        last_applied::refresh(&mut object, config.object);
    }
    managed::put(&mut object, entries.write());
    Ok(object)
}

/// Refuses what can't be applied at this endpoint.
fn check(target: &Target<'_>, config: &Value) -> Result<(), Problem> {
    let text = |name: &str| config.get(name).and_then(Value::as_str).unwrap_or("");
    let (api_version, kind) = (text("apiVersion"), text("kind"));
    if api_version != target.api_version || kind != target.kind {
        let shown = Target::shown_kind(api_version, kind);
        return Err(Problem::BadRequest(format!("invalid object type: {shown}")));
    }
    if managed::of(config).is_some_and(Value::is_array) {
        return Err(Problem::BadRequest("metadata.managedFields must be nil".into()));
    }
    validate(target.schema, target.ty, config).map_err(|reason| {
        Problem::Plain(format!(
            "failed to create typed patch object ({}): {reason}",
            target.shown_object(config)
        ))
    })
}

fn read(entries: Value) -> Result<Managed, Problem> {
    let mut managed = Managed::read(entries).map_err(undecodable)?;
    managed.decode_all().map_err(undecodable)?;
    Ok(managed)
}

fn undecodable(reason: String) -> Problem {
    Problem::Plain(format!("failed to decode managed fields: {reason}"))
}

/// Merges, prunes and settles. The object is `None` when nothing in it changes, whoever owns it now.
fn run(
    target: &Target<'_>,
    live: &Value,
    config: Config<'_>,
    mut entries: Managed,
    now: Timestamp,
) -> Result<(Option<Value>, Managed), Unsettled> {
    let manager = target.manager(config.manager, Operation::Apply);
    let mut merged = merge(target.schema, target.ty, live, config.object)
        .map_err(|reason| format!("failed to merge config: {reason}"))?;
    // A configuration may say null here.
    managed::take(&mut merged);
    let set = target.reset.filter(fields_of(target.schema, target.ty, config.object));
    let last = claim(target, &mut entries, &manager, set.clone())?;
    if let Some(last) = last.filter(|last| last.api_version != target.api_version || !last.set.is_subset(&set)) {
        merged =
            prune(target, merged, &mut entries, &last).map_err(|reason| format!("failed to prune fields: {reason}"))?;
    }
    settle(target, (live, &merged), &mut entries, Some(&manager), config.force)?;
    let changed = !same(live, &merged);
    if let Some(index) = entries.find(&manager) {
        let entry = &mut entries.entries[index];
        let owned = entry.set()?.difference(&NEVER_OWNED);
        if owned.is_empty() {
            entries.entries.remove(index);
        } else {
            entry.replace(owned);
            if changed {
                entry.time = Some(now);
            }
        }
    }
    Ok((changed.then_some(merged), entries))
}

/// Gives the applier its new set and returns what it had.
fn claim(
    target: &Target<'_>,
    entries: &mut Managed,
    manager: &Manager,
    set: crate::merge::fields::FieldSet,
) -> Result<Option<Last>, String> {
    let Some(index) = entries.find(manager) else {
        entries.entries.push(Entry::new(manager.clone(), set));
        return Ok(None);
    };
    let entry = &mut entries.entries[index];
    let last = reconcile(target.schema, target.ty, entry.set()?).into_owned();
    let api_version = std::mem::replace(&mut entry.manager.api_version, manager.api_version.clone());
    entry.replace(set);
    Ok((!last.is_empty()).then_some(Last { api_version, set: last }))
}

/// Drops null fields, which mean absence to a typed server; in a map of strings a null is an empty one. Whatever has no
/// schema keeps its nulls.
fn drop_nulls(target: &Target<'_>, ty: TypeId, value: &mut Value) {
    match (target.schema.get(ty), value) {
        (Type::Struct(body), Value::Object(map)) => map.retain(|name, value| match body.field(name) {
            Some(field) if value.is_null() => {
                field.presence == Presence::Pointer && matches!(target.schema.get(field.ty), Type::Any)
            }
            Some(field) => {
                drop_nulls(target, field.ty, value);
                true
            }
            None => true,
        }),
        (Type::Map(entries), Value::Object(map)) => map.retain(|_, value| {
            if value.is_null() && matches!(target.schema.get(entries.value), Type::String) {
                *value = Value::String(String::new());
            }
            drop_nulls(target, entries.value, value);
            !value.is_null()
        }),
        (Type::List(list), Value::Array(items)) => {
            items.iter_mut().for_each(|item| drop_nulls(target, list.element, item));
        }
        _ => {}
    }
}
