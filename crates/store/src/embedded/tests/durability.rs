//! Power cuts: what was acknowledged is there afterwards, as it was, whatever the disk did with the rest.

use std::collections::BTreeMap;
use std::sync::Arc;

use meta::Revision;

use super::sim::Sim;
use super::{block_on, small};
use crate::embedded::Options;
use crate::suite::Dice;
use crate::{Embedded, Error, Outcome, Range, Store, Txn};

const WRITERS: usize = 4;
const GENERATIONS: usize = 3;

/// What one writer knows: the round that was last acknowledged with its revision, and the one that was under way.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    acknowledged: u64,
    revision: Revision,
    tried: u64,
}

fn options() -> Options {
    Options {
        keep_revisions: 40,
        ..small()
    }
}

/// Each writer puts its round into two keys, of which one has a changing name, until the store fails.
async fn write_on(store: Arc<Embedded>, writer: usize, mut known: Known) -> Known {
    loop {
        let round = known.tried + 1;
        known.tried = round;
        let filler = "x".repeat((round as usize * 37) % 300);
        let txn = Txn::new()
            .put(format!("/w/{writer}"), format!("{round} {filler}"))
            .put(format!("/log/{writer}/{:02}", round % 20), round.to_string());
        match store.commit(txn).await {
            Ok(Outcome::Done { revision }) => {
                known.acknowledged = round;
                known.revision = revision;
            }
            Ok(other) => panic!("{other:?}"),
            Err(_) => return known,
        }
    }
}

/// Several lives of one store, each ended by a power cut; the first thing that is wrong.
fn lives(seed: u64, lies: bool) -> Result<(), String> {
    let mut dice = Dice(seed);
    let mut disk = Sim::default();
    let mut known = [Known::default(); WRITERS];
    for _ in 0..GENERATIONS {
        if lies {
            disk.lie();
        }
        let opened = Embedded::open_on(disk.media(), options());
        let store = opened.map_err(|error| format!("opening: {error}"))?;
        block_on(check(&store, &mut known))?;
        disk.fuse(dice.next() % 300);
        known = block_on(async {
            let writers = known.iter().enumerate();
            let writers = writers.map(|(writer, known)| tokio::spawn(write_on(Arc::clone(&store), writer, *known)));
            let mut known = [Known::default(); WRITERS];
            for (known, writer) in known.iter_mut().zip(writers.collect::<Vec<_>>()) {
                *known = writer.await.expect("a writer");
            }
            known
        });
        drop(store);
        disk = disk.after_power_cut(&mut dice);
    }
    let store = Embedded::open_on(disk.media(), options()).map_err(|error| format!("opening: {error}"))?;
    block_on(check(&store, &mut known))
}

/// Whether each writer finds its last acknowledged round, or the one that was under way.
async fn check(store: &Embedded, known: &mut [Known]) -> Result<(), String> {
    let newest = store.revision().await.map_err(|error| error.to_string())?;
    let page = store
        .range(Range::prefix("/"))
        .await
        .map_err(|error| error.to_string())?;
    let found: BTreeMap<&str, (&str, Revision)> = page
        .records
        .iter()
        .map(|record| {
            (
                record.key.as_str(),
                (std::str::from_utf8(&record.value).unwrap_or(""), record.revision),
            )
        })
        .collect();
    for (writer, known) in known.iter_mut().enumerate() {
        let (text, revision) = found
            .get(&*format!("/w/{writer}"))
            .copied()
            .unwrap_or(("0 ", Revision(0)));
        let round: u64 = text
            .split(' ')
            .next()
            .and_then(|round| round.parse().ok())
            .ok_or("no number")?;
        if round != known.acknowledged && round != known.tried {
            return Err(format!("writer {writer} finds round {round} of {known:?}"));
        }
        if round == known.acknowledged && revision != known.revision {
            return Err(format!(
                "writer {writer}: revision {revision} instead of {}",
                known.revision
            ));
        }
        if revision > newest || known.revision > newest {
            return Err(format!("the store is at {newest}, writer {writer} at {revision}"));
        }
        for back in 0..round.min(20) {
            let round = round - back;
            let key = format!("/log/{writer}/{:02}", round % 20);
            if found.get(&*key).map(|(text, _)| *text) != Some(round.to_string().as_str()) {
                return Err(format!(
                    "writer {writer}: {key} of round {round} is {:?}",
                    found.get(&*key)
                ));
            }
        }
        *known = Known {
            acknowledged: round,
            revision,
            tried: round,
        };
    }
    Ok(())
}

#[test]
fn acknowledged_writes_survive_power_cuts() {
    for seed in 0..250 {
        if let Err(wrong) = lives(seed, false) {
            panic!("seed {seed}: {wrong}");
        }
    }
}

#[test]
fn the_test_notices_a_missing_sync() {
    let noticed = (0..40).filter(|seed| lives(*seed, true).is_err()).count();
    assert!(noticed > 20, "only {noticed} of 40 seeds notice that nothing is synced");
}

#[test]
fn a_full_disk_is_told_and_recovered_from() {
    block_on(async {
        let disk = Sim::default();
        let store = Embedded::open_on(disk.media(), small()).expect("open");
        disk.space(Some(20_000));
        let mut written = 0u64;
        let error = loop {
            let txn = Txn::new().put(format!("/{written:04}"), vec![b'x'; 700]);
            match store.commit(txn).await {
                Ok(_) => written += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::NoSpace), "{error:?}");
        assert!(written > 5);
        for _ in 0..3 {
            let large = Txn::new().put("/large", vec![b'x'; 50_000]);
            assert!(matches!(store.commit(large).await, Err(Error::NoSpace)));
        }
        let page = store.range(Range::prefix("/")).await.expect("reads go on");
        assert_eq!(page.count, written);

        disk.space(None);
        store
            .commit(Txn::new().put("/after", "1"))
            .await
            .expect("there is room again");
        let reopened = disk.after_power_cut(&mut Dice(1));
        let store = Embedded::open_on(reopened.media(), small()).expect("open again");
        let page = store.range(Range::prefix("/")).await.expect("range");
        assert_eq!(page.count, written + 1);
        assert!(page.records.iter().all(|record| record.key.as_str() != "/large"));
    });
}

#[test]
fn transactions_that_wait_share_a_sync() {
    block_on(async {
        let disk = Sim::default();
        let store = Embedded::open_on(disk.media(), Options::default()).expect("open");
        let before = disk.syncs();
        let commits = (0..500).map(|index| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.commit(Txn::new().put(format!("/{index}"), "x")).await })
        });
        for commit in commits.collect::<Vec<_>>() {
            commit.await.expect("a task").expect("commit");
        }
        let syncs = disk.syncs() - before;
        assert!((1..400).contains(&syncs), "{syncs} syncs for 500 transactions");
        let alone = disk.syncs();
        store.commit(Txn::new().put("/alone", "x")).await.expect("commit");
        assert_eq!(disk.syncs() - alone, 1, "one that is alone costs one");
    });
}
