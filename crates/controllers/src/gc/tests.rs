//! Golden scenarios: what goes when an owner goes.

use super::*;

fn row(uid: &str, owners: &[(&str, bool)]) -> Row {
    let owner = |(uid, block): &(&str, bool)| OwnerReference {
        api_version: "v1".into(),
        kind: "ConfigMap".into(),
        name: (*uid).into(),
        uid: (*uid).into(),
        block_owner_deletion: Some(*block),
        controller: None,
    };
    Row {
        kind: Arc::new(Kind::new("v1", "ConfigMap", "configmaps")),
        key: ObjectKey::namespaced("d", uid),
        uid: uid.into(),
        version: "1".into(),
        owners: owners.iter().map(owner).collect(),
        finalizers: Vec::new(),
        deleting: false,
    }
}

fn going(uid: &str, finalizer: &str) -> Row {
    Row {
        deleting: true,
        finalizers: vec![finalizer.into()],
        ..row(uid, &[])
    }
}

fn graph(rows: &[Row]) -> Graph {
    let mut graph = Graph::default();
    for row in rows {
        graph.change(None, Some(&Arc::new(row.clone())));
    }
    graph
}

fn none() -> HashSet<String> {
    HashSet::new()
}

fn goes(policy: &'static str) -> Step {
    Step::Delete { policy, unblock: false }
}

#[test]
fn a_missing_owner_is_verified_before_anything_goes() {
    let child = row("child", &[("owner", false)]);
    let graph = graph(std::slice::from_ref(&child));
    assert!(matches!(graph.plan(&child, &none()), Step::Verify(owners) if owners.len() == 1));
    let absent = HashSet::from(["owner".to_owned()]);
    assert_eq!(graph.plan(&child, &absent), goes("Background"));
}

#[test]
fn another_owner_keeps_an_object() {
    let child = row("child", &[("gone", false), ("stays", false)]);
    let graph = graph(&[child.clone(), row("stays", &[])]);
    let absent = HashSet::from(["gone".to_owned()]);
    assert_eq!(graph.plan(&child, &absent), Step::Disown(vec!["gone".into()]));
}

#[test]
fn an_owner_in_another_namespace_owns_nothing() {
    let child = row("child", &[("owner", false)]);
    let mut owner = row("owner", &[]);
    owner.key = ObjectKey::namespaced("elsewhere", "owner");
    assert_eq!(graph(&[owner]).plan(&child, &none()), goes("Background"));
}

#[test]
fn foreground_deletion_waits_for_those_that_block() {
    let (owner, child) = (going("owner", graph::FOREGROUND), row("child", &[("owner", true)]));
    let mut graph = graph(&[owner.clone(), child.clone()]);
    assert!(matches!(graph.plan(&owner, &none()), Step::DeleteDependents(all) if all.len() == 1));
    assert_eq!(graph.plan(&child, &none()), goes("Background"));
    let look = graph.change(Some(&Arc::new(child)), None);
    assert_eq!(look, ["owner"]);
    assert_eq!(graph.plan(&owner, &none()), Step::RemoveFinalizer(graph::FOREGROUND));
}

#[test]
fn foreground_deletion_goes_down_the_tree() {
    let rows = [
        going("a", graph::FOREGROUND),
        row("b", &[("a", true)]),
        row("c", &[("b", true)]),
    ];
    assert_eq!(graph(&rows).plan(&rows[1], &none()), goes("Foreground"));
}

#[test]
fn a_circle_of_owners_does_not_wait_for_itself() {
    let mut first = going("a", graph::FOREGROUND);
    first.owners = row("a", &[("c", true)]).owners;
    let rows = [first, row("b", &[("a", true)]), row("c", &[("b", true)])];
    let graph = graph(&rows);
    assert_eq!(graph.plan(&rows[1], &none()), goes("Foreground"));
    let mut deleting = rows[1].clone();
    (deleting.deleting, deleting.finalizers) = (true, vec![graph::FOREGROUND.into()]);
    let mut later = graph;
    later.change(Some(&Arc::new(rows[1].clone())), Some(&Arc::new(deleting)));
    let step = later.plan(&rows[2], &none());
    assert_eq!(
        step,
        Step::Delete {
            policy: "Foreground",
            unblock: true
        }
    );
}

#[test]
fn orphans_lose_their_owner_and_stay() {
    let (owner, child) = (going("owner", graph::ORPHAN), row("child", &[("owner", true)]));
    let graph = graph(&[owner.clone(), child.clone()]);
    assert!(matches!(graph.plan(&owner, &none()), Step::Orphan(all) if all.len() == 1));
    assert_eq!(graph.plan(&child, &none()), Step::Nothing);
}
