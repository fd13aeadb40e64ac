//! The scale subresource and its parent share one field, the replicas: who owns it in one owns it in the other. These
//! carry the entries over and back.

use serde_json::Value;

use super::managed::{Entry, Managed};
use crate::merge::fields::{Element, FieldSet};

const SCALE_VERSION: &str = "autoscaling/v1";

/// Where the replicas of a parent are, for each of its versions; `None` where a version has no scale.
pub type ReplicasPaths<'a> = &'a [(&'a str, Option<&'a [&'a str]>)];

/// The managedFields of the Scale object for a parent: an entry for each owner of the replicas.
pub fn to_scale(parent: Option<&Value>, paths: ReplicasPaths<'_>) -> Result<Option<Value>, String> {
    let mut out = Managed::default();
    for mut entry in read(parent)?.entries {
        let Some(path) = path_in(paths, &entry.manager.api_version).flatten() else {
            continue;
        };
        if entry.set()?.has(&path) {
            let mut manager = entry.manager.clone();
            manager.api_version = SCALE_VERSION.into();
            let mut scaled = Entry::new(manager, FieldSet::of(&[&["spec", "replicas"]]));
            scaled.time = entry.time;
            out.entries.push(scaled);
        }
    }
    Ok(out.write())
}

/// The managedFields of the parent after a write of its Scale object: the replicas belong to who owns them there.
/// `api_version` is the parent's.
pub fn from_scale(
    parent: Option<&Value>,
    scale: Option<&Value>,
    api_version: &str,
    paths: ReplicasPaths<'_>,
) -> Result<Option<Value>, String> {
    let mut scaled = read(scale)?;
    let mut out = Managed::default();
    let parent = read(parent)?;
    let times = parent.clone();
    for mut entry in parent.entries {
        let Some(path) = path_in(paths, &entry.manager.api_version) else {
            continue;
        };
        let Some(path) = path.filter(|path| entry.set().is_ok_and(|set| set.has(path))) else {
            out.entries.push(entry);
            continue;
        };
        let mut twin = entry.manager.clone();
        twin.api_version = SCALE_VERSION.into();
        match scaled.find(&twin) {
            Some(index) => {
                // Still the owner in the Scale object.
                scaled.entries.remove(index);
                out.entries.push(entry);
            }
            None => {
                let mut replicas = FieldSet::new();
                replicas.insert(path);
                let rest = entry.set()?.difference(&replicas);
                if !rest.is_empty() {
                    entry.replace(rest);
                    out.entries.push(entry);
                }
            }
        }
    }
    let replicas: Vec<Element> = ["spec", "replicas"].map(Element::field).into();
    for mut entry in scaled.entries {
        let path = path_in(paths, api_version).flatten();
        let (true, Some(path)) = (entry.set()?.has(&replicas), path) else {
            continue;
        };
        let mut set = FieldSet::new();
        set.insert(path);
        // As Kubernetes has it, an owner that is new to the parent comes without a time.
        entry.time = times.find(&entry.manager).and_then(|index| times.entries[index].time);
        entry.manager.api_version = api_version.into();
        entry.replace(set);
        match out.find(&entry.manager) {
            Some(index) => out.entries[index] = entry,
            None => out.entries.push(entry),
        }
    }
    Ok(out.write())
}

fn read(entries: Option<&Value>) -> Result<Managed, String> {
    entries.map_or_else(|| Ok(Managed::default()), |entries| Managed::read(entries.clone()))
}

/// The replicas' path in a version: outer `None` when the version isn't known.
fn path_in(paths: ReplicasPaths<'_>, api_version: &str) -> Option<Option<Vec<Element>>> {
    let (_, path) = paths.iter().find(|(version, _)| *version == api_version)?;
    Some(path.map(|path| path.iter().map(|name| Element::field(name)).collect()))
}
