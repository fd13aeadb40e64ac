//! The embedded store: a log of our own in a directory, and the newest state in memory.
//!
//! What holds: a transaction is in the log and durable before anybody sees it or is told; the log and the checkpoints
//! are only ever read back checked; a torn end is cut off, any other damage is an error with its place. One thread
//! writes, one keeps house, readers only ever wait for a lock that is held for moments. `docs/design/log.md` has the
//! format and the figures.

mod checkpoint;
mod disk;
mod feed;
mod files;
mod format;
mod frames;
mod keeper;
pub mod media;
mod recover;
mod segment;
mod state;
mod writer;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use meta::Revision;
use parking_lot::{Condvar, Mutex, RwLock};
use tokio::sync::{oneshot, watch};

use self::feed::{EmbeddedFeed, Tail, Tip};
use self::format::Kept;
use self::media::Media;
use self::state::{Found, State};
use self::writer::{Inbox, Request};
use crate::{Error, Feed, Got, Outcome, Page, Range, Record, Store, Txn};

/// How an embedded store keeps house.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long a past revision stays readable, at least.
    pub keep_for: Duration,
    /// At most so many past revisions stay readable.
    pub keep_revisions: u64,
    /// At most so many bytes of the log are kept for past revisions, to the accuracy of a segment.
    pub keep_bytes: u64,
    /// A new file of the log is begun when one gets longer than this.
    pub segment_bytes: u64,
    /// A checkpoint is written when the log has grown by this since the last one, or by the last one's size if that is
    /// more.
    pub checkpoint_bytes: u64,
    /// How often the housekeeper looks.
    pub tick: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keep_for: Duration::from_secs(300),
            keep_revisions: 1_000_000,
            keep_bytes: 512 << 20,
            segment_bytes: 32 << 20,
            checkpoint_bytes: 64 << 20,
            tick: Duration::from_secs(60),
        }
    }
}

/// A store in a directory of this machine. [`Embedded::close`] it, or drop it: both wait until what is under way is
/// durable.
pub struct Embedded {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Held until the store is closed; feeds may live longer.
    lock: Mutex<Option<disk::Lock>>,
}

/// What the store has, and what that costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    /// The newest revision.
    pub revision: Revision,
    /// The oldest revision that can be read.
    pub compacted: Revision,
    /// How many records there are.
    pub keys: usize,
    /// How many older versions can be read.
    pub history: usize,
    /// How many bytes the files have.
    pub disk_bytes: u64,
}

/// What the threads and the readers share.
struct Shared {
    media: Arc<dyn Media>,
    options: Options,
    state: RwLock<State>,
    inbox: Mutex<Inbox>,
    /// Wakes the writer.
    work: Condvar,
    tail: Mutex<Tail>,
    tip: watch::Sender<Tip>,
    /// Whether the housekeeper is to look now, or to end.
    chores: Mutex<keeper::Chores>,
    chore: Condvar,
}

impl Embedded {
    /// Opens the store in a directory, which is made when it isn't there. Reads everything back, so it blocks; a
    /// million small records take seconds.
    pub fn open(dir: &Path, options: Options) -> Result<Arc<Self>, Error> {
        let (disk, lock) = disk::Disk::open(dir)?;
        let store = Self::open_on(Arc::new(disk), options)?;
        *store.lock.lock() = Some(lock);
        Ok(store)
    }

    /// Opens the store on any media; two stores on one media are the caller's mistake.
    pub fn open_on(media: Arc<dyn Media>, options: Options) -> Result<Arc<Self>, Error> {
        let recovered = recover::recover(&media, &options)?;
        let tip = Tip {
            revision: recovered.state.revision,
            closed: false,
        };
        let shared = Arc::new(Shared {
            media,
            options,
            state: RwLock::new(recovered.state),
            inbox: Mutex::default(),
            work: Condvar::new(),
            tail: Mutex::default(),
            tip: watch::Sender::new(tip),
            chores: Mutex::new(keeper::Chores::new(recovered.marks, recovered.last)),
            chore: Condvar::new(),
        });
        let writer = writer::Writer::new(Arc::clone(&shared), recovered.active);
        let housekeeper = Arc::clone(&shared);
        let threads = vec![
            spawn("store-log", move || writer.run())?,
            spawn("store-keeper", move || keeper::run(&housekeeper))?,
        ];
        Ok(Arc::new(Self {
            shared,
            threads: Mutex::new(threads),
            lock: Mutex::default(),
        }))
    }

    /// Finishes what is under way and lets the directory go. Every later call says [`Error::Closed`].
    pub fn close(&self) {
        self.shared.inbox.lock().closed = true;
        self.shared.work.notify_all();
        self.shared.chores.lock().closed = true;
        self.shared.chore.notify_all();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if thread.join().is_err() {
                tracing::error!("a thread of the store has panicked");
            }
        }
        self.shared.tip.send_modify(|tip| tip.closed = true);
        *self.lock.lock() = None;
    }

    /// What it has now.
    pub fn stats(&self) -> Stats {
        let state = self.shared.state.read();
        Stats {
            revision: state.revision,
            compacted: state.compacted,
            keys: state.len(),
            history: state.history(),
            disk_bytes: state.files.bytes(),
        }
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.shared.tip.borrow().closed {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    async fn submit<T>(&self, request: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Request) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        {
            let mut inbox = self.shared.inbox.lock();
            if inbox.closed {
                return Err(Error::Closed);
            }
            inbox.requests.push(request(answer));
        }
        self.shared.work.notify_one();
        answered.await.unwrap_or(Err(Error::Closed))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

#[async_trait]
impl Store for Embedded {
    async fn revision(&self) -> Result<Revision, Error> {
        self.check_open()?;
        Ok(self.shared.state.read().revision)
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Got, Error> {
        self.check_open()?;
        let (revision, found, files) = {
            let state = self.shared.state.read();
            let revision = at.unwrap_or(state.revision);
            state.check(revision)?;
            (revision, state.at(key, revision), Arc::clone(&state.files))
        };
        let record = match found {
            None => None,
            Some(Found::Here(kept)) => Some(kept.into()),
            Some(found) => Some(on_disk(move || found.fetch(&files)).await?.into()),
        };
        Ok(Got { revision, record })
    }

    async fn range(&self, range: Range) -> Result<Page, Error> {
        self.check_open()?;
        let after = range.after.as_deref();
        let limit = if range.limit == 0 { usize::MAX } else { range.limit };
        let (revision, found, count, files) = {
            let state = self.shared.state.read();
            let revision = range.at.unwrap_or(state.revision);
            state.check(revision)?;
            if revision == state.revision {
                let records: Vec<Record> = state.records(&range.prefix, after).take(limit).collect();
                let cut = records.len() == limit;
                let count = if cut {
                    state.count(&range.prefix, after)
                } else {
                    records.len()
                };
                return Ok(Page {
                    revision,
                    records,
                    count: count as u64,
                });
            }
            let mut all = state.found_at(&range.prefix, after, revision);
            let found: Vec<Found> = all.by_ref().take(limit).collect();
            let count = found.len() + all.count();
            (revision, found, count, Arc::clone(&state.files))
        };
        let fetch = move || {
            found
                .into_iter()
                .map(|found| found.fetch(&files).map(Record::from))
                .collect()
        };
        Ok(Page {
            revision,
            records: on_disk(fetch).await?,
            count: count as u64,
        })
    }

    async fn commit(&self, txn: Txn) -> Result<Outcome, Error> {
        txn.check()?;
        self.submit(|answer| Request::Commit { txn, answer }).await
    }

    async fn watch(&self, after: Revision) -> Result<Box<dyn Feed>, Error> {
        self.check_open()?;
        self.shared.state.read().check(after)?;
        Ok(Box::new(EmbeddedFeed::new(Arc::clone(&self.shared), after)))
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.submit(|answer| Request::Compact {
            to: revision,
            answer: Some(answer),
        })
        .await?;
        self.shared.look_after();
        Ok(())
    }
}

impl Found {
    /// The record itself.
    fn fetch(self, files: &files::Files) -> Result<Kept, Error> {
        match self {
            Self::Here(kept) => Ok(kept),
            Self::OnDisk { key, revision } => {
                let (value, expires) = files.value(&key, revision)?;
                Ok(Kept {
                    key,
                    revision,
                    value,
                    expires,
                })
            }
        }
    }
}

impl From<Kept> for Record {
    fn from(
        Kept {
            key, revision, value, ..
        }: Kept,
    ) -> Self {
        Self { key, value, revision }
    }
}

impl Shared {
    /// Has the housekeeper look now.
    fn look_after(&self) {
        self.chores.lock().look = true;
        self.chore.notify_all();
    }
}

/// Reads from the disk without holding up other tasks.
async fn on_disk<T: Send + 'static>(read: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(read).await.unwrap_or(Err(Error::Closed))
}

/// Ends the process when its thread panics: without that thread every write would wait for ever, and who started the
/// process can start it again.
struct Vital;

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    let run = move || {
        let vital = Vital;
        run();
        drop(vital);
    };
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map_err(|error| io_error("starting a thread", error))
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Some number that is different for every file.
fn random() -> u32 {
    use std::hash::{BuildHasher as _, Hasher as _};
    let number = std::hash::RandomState::new().build_hasher().finish();
    (number ^ (number >> 32)) as u32
}

fn io_error(what: &str, source: std::io::Error) -> Error {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    match source.kind() {
        StorageFull | QuotaExceeded => Error::NoSpace,
        _ => Error::Io {
            what: what.to_owned(),
            source,
        },
    }
}

fn damaged(file: &str, offset: u64, detail: &str) -> Error {
    Error::Corrupt {
        file: file.to_owned(),
        offset,
        detail: detail.to_owned(),
    }
}
