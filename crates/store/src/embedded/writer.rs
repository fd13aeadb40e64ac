//! The one thread that writes: it takes all transactions that wait, writes them with one sync, and then answers.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meta::Revision;
use tokio::sync::oneshot;

use super::format::{Effect, Entry, Frame, Write};
use super::segment::Segment;
use super::{Shared, io_error, now};
use crate::{Batch, Change, Error, Event, Key, MAX_OPS, Op, Outcome, Record, Txn};

/// A group takes no further transaction when it is longer than this.
const GROUP_BYTES: usize = 4 << 20;

/// What waits for the writer.
#[derive(Default)]
pub(crate) struct Inbox {
    pub(crate) requests: Vec<Request>,
    pub(crate) closed: bool,
}

type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// What the writer is asked to do.
pub(crate) enum Request {
    Commit { txn: Txn, answer: Answer<Outcome> },
    Compact { to: Revision, answer: Option<Answer<()>> },
}

/// The writer's own state.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    active: Arc<Segment>,
    /// Behind the last durable frame may lie what could not be written whole; it must be cut off first.
    dirty: bool,
}

/// What is written with one sync.
struct Group {
    /// The revision of its last transaction so far.
    revision: Revision,
    bytes: Vec<u8>,
    /// Each transaction's revision, where in `bytes` it begins, and what it writes.
    txns: Vec<(Revision, usize, Vec<Write>)>,
    /// What the transactions so far make of the keys that they touch.
    pending: HashMap<Key, Option<(Revision, Bytes)>>,
    compact: Option<Revision>,
    /// Given when the group is durable; some rest on what the group writes.
    commits: Vec<(Answer<Outcome>, Outcome)>,
    compacts: Vec<Answer<()>>,
    time: u64,
}

impl Writer {
    pub(crate) fn new(shared: Arc<Shared>, active: Arc<Segment>) -> Self {
        Self {
            shared,
            active,
            dirty: false,
        }
    }

    /// Works until the store is closed and everybody has been answered.
    pub(crate) fn run(mut self) {
        while let Some(requests) = self.wait() {
            let mut requests = requests.into_iter();
            let mut first = true;
            while std::mem::take(&mut first) || requests.len() > 0 {
                let mut group = Group::new(self.shared.state.read().revision);
                self.expire(&mut group);
                while group.bytes.len() < GROUP_BYTES {
                    let Some(request) = requests.next() else { break };
                    self.take_in(request, &mut group);
                }
                self.finish(group);
            }
        }
        self.seal();
    }

    /// Waits until there is something to do; `None` when the store is closed and nothing is left.
    fn wait(&self) -> Option<Vec<Request>> {
        let mut inbox = self.shared.inbox.lock();
        loop {
            if !inbox.requests.is_empty() {
                return Some(std::mem::take(&mut inbox.requests));
            }
            if inbox.closed {
                return None;
            }
            let expiry = self.shared.state.read().next_expiry();
            match expiry {
                None => self.shared.work.wait(&mut inbox),
                Some(at) => {
                    let Some(left) = at.checked_sub(now()).filter(|left| *left > 0) else {
                        return Some(Vec::new());
                    };
                    // A clock that is set forward is noticed within a minute.
                    let left = Duration::from_millis(left.min(60_000));
                    self.shared.work.wait_for(&mut inbox, left);
                }
            }
        }
    }

    /// Puts the deletion of what has lived its time into the group.
    fn expire(&self, group: &mut Group) {
        let keys = self.shared.state.read().expired(now(), MAX_OPS);
        if !keys.is_empty() {
            let writes = keys
                .into_iter()
                .map(|key| Write {
                    key,
                    effect: Effect::Delete,
                })
                .collect();
            group.add(writes, &self.active);
        }
    }

    fn take_in(&self, request: Request, group: &mut Group) {
        match request {
            Request::Commit { txn, answer } => {
                let outcome = self.evaluate(txn, group);
                group.commits.push((answer, outcome));
            }
            Request::Compact { to, answer } if to > group.revision => {
                let error = Error::Future { newest: group.revision };
                answer.map(|answer| answer.send(Err(error)));
            }
            Request::Compact { to, answer } => {
                if to
                    > self
                        .shared
                        .state
                        .read()
                        .compacted
                        .max(group.compact.unwrap_or_default())
                {
                    group.compact = Some(to);
                }
                group.compacts.extend(answer);
            }
        }
    }

    /// Whether a transaction's comparisons hold after those before it; if so its writes go into the group.
    fn evaluate(&self, txn: Txn, group: &mut Group) -> Outcome {
        let state = self.shared.state.read();
        let look = |key: &Key| match group.pending.get(key) {
            Some(pending) => pending.clone(),
            None => state
                .newest(key)
                .map(|(_, newest)| (newest.revision, newest.value.clone())),
        };
        let holds = |compare: &crate::Compare| {
            look(&compare.key).map_or(Revision(0), |(revision, _)| revision) == compare.revision
        };
        if !txn.compares.iter().all(holds) {
            let record = |key: &Key| {
                look(key).map(|(revision, value)| Record {
                    key: key.clone(),
                    value,
                    revision,
                })
            };
            let current = txn.compares.iter().map(|compare| record(&compare.key)).collect();
            return Outcome::Conflict {
                revision: group.revision,
                current,
            };
        }
        let writes = txn.ops.into_iter().filter_map(|op| match op {
            Op::Put { key, value, ttl } => {
                let ttl = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
                let expires = ttl.map_or(0, |ttl| group.time.saturating_add(ttl));
                Some(Write {
                    key,
                    effect: Effect::Put { value, expires },
                })
            }
            Op::Delete { key } => look(&key).map(|_| Write {
                key,
                effect: Effect::Delete,
            }),
        });
        let writes: Vec<Write> = writes.collect();
        drop(state);
        if !writes.is_empty() {
            group.add(writes, &self.active);
        }
        Outcome::Done {
            revision: group.revision,
        }
    }

    /// Makes a group durable, then shows it, then answers.
    fn finish(&mut self, mut group: Group) {
        if let Some(to) = group.compact {
            group.frame(Entry::Compact(to), &self.active);
        }
        if !group.bytes.is_empty() {
            if let Err(error) = self.write(&group.bytes) {
                group.fail(&error, self.dirty);
                return;
            }
            self.publish(&mut group);
        }
        for (answer, outcome) in group.commits {
            // Who dropped the future doesn't want to know.
            let _gone = answer.send(Ok(outcome));
        }
        for answer in group.compacts {
            let _gone = answer.send(Ok(()));
        }
        if self.active.len() > self.shared.options.segment_bytes {
            self.roll();
        }
    }

    /// Appends to the active segment, durably or not at all.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.dirty {
            self.cut()?;
        }
        let end = self.active.len();
        let written = meta::failpoint::try_hit("store.log.write")
            .and_then(|()| self.active.file.write_at(bytes, end))
            .and_then(|()| meta::failpoint::try_hit("store.log.sync"))
            .and_then(|()| self.active.file.sync());
        if let Err(error) = written {
            self.dirty = true;
            if let Err(second) = self.cut() {
                tracing::error!(error = %second, "the store's log could not be cut back after a failed write");
            }
            return Err(error);
        }
        meta::failpoint::hit("store.log.synced");
        Ok(())
    }

    /// Cuts off what lies behind the last durable frame.
    fn cut(&mut self) -> io::Result<()> {
        self.active.file.truncate(self.active.len())?;
        self.active.file.sync()?;
        self.dirty = false;
        Ok(())
    }

    /// Shows readers and feeds what is durable now.
    fn publish(&self, group: &mut Group) {
        let start = self.active.len();
        let place = |at: &usize| u32::try_from(start + *at as u64).unwrap_or(u32::MAX);
        self.active.grow(
            start + group.bytes.len() as u64,
            group.txns.iter().map(|(_, at, _)| place(at)),
        );
        let txns = std::mem::take(&mut group.txns);
        let batches: Vec<Batch> = txns
            .iter()
            .map(|(revision, _, writes)| batch(*revision, writes))
            .collect();
        {
            let mut state = self.shared.state.write();
            for (revision, _, writes) in txns {
                state.apply(revision, writes);
            }
            if let Some(to) = group.compact {
                state.compact(to);
            }
        }
        self.shared
            .chores
            .lock()
            .mark(group.time, group.revision, &self.shared.options);
        if !batches.is_empty() {
            self.shared.tail.lock().push(batches);
            self.shared.tip.send_modify(|tip| tip.revision = group.revision);
        }
    }

    /// Goes on in a new segment. When that fails the present one just gets longer.
    fn roll(&mut self) {
        let (revision, compacted) = {
            let state = self.shared.state.read();
            (state.revision, state.compacted)
        };
        // Nothing may lie behind the last frame of a segment that is no longer the last.
        if self.dirty && self.cut().is_err() {
            return;
        }
        match Segment::create(&*self.shared.media, self.active.number + 1, revision, compacted) {
            Ok(segment) => {
                self.active = Arc::new(segment);
                let mut state = self.shared.state.write();
                let mut files = (*state.files).clone();
                files.segments.push(Arc::clone(&self.active));
                state.files = Arc::new(files);
            }
            Err(error) => tracing::warn!(%error, "no new file of the store's log can be begun"),
        }
        self.shared.look_after();
    }

    /// Says in the log that it ends here, so that later damage is not taken for the torn end of a write.
    fn seal(&mut self) {
        let revision = self.shared.state.read().revision;
        let mut group = Group::new(revision);
        group.frame(Entry::Closed, &self.active);
        match self.write(&group.bytes) {
            Ok(()) => self
                .active
                .grow(self.active.len() + group.bytes.len() as u64, std::iter::empty()),
            Err(error) => tracing::warn!(%error, "the store's log could not be closed in good order"),
        }
    }
}

// === impl Group ===

impl Group {
    fn new(revision: Revision) -> Self {
        Self {
            revision,
            bytes: Vec::new(),
            txns: Vec::new(),
            pending: HashMap::new(),
            compact: None,
            commits: Vec::new(),
            compacts: Vec::new(),
            time: now(),
        }
    }

    /// Gives the next revision to some writes.
    fn add(&mut self, writes: Vec<Write>, active: &Segment) {
        self.revision = Revision(self.revision.0 + 1);
        for Write { key, effect } in &writes {
            let now = match effect {
                Effect::Put { value, .. } => Some((self.revision, value.clone())),
                Effect::Delete => None,
            };
            self.pending.insert(key.clone(), now);
        }
        let at = self.bytes.len();
        if let Entry::Txn(writes) = self.frame(Entry::Txn(writes), active) {
            self.txns.push((self.revision, at, writes));
        }
    }

    fn frame(&mut self, entry: Entry, active: &Segment) -> Entry {
        let frame = Frame {
            revision: self.revision,
            durable: active.len(),
            time: self.time,
            entry,
        };
        frame.encode(active.salt, &mut self.bytes);
        frame.entry
    }

    /// Tells everybody that nothing was done; or, when the end of the log could not be cleaned up, that nobody knows
    /// what a restart will find.
    fn fail(self, error: &io::Error, dirty: bool) {
        let told = || match io_error("writing the store's log", io::Error::from(error.kind())) {
            Error::NoSpace if !dirty => Error::NoSpace,
            _ if dirty => Error::Unknown(error.to_string()),
            _ => io_error("writing the store's log", copy(error)),
        };
        tracing::error!(%error, waiting = self.commits.len(), "the store's log cannot be written");
        for (answer, _) in self.commits {
            let _gone = answer.send(Err(told()));
        }
        for answer in self.compacts {
            let _gone = answer.send(Err(told()));
        }
    }
}

/// An error for each of those who wait.
fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(
        || io::Error::new(error.kind(), error.to_string()),
        io::Error::from_raw_os_error,
    )
}

/// A transaction as feeds show it.
pub(crate) fn batch(revision: Revision, writes: &[Write]) -> Batch {
    let event = |write: &Write| Event {
        key: write.key.clone(),
        change: match &write.effect {
            Effect::Put { value, .. } => Change::Put(value.clone()),
            Effect::Delete => Change::Delete,
        },
    };
    Batch {
        revision,
        events: writes.iter().map(event).collect(),
    }
}
