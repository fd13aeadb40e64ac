//! What an applier no longer applies goes away, unless somebody else owns it: the fields that it applied last time and
//! that are in nobody's set now are taken out of the merged object.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;

use super::Target;
use super::managed::Managed;
use crate::merge::fields::FieldSet;
use crate::merge::typed::{ensure_named, fields_of, reconcile, remove};
use crate::schema::TypeId;

/// What the applier applied last time.
pub(super) struct Last {
    pub(super) api_version: String,
    pub(super) set: FieldSet,
}

/// An object in some version.
#[derive(Clone)]
struct At<'a> {
    api_version: &'a str,
    ty: TypeId,
    object: Cow<'a, Value>,
}

/// The merged object without what was applied last and is owned by nobody now. `managed` has the applier's new set.
pub(super) fn prune(target: &Target<'_>, merged: Value, managed: &mut Managed, last: &Last) -> Result<Value, String> {
    let here = At {
        api_version: target.api_version,
        ty: target.ty,
        object: Cow::Owned(merged),
    };
    let Some(merged) = convert(target, &here, &last.api_version) else {
        return Ok(here.object.into_owned());
    };
    let ensured_last = ensure_named(target.schema, merged.ty, &last.set);
    let mut pruned = merged.clone();
    remove(target.schema, pruned.ty, pruned.object.to_mut(), &ensured_last);

    let pruned = add_back_owned(target, &merged, pruned, &last.api_version, managed)?;
    let Some(pruned) = convert(target, &pruned, &last.api_version) else {
        return Ok(here.object.into_owned());
    };
    let gone = named_fields(target, &merged)
        .difference(&named_fields(target, &pruned))
        .intersection(&ensured_last);
    let mut result = merged.clone();
    remove(target.schema, result.ty, result.object.to_mut(), &gone);
    let result = convert(target, &result, target.api_version).ok_or("the applied version is not served")?;
    Ok(result.object.into_owned())
}

/// Adds back what was pruned and somebody owns: other managers, or the applier by what it applies now.
fn add_back_owned<'a>(
    target: &Target<'_>,
    merged: &At<'a>,
    pruned: At<'a>,
    first: &'a str,
    managed: &mut Managed,
) -> Result<At<'a>, String> {
    let mut owned: BTreeMap<String, FieldSet> = BTreeMap::new();
    for entry in &mut managed.entries {
        let api_version = entry.manager.api_version.clone();
        let set = entry.set()?;
        owned
            .entry(api_version)
            .and_modify(|all| *all = all.union(set))
            .or_insert_with(|| set.clone());
    }
    let mut pruned = pruned;
    // The version that was pruned comes first: conversion may need what is missing.
    let mut order: Vec<&String> = owned.keys().collect();
    order.sort_by_key(|version| version.as_str() != first);
    for version in order {
        let (Some(whole), Some(part)) = (convert(target, merged, version), convert(target, &pruned, version)) else {
            continue;
        };
        let owned = ensure_named(
            target.schema,
            whole.ty,
            &reconcile(target.schema, whole.ty, &owned[version]),
        );
        let kept = named_fields(target, &part).union(&owned);
        let gone = named_fields(target, &whole).difference(&kept);
        let mut object = whole.object.into_owned();
        remove(target.schema, whole.ty, &mut object, &gone);
        let back = At {
            api_version: version,
            ty: whole.ty,
            object: Cow::Owned(object),
        };
        if let Some(back) = convert(target, &back, merged.api_version) {
            pruned = At {
                api_version: merged.api_version,
                ty: merged.ty,
                object: Cow::Owned(back.object.into_owned()),
            };
        }
    }
    Ok(pruned)
}

fn named_fields(target: &Target<'_>, at: &At<'_>) -> FieldSet {
    ensure_named(target.schema, at.ty, &fields_of(target.schema, at.ty, &at.object))
}

/// The object in another version; itself in its own.
fn convert<'a>(target: &Target<'_>, at: &'a At<'_>, api_version: &'a str) -> Option<At<'a>> {
    if at.api_version == api_version {
        return Some(At {
            api_version,
            ty: at.ty,
            object: Cow::Borrowed(&at.object),
        });
    }
    let (ty, object) = target.versions.at(&at.object, api_version)?;
    Some(At {
        api_version,
        ty,
        object: Cow::Owned(object),
    })
}
