//! Files that are not as they were written: a torn end is cut off, everything else is reported.

use meta::Revision;

use super::sim::Sim;
use super::{block_on, small};
use crate::embedded::Options;
use crate::embedded::checkpoint::{Checkpoint, Writing};
use crate::embedded::segment::Segment;
use crate::{Embedded, Error, Range, Record, Store, Txn};

const TXNS: u64 = 12;

/// A disk after some transactions, each written alone, and its records.
fn written(options: &Options, close: bool) -> (Sim, Vec<Record>) {
    let disk = Sim::default();
    let store = Embedded::open_on(disk.media(), options.clone()).expect("open");
    let records = block_on(async {
        for index in 0..TXNS {
            store
                .commit(Txn::new().put(format!("/{index:02}"), format!("value {index}")))
                .await
                .expect("commit");
        }
        store.range(Range::prefix("/")).await.expect("range").records
    });
    // Without being closed in good order the files are those of a store that was killed.
    let files = Sim::of(&disk.files());
    store.close();
    (if close { disk } else { files }, records)
}

fn records(disk: &Sim) -> Result<Vec<Record>, Error> {
    let store = Embedded::open_on(disk.media(), Options::default())?;
    block_on(async { Ok(store.range(Range::prefix("/")).await?.records) })
}

#[test]
fn a_torn_end_is_cut_at_the_last_whole_transaction() {
    let (disk, all) = written(&Options::default(), false);
    let log = disk.files().remove(0);
    let mut seen = 0;
    for cut in 64..=log.1.len() {
        let disk = Sim::of(&[(log.0.clone(), log.1[..cut].to_vec())]);
        let found = records(&disk).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
        assert_eq!(
            found,
            all[..found.len()],
            "cut at {cut}: a beginning of what was written"
        );
        assert!(found.len() >= seen, "cut at {cut}");
        seen = found.len();
    }
    assert_eq!(seen, all.len());
}

#[test]
fn what_follows_a_torn_end_is_written_in_its_place() {
    let (disk, all) = written(&Options::default(), false);
    let (name, mut bytes) = disk.files().remove(0);
    bytes.truncate(bytes.len() - 3);
    let disk = Sim::of(&[(name, bytes)]);
    let store = Embedded::open_on(disk.media(), Options::default()).expect("open");
    block_on(async {
        let txn = Txn::new().put("/new", "x");
        let done = store.commit(txn).await.expect("commit");
        assert_eq!(
            done,
            crate::Outcome::Done {
                revision: Revision(TXNS + 1)
            },
            "the torn one's revision"
        );
    });
    drop(store);
    let found = records(&disk).expect("open again");
    assert_eq!(found[..found.len() - 1], all[..all.len() - 1]);
}

#[test]
fn any_damaged_byte_is_noticed() {
    let (disk, all) = written(&Options::default(), true);
    let (name, bytes) = disk.files().remove(0);
    let mut reported = 0;
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        match records(&Sim::of(&[(name.clone(), damaged)])) {
            Err(Error::Corrupt { .. } | Error::Format { .. }) => reported += 1,
            Err(other) => panic!("byte {at}: {other}"),
            // Only in the mark that the store was closed, with which nothing is lost.
            Ok(found) => assert_eq!(found, all, "byte {at}"),
        }
    }
    assert!(bytes.len() - reported < 60, "{reported} of {}", bytes.len());
}

#[test]
fn damage_in_an_earlier_file_is_noticed() {
    let options = Options {
        segment_bytes: 100,
        checkpoint_bytes: u64::MAX,
        ..small()
    };
    let (disk, _) = written(&options, false);
    let files = disk.files();
    assert!(files.len() > 3, "several segments");
    for index in 0..files.len() - 1 {
        let mut damaged = files.clone();
        let middle = damaged[index].1.len() - 5;
        damaged[index].1[middle] ^= 1;
        let opened = records(&Sim::of(&damaged));
        assert!(
            matches!(&opened, Err(Error::Corrupt { file, .. }) if *file == files[index].0),
            "{opened:?}"
        );
        damaged[index] = files[index].clone();
        damaged[index].1.truncate(middle);
        assert!(
            matches!(records(&Sim::of(&damaged)), Err(Error::Corrupt { .. })),
            "cut short"
        );
        damaged.remove(index);
        assert!(
            matches!(records(&Sim::of(&damaged)), Err(Error::Corrupt { .. })),
            "missing"
        );
    }
}

/// The files of a store whose log no longer reaches back to its beginning, and where the checkpoint is among them.
fn with_a_base() -> (Vec<(String, Vec<u8>)>, usize) {
    let options = Options {
        segment_bytes: 100,
        checkpoint_bytes: 200,
        keep_revisions: 1,
        ..small()
    };
    let (disk, _) = written(&options, false);
    let store = Embedded::open_on(disk.media(), options).expect("open");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    // The housekeeper needs a moment, and history moves only when something is written.
    loop {
        assert!(std::time::Instant::now() < deadline, "no base: {:?}", disk.names());
        block_on(store.commit(Txn::new().put("/more", "x"))).expect("commit");
        if !disk.names().contains(&Segment::name_of(0)) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    drop(store);
    // Opening removes what else may be under way.
    drop(Embedded::open_on(disk.media(), Options::default()).expect("open again"));
    let files = disk.files();
    let state = files.iter().position(|(name, _)| name.starts_with("state-"));
    (files, state.expect("a checkpoint"))
}

#[test]
fn a_damaged_checkpoint_is_noticed() {
    let (files, state) = with_a_base();
    assert_eq!(records(&Sim::of(&files)).expect("whole").len() as u64, TXNS + 1);
    for at in 0..files[state].1.len() {
        let mut damaged = files.clone();
        damaged[state].1[at] ^= 0x10;
        let opened = records(&Sim::of(&damaged));
        assert!(
            matches!(opened, Err(Error::Corrupt { .. } | Error::Format { .. })),
            "byte {at}: {opened:?}"
        );
    }
    let mut missing = files;
    missing.remove(state);
    assert!(
        matches!(records(&Sim::of(&missing)), Err(Error::Corrupt { .. })),
        "missing"
    );
}

#[test]
fn a_checkpoint_that_was_given_up_is_not_the_base() {
    let (files, _) = with_a_base();
    let disk = Sim::of(&files);
    let writing = Writing::begin(&*disk.media(), Revision(2), Revision(1)).map(Writing::finish);
    writing.expect("begin").expect("finish");
    assert_eq!(records(&disk).expect("open").len() as u64, TXNS + 1);
    assert!(
        !disk.names().contains(&Checkpoint::name_of(Revision(2))),
        "it is removed"
    );
}
