//! The cache against a map, with snapshots that must not change.

use std::collections::BTreeMap;

use store::Txn;
use watch::{Scope, Snapshot};

use super::{PODS, World};

type Map = BTreeMap<String, String>;

fn map(snapshot: &Snapshot) -> Map {
    let pair = |version: &std::sync::Arc<watch::Version>| {
        let name = version.key().strip_prefix(PODS).expect("a pod").to_owned();
        (name, String::from_utf8_lossy(version.bytes()).into_owned())
    };
    snapshot.iter().map(pair).collect()
}

#[tokio::test]
async fn like_a_map() {
    for seed in 1..6u64 {
        let world = World::new().await;
        let pods = world.pods().await;
        let (mut model, mut kept, mut random) = (Map::new(), Vec::new(), seed);
        for step in 0..60 {
            let mut txn = Txn::new();
            for index in 0..100 {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                let number = (random >> 33) % 3000;
                let name = format!("{}/{number:04}", number % 3);
                let key = super::pod(&name);
                if txn.ops.iter().any(|op| op.key().as_str() == key) {
                    continue;
                }
                // It grows first and shrinks then.
                if (random >> 20) % 100 < if step < 30 { 10 } else { 75 } {
                    model.remove(&name);
                    txn = txn.delete(key);
                } else {
                    let value = format!("{step}.{index}");
                    model.insert(name, value.clone());
                    txn = txn.put(key, value);
                }
            }
            world.commit(txn).await;
            pods.fresh().await.expect("fresh");
            let list = pods.list(&Scope::All);
            assert_eq!(list.len(), model.len());
            kept.push((list, model.clone()));
            let one: Map = model
                .iter()
                .filter(|(name, _)| name.starts_with("1/"))
                .map(|(n, v)| (n.clone(), v.clone()))
                .collect();
            let namespace = pods.list(&Scope::namespace("1"));
            assert_eq!(namespace.len(), one.len());
            assert_eq!(map(&namespace), one);
        }
        for (list, model) in kept {
            assert_eq!(map(&list), model, "a snapshot stays as it was");
        }
    }
}
