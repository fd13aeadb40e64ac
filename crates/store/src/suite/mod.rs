//! The contract of [`Store`] as tests, for whoever implements it: `suite::run(store, prefix, seed)` panics where the
//! store breaks a promise. It needs nothing but the trait, touches only keys under its prefix, and bears others who
//! write elsewhere in the store meanwhile.

mod history;
mod model;
mod reads;
mod watches;
mod writes;

use std::sync::Arc;

use bytes::Bytes;
use meta::Revision;

use crate::{Error, Outcome, Range, Record, Store, Txn};

#[cfg(test)]
pub(crate) use self::model::Dice;

/// Runs everything. `seed` decides what the randomised part does; one that failed fails again.
pub async fn run(store: Arc<dyn Store>, prefix: &str, seed: u64) {
    let bench = |name: &str| Bench {
        store: Arc::clone(&store),
        prefix: format!("{prefix}{name}/"),
    };
    writes::put_get_delete(bench("put")).await;
    writes::comparisons_decide(bench("compare")).await;
    writes::a_transaction_has_one_revision(bench("txn")).await;
    writes::what_changes_nothing_takes_no_revision(bench("noop")).await;
    writes::limits_hold(bench("limits")).await;
    writes::nobody_overtakes_a_comparison(bench("race")).await;
    writes::a_writer_reads_what_it_wrote(bench("own")).await;
    reads::ranges_come_in_pages(bench("pages")).await;
    reads::a_prefix_is_a_prefix(bench("prefix")).await;
    reads::the_past_stays_as_it_was(bench("past")).await;
    reads::the_future_is_an_error(bench("future")).await;
    watches::a_watch_tells_everything_in_order(bench("watch")).await;
    watches::a_watch_resumes_anywhere(bench("resume")).await;
    watches::a_watch_waits(bench("wait")).await;
    watches::progress_is_told(bench("progress")).await;
    watches::a_ttl_ends_a_record(bench("ttl")).await;
    history::compaction_forgets_the_past_only(bench("compact")).await;
    model::like_a_model(bench("model"), seed).await;
}

/// The randomised part alone: the store against a model that remembers everything.
pub async fn run_model(store: Arc<dyn Store>, prefix: &str, seed: u64) {
    model::like_a_model(
        Bench {
            store,
            prefix: prefix.to_owned(),
        },
        seed,
    )
    .await;
}

/// A store and a corner of it.
pub(crate) struct Bench {
    store: Arc<dyn Store>,
    prefix: String,
}

impl Bench {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    async fn commit(&self, txn: Txn) -> Revision {
        match self.store.commit(txn).await.expect("commit") {
            Outcome::Done { revision } => revision,
            Outcome::Conflict { current, .. } => panic!("conflict without a reason: {current:?}"),
        }
    }

    async fn put(&self, name: &str, value: &str) -> Revision {
        self.commit(Txn::new().put(self.key(name), Bytes::copy_from_slice(value.as_bytes())))
            .await
    }

    async fn delete(&self, name: &str) -> Revision {
        self.commit(Txn::new().delete(self.key(name))).await
    }

    async fn get(&self, name: &str) -> Option<Record> {
        self.store.get(&self.key(name), None).await.expect("get").record
    }

    async fn get_at(&self, name: &str, at: Revision) -> Option<Record> {
        let got = self
            .store
            .get(&self.key(name), Some(at))
            .await
            .expect("get at a revision");
        assert_eq!(got.revision, at);
        got.record
    }

    fn range(&self) -> Range {
        Range::prefix(self.prefix.clone())
    }

    async fn revision(&self) -> Revision {
        self.store.revision().await.expect("revision")
    }

    /// The names and values in a page.
    fn names(&self, records: &[Record]) -> Vec<(String, String)> {
        let name = |record: &Record| {
            record
                .key
                .strip_prefix(&*self.prefix)
                .expect("within the prefix")
                .to_owned()
        };
        records
            .iter()
            .map(|record| (name(record), text(&record.value)))
            .collect()
    }
}

fn text(value: &Bytes) -> String {
    String::from_utf8_lossy(value).into_owned()
}

fn is_compacted<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Compacted { .. }))
}
