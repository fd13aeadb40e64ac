//! What can be said without an etcd.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use meta::Revision;
use prost::Message as _;
use tokio::time::Instant;
use tonic::{Code, ConnectError, Status};

use crate::etcd::batches::batches;
use crate::etcd::failure::Failure;
use crate::etcd::feed::Means;
use crate::etcd::leases::{Lease, seconds};
use crate::etcd::newest::Newest;
use crate::etcd::prefix::Prefix;
use crate::etcd::proto::{self, Compare, CompareTarget, EventType, KeyValue};
use crate::{Change, Error};

#[test]
fn keys_have_a_prefix_of_their_own() {
    for text in ["/gantry", "gantry", "/gantry/", "gantry//"] {
        assert_eq!(Prefix::new(text), Prefix::new("/gantry"));
    }
    let prefix = Prefix::new("/gantry");
    assert_eq!(&prefix.key("/a/b").expect("a key")[..], b"/gantry/a/b");
    assert!(matches!(prefix.key("a"), Err(Error::Invalid(_))));
    assert_eq!(prefix.strip(b"/gantry/a/b").as_deref(), Some("/a/b"));
    for other in [
        &b"/gantry"[..],
        b"/gantry2/a",
        b"/gantry.~progress",
        b"/other/a",
        b"/gantry/\xff",
    ] {
        assert_eq!(prefix.strip(other), None, "{:?}", String::from_utf8_lossy(other));
    }
    assert_eq!(&Prefix::new("/").key("/a").expect("a key")[..], b"/a");
}

#[test]
fn ranges_end_where_the_prefix_does() {
    let prefix = Prefix::new("/g");
    let range = |of: &str, after: Option<&str>| {
        let (from, to) = prefix.range(of, after).expect("a range");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&from), text(&to))
    };
    let pair = |from: &str, to: &str| (from.to_owned(), to.to_owned());
    assert_eq!(range("/a/", None), pair("/g/a/", "/g/a0"));
    assert_eq!(range("/a/", Some("/a/x")), pair("/g/a/x\0", "/g/a0"));
    assert_eq!(range("/a/", Some("/A")), pair("/g/a/", "/g/a0"));
    assert_eq!(range("", None), pair("/g/", "/g0"));
    let (from, to) = prefix.watched(true);
    let mark = prefix.mark();
    assert!(from <= mark && mark < to, "a watch sees the mark");
    assert!(mark < prefix.watched(false).0, "the mark is none of the store's keys");
}

#[test]
fn a_failure_says_what_has_happened() {
    let mut connect = Status::unavailable("tcp connect error");
    connect.set_source(Arc::new(ConnectError("connection refused".into())));
    let unreached = Failure::of(&connect);
    assert_eq!(
        unreached,
        Failure::Unreached("tcp connect error: connection refused".to_owned())
    );
    assert!(matches!(unreached.error(Some(1)), Error::Unavailable(_)));

    let of = |code, text: &str| Failure::of(&Status::new(code, text));
    let no_leader = of(Code::Unavailable, "etcdserver: no leader");
    assert!(matches!(no_leader.error(Some(1)), Error::Unavailable(_)));
    for (code, text) in [
        (Code::Unavailable, "etcdserver: request timed out"),
        (Code::Unavailable, "etcdserver: leader changed"),
        (Code::Unavailable, "etcdserver: server stopped"),
        (Code::Unavailable, "error reading a body from connection"),
        (Code::Unknown, "transport error"),
        (Code::Cancelled, "Timeout expired"),
    ] {
        assert!(matches!(of(code, text).error(Some(1)), Error::Unknown(_)), "{text}");
        assert!(matches!(of(code, text).error(None), Error::Unavailable(_)), "{text}");
    }
    let compacted = of(
        Code::OutOfRange,
        "etcdserver: mvcc: required revision has been compacted",
    );
    assert!(compacted.is_compacted() && !compacted.elsewhere());
    let future = of(
        Code::OutOfRange,
        "etcdserver: mvcc: required revision is a future revision",
    );
    assert!(future.is_future());
    assert!(of(Code::NotFound, "etcdserver: requested lease not found").is_lease_gone());
    let full = of(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded");
    assert!(matches!(full.error(Some(1)), Error::NoSpace));
    let large = of(Code::InvalidArgument, "etcdserver: request is too large");
    assert!(matches!(large.error(Some(7)), Error::TooLarge { size: 7, .. }));
    let denied = of(Code::PermissionDenied, "etcdserver: permission denied");
    assert!(matches!(denied.error(Some(1)), Error::Unavailable(text) if text.contains("permission denied")));
}

fn event(key: &str, mod_revision: i64, value: Option<&str>) -> proto::Event {
    let kind = if value.is_some() {
        EventType::Put
    } else {
        EventType::Delete
    };
    proto::Event {
        kind: kind as i32,
        kv: Some(KeyValue {
            key: key.into(),
            mod_revision,
            value: value.unwrap_or_default().into(),
        }),
    }
}

#[test]
fn a_revision_is_a_batch() {
    let prefix = Prefix::new("/g");
    let events = vec![
        event("/g/old", 5, Some("seen")),
        event("/g/a", 6, Some("1")),
        event("/g/b", 6, None),
        event("/g.~progress", 7, Some("")),
        event("/g/a", 9, Some("2")),
    ];
    let told: Vec<_> = batches(&prefix, Revision(5), events)
        .into_iter()
        .map(|batch| {
            let names: Vec<_> = batch
                .events
                .iter()
                .map(|event| (event.key.to_string(), event.change == Change::Delete))
                .collect();
            (batch.revision.0, names)
        })
        .collect();
    let expected = [
        (6, vec![("/a".to_owned(), false), ("/b".to_owned(), true)]),
        (7, vec![]),
        (9, vec![("/a".to_owned(), false)]),
    ];
    assert_eq!(told, expected);
    assert!(batches(&prefix, Revision(5), Vec::new()).is_empty());
}

#[test]
fn an_old_etcd_is_not_asked() {
    for version in ["3.4.31", "3.4.40", "3.5.13", "3.6.0", "3.7.0-rc.0", "3.7.3", "4.0.0"] {
        assert_eq!(Means::of(version), Means::Asking, "{version}");
    }
    for version in ["3.4.23", "3.4.30", "3.5.0", "3.5.12", "3.3.25", "", "what"] {
        assert_eq!(Means::of(version), Means::Marking, "{version}");
    }
}

#[test]
fn leases_are_shared_by_what_ends_together() {
    let (second, now) = (Duration::from_secs(1), Instant::now());
    let hour = 3600 * second;
    let granted = Duration::from_secs(seconds(hour).unsigned_abs());
    let mut lease = Lease {
        id: 1,
        ends: now + granted,
        records: 1,
    };
    assert!(lease.fits(now, hour));
    assert!(lease.fits(now + 50 * second, hour));
    assert!(!lease.fits(now + 51 * second, hour), "it would end too early");
    assert!(granted - hour < 60 * second, "at most a minute late");
    lease.records = 1000;
    assert!(!lease.fits(now, hour), "it ends too many at once");
    assert_eq!(seconds(second), 3, "a short one is hardly longer");
    assert_eq!(seconds(Duration::from_millis(1500)), 3);
}

/// As `protoc --encode` writes it: 0 must be there, or etcd compares with nothing.
#[test]
fn an_absent_key_is_compared_with_zero() {
    let compare = Compare {
        target: CompareTarget::Mod as i32,
        key: "/a".into(),
        mod_revision: Some(0),
    };
    assert_eq!(compare.encode_to_vec(), [0x10, 2, 0x1a, 2, b'/', b'a', 0x30, 0]);
}

#[tokio::test]
async fn one_read_is_for_all_who_asked_before_it() {
    let (newest, reads) = (Newest::default(), AtomicU64::new(0));
    let read = || async {
        let number = reads.fetch_add(1, Ordering::SeqCst) + 1;
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
        if number == 3 {
            return Err(Failure::Lost("silence".to_owned()));
        }
        Ok(Revision(number))
    };
    // The first one's read has begun before the others ask, so they need another one, and no more than that.
    let all = futures::future::join_all((0..10).map(|_| newest.ask(read()))).await;
    assert_eq!(all[0], Ok(Revision(1)));
    assert!(all[1..].iter().all(|answer| *answer == Ok(Revision(2))), "{all:?}");
    assert!(newest.ask(read()).await.is_err(), "an old answer is none");
    assert_eq!(newest.ask(read()).await, Ok(Revision(4)));
}
