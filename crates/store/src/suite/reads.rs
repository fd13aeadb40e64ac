//! What reads promise.

use meta::Revision;

use super::{Bench, text};
use crate::{Error, Key, Range};

pub(crate) async fn ranges_come_in_pages(bench: Bench) {
    for index in 0..25 {
        bench.put(&format!("{index:02}"), &index.to_string()).await;
    }
    let whole = bench.store.range(bench.range()).await.expect("range");
    assert_eq!((whole.records.len(), whole.count, whole.more()), (25, 25, false));

    let (mut after, mut at, mut seen) = (None::<Key>, None::<Revision>, Vec::new());
    loop {
        let range = Range {
            after: after.clone(),
            at,
            ..bench.range().limit(10)
        };
        let page = bench.store.range(range).await.expect("page");
        assert_eq!(
            page.count as usize,
            25 - seen.len(),
            "counted from where the page begins"
        );
        assert_eq!(page.more(), seen.len() + page.records.len() < 25);
        assert_eq!(page.revision, *at.get_or_insert(page.revision));
        seen.extend(page.records.iter().cloned());
        after = page.records.last().map(|record| record.key.clone());
        // What happens between the pages is not in them.
        bench.put("00", "changed").await;
        bench.put(&format!("x{}", seen.len()), "new").await;
        bench.delete("24").await;
        if !page.more() {
            break;
        }
    }
    assert_eq!(seen, whole.records);
    let empty = bench
        .store
        .range(bench.range().after(bench.key("zz").into()))
        .await
        .expect("range");
    assert_eq!((empty.records.len(), empty.count, empty.more()), (0, 0, false));
}

pub(crate) async fn a_prefix_is_a_prefix(bench: Bench) {
    for name in ["a", "a/", "a/b", "a/\u{10ffff}", "a0", "b", "A"] {
        bench.put(name, name).await;
    }
    let range = |prefix: &str| Range::prefix(bench.key(prefix));
    let names = async |range: Range| -> Vec<String> {
        let page = bench.store.range(range).await.expect("range");
        bench.names(&page.records).into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(range("a/")).await, ["a/", "a/b", "a/\u{10ffff}"]);
    assert_eq!(
        names(range("")).await,
        ["A", "a", "a/", "a/b", "a/\u{10ffff}", "a0", "b"]
    );
    assert_eq!(names(range("c")).await, [""; 0]);
    assert_eq!(
        names(range("a/").after(bench.key("A").into())).await,
        ["a/", "a/b", "a/\u{10ffff}"]
    );
    assert_eq!(names(range("a/").after(bench.key("b").into())).await, [""; 0]);
}

pub(crate) async fn the_past_stays_as_it_was(bench: Bench) {
    let one = bench.put("a", "1").await;
    let two = bench.put("b", "1").await;
    let three = bench.put("a", "2").await;
    let four = bench.delete("a").await;
    let five = bench.put("a", "3").await;
    bench.put("c", "1").await;

    let at = async |revision| {
        bench
            .get_at("a", revision)
            .await
            .map(|record| (text(&record.value), record.revision))
    };
    assert_eq!(at(Revision(one.0 - 1)).await, None);
    assert_eq!(at(one).await, Some(("1".into(), one)));
    assert_eq!(at(two).await, Some(("1".into(), one)));
    assert_eq!(at(three).await, Some(("2".into(), three)));
    assert_eq!(at(four).await, None);
    assert_eq!(at(five).await, Some(("3".into(), five)));

    let range = async |revision| {
        let page = bench.store.range(bench.range().at(revision)).await.expect("range");
        assert_eq!(page.revision, revision);
        assert_eq!(page.count as usize, page.records.len());
        let names = bench.names(&page.records);
        names
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(range(Revision(one.0 - 1)).await, "");
    assert_eq!(range(one).await, "a=1");
    assert_eq!(range(two).await, "a=1 b=1");
    assert_eq!(range(three).await, "a=2 b=1");
    assert_eq!(range(four).await, "b=1");
    assert_eq!(range(five).await, "a=3 b=1");
    let limited = bench.store.range(bench.range().at(five).limit(1)).await.expect("range");
    assert_eq!((bench.names(&limited.records).len(), limited.count), (1, 2));
}

pub(crate) async fn the_future_is_an_error(bench: Bench) {
    let future = Revision(bench.put("a", "1").await.0 + 1_000_000);
    assert!(matches!(
        bench.store.get(&bench.key("a"), Some(future)).await,
        Err(Error::Future { .. })
    ));
    assert!(matches!(
        bench.store.range(bench.range().at(future)).await,
        Err(Error::Future { .. })
    ));
    assert!(matches!(bench.store.watch(future).await, Err(Error::Future { .. })));
    assert!(matches!(bench.store.compact(future).await, Err(Error::Future { .. })));
}
