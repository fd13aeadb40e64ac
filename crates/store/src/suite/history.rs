//! What compaction promises.

use meta::Revision;

use super::{Bench, is_compacted, text};

pub(crate) async fn compaction_forgets_the_past_only(bench: Bench) {
    let one = bench.put("a", "1").await;
    bench.put("b", "1").await;
    let two = bench.put("a", "2").await;
    bench.delete("b").await;
    let three = bench.put("a", "3").await;
    bench.store.compact(two).await.expect("compact");

    assert!(is_compacted(&bench.store.get(&bench.key("a"), Some(one)).await));
    assert!(is_compacted(
        &bench.store.range(bench.range().at(Revision(two.0 - 1))).await
    ));
    assert!(is_compacted(&bench.store.watch(one).await.map(|_| ())));
    let at = bench.get_at("a", two).await;
    assert_eq!(
        at.map(|record| (text(&record.value), record.revision)),
        Some(("2".into(), two))
    );
    let page = bench
        .store
        .range(bench.range().at(two))
        .await
        .expect("the revision itself");
    assert_eq!(
        bench.names(&page.records),
        [("a".into(), "2".into()), ("b".into(), "1".into())]
    );
    assert_eq!(bench.get("a").await.map(|record| record.revision), Some(three));

    let mut feed = bench.store.watch(two).await.expect("a watch after it");
    assert_eq!(bench.told(&mut *feed).await.1, [("b".to_owned(), None)]);
    assert_eq!(bench.told(&mut *feed).await.0, three);

    // Going back changes nothing.
    bench.store.compact(one).await.expect("compact again");
    assert!(is_compacted(&bench.store.get(&bench.key("a"), Some(one)).await));
    bench.store.compact(bench.revision().await).await.expect("compact all");
    let newest = bench.store.range(bench.range()).await.expect("the newest");
    assert_eq!(bench.names(&newest.records), [("a".into(), "3".into())]);
    assert!(is_compacted(&bench.store.get(&bench.key("a"), Some(two)).await));
}
