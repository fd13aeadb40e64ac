//! Keeps managedFields from growing without end: beyond ten updaters the oldest are taken together as `ancient-changes`,
//! one for each version that they wrote in.

use super::managed::{Managed, Manager, Operation};

const MAX_UPDATERS: usize = 10;
const BUCKET: &str = "ancient-changes";

/// Unites the oldest updaters until there are few enough.
pub(super) fn cap(managed: &mut Managed) -> Result<(), String> {
    let updaters = |managed: &Managed| {
        managed
            .entries
            .iter()
            .filter(|entry| entry.manager.operation == Operation::Update)
            .count()
    };
    if updaters(managed) <= MAX_UPDATERS {
        return Ok(());
    }
    let mut oldest: Vec<(i64, Manager)> = managed
        .entries
        .iter()
        .filter(|entry| entry.manager.operation == Operation::Update)
        .map(|entry| (entry.seconds(), entry.manager.clone()))
        .collect();
    oldest.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.name.cmp(&b.1.name)));
    let mut seen: Vec<Manager> = Vec::new();
    for (_, manager) in oldest {
        if updaters(managed) <= MAX_UPDATERS {
            break;
        }
        match seen.iter().position(|first| first.api_version == manager.api_version) {
            None => seen.push(manager),
            Some(first) => {
                let first = std::mem::replace(&mut seen[first], bucket(&manager.api_version));
                unite(managed, &first, &manager)?;
            }
        }
    }
    Ok(())
}

fn bucket(api_version: &str) -> Manager {
    Manager {
        name: BUCKET.into(),
        operation: Operation::Update,
        api_version: api_version.into(),
        subresource: String::new(),
    }
}

/// Puts what two managers own into the bucket of their version, with the time of the later one.
fn unite(managed: &mut Managed, first: &Manager, later: &Manager) -> Result<(), String> {
    let bucket = bucket(&later.api_version);
    let mut time = None;
    let mut set = Default::default();
    for manager in [first, later, &bucket] {
        let Some(index) = managed.find(manager) else { continue };
        let mut entry = managed.entries.remove(index);
        set = entry.set()?.union(&set);
        time = time.max(entry.time);
    }
    let mut entry = super::managed::Entry::new(bucket, set);
    entry.time = time;
    managed.entries.push(entry);
    Ok(())
}
