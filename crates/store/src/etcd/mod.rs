//! The store on a real etcd, of version 3.4 or later: its contract is the store's, so that little is added here.
//!
//! What holds: revisions are etcd's; reads are linearizable; a write that may have happened is [`Error::Unknown`] and is
//! never done again; a member that fails is left for the next one. `docs/design/etcd.md` says what was decided.

mod batches;
mod failure;
mod feed;
mod keeper;
mod leases;
mod members;
mod newest;
mod prefix;
mod proto;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use meta::Revision;
use tokio::task::JoinHandle;

use self::failure::Failure;
use self::feed::EtcdFeed;
use self::leases::Leases;
use self::members::Members;
use self::newest::Newest;
use self::prefix::{Prefix, next_after, number, revision};
use self::proto::{
    CompactionRequest, CompactionResponse, Compare, CompareTarget, DeleteRangeRequest, PutRequest, RangeRequest,
    RangeResponse, Request, RequestOp, ResponseHeader, TxnRequest, TxnResponse, WatchResponse,
};
use crate::{Error, Feed, Got, Op, Outcome, Page, Range, Record, Store, Txn};

const RANGE: &str = "/etcdserverpb.KV/Range";
const PUT: &str = "/etcdserverpb.KV/Put";
const TXN: &str = "/etcdserverpb.KV/Txn";
const COMPACT: &str = "/etcdserverpb.KV/Compact";
/// A long range is read in parts of so many records, so that no answer is huge.
const PART: usize = 2000;
/// How often a range is begun anew when its revision is compacted while it is read.
const ATTEMPTS: usize = 3;

/// Where an etcd is, and how the store lives in it.
#[derive(Clone)]
pub struct Options {
    /// The members' URLs, such as `https://10.0.0.1:2379`.
    pub endpoints: Vec<String>,
    /// The authority that the members' certificates are checked with, as PEM; none: those that the system trusts.
    pub ca: Option<String>,
    /// The certificate to show, and its key, both PEM.
    pub identity: Option<(String, String)>,
    /// What all keys in etcd begin with.
    pub prefix: String,
    /// How long a past revision stays readable, at least; never compacted when it is zero.
    pub keep_for: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            endpoints: vec!["http://127.0.0.1:2379".to_owned()],
            ca: None,
            identity: None,
            prefix: "/gantry".to_owned(),
            keep_for: Duration::from_secs(300),
        }
    }
}

/// A store on an etcd.
pub struct Etcd {
    inner: Arc<Inner>,
    keeper: JoinHandle<()>,
}

/// What the store and its feeds share.
struct Inner {
    members: Members,
    prefix: Prefix,
    leases: Leases,
    newest: Newest,
    /// The newest revision that etcd has told of.
    seen: AtomicU64,
}

impl Etcd {
    /// Connects to an etcd; an error when it doesn't answer.
    pub async fn connect(options: Options) -> Result<Arc<Self>, Error> {
        let inner = Arc::new(Inner {
            members: Members::new(&options)?,
            prefix: Prefix::new(&options.prefix),
            leases: Leases::default(),
            newest: Newest::default(),
            seen: AtomicU64::default(),
        });
        inner.revision().await?;
        let keeper = tokio::spawn(keeper::run(Arc::clone(&inner), options.keep_for));
        Ok(Arc::new(Self { inner, keeper }))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

#[async_trait]
impl Store for Etcd {
    async fn revision(&self) -> Result<Revision, Error> {
        self.inner.revision().await
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Got, Error> {
        let request = RangeRequest {
            key: self.inner.prefix.key(key)?,
            revision: at.map_or(0, number),
            ..RangeRequest::default()
        };
        let answer = self.inner.range(request).await?;
        let record = answer.kvs.into_iter().next();
        Ok(Got {
            revision: at.unwrap_or(of(answer.header.as_ref())),
            record: record.map(|kv| self.inner.prefix.record(kv)).transpose()?,
        })
    }

    async fn range(&self, range: Range) -> Result<Page, Error> {
        let mut attempt = 1;
        loop {
            match self.inner.page(&range).await {
                Err(Error::Compacted { .. }) if range.at.is_none() && attempt < ATTEMPTS => attempt += 1,
                result => return result,
            }
        }
    }

    async fn commit(&self, txn: Txn) -> Result<Outcome, Error> {
        txn.check()?;
        self.inner.commit(&txn).await
    }

    async fn watch(&self, after: Revision) -> Result<Box<dyn Feed>, Error> {
        self.inner.check(after).await?;
        Ok(Box::new(EtcdFeed::open(Arc::clone(&self.inner), after).await?))
    }

    async fn compact(&self, revision: Revision) -> Result<(), Error> {
        self.inner.compact(revision).await
    }
}

impl Inner {
    /// The newest revision that this store has told of, or acted on.
    fn seen(&self) -> Revision {
        Revision(self.seen.load(Ordering::Acquire))
    }

    fn saw(&self, header: Option<&ResponseHeader>) -> Revision {
        let revision = of(header);
        self.seen.fetch_max(revision.0, Ordering::AcqRel);
        revision
    }

    async fn revision(&self) -> Result<Revision, Error> {
        let newest = self.newest.ask(self.read_newest()).await;
        newest.map_err(|failure| failure.error(None))
    }

    /// Any linearizable read tells it; this one finds nothing.
    async fn read_newest(&self) -> Result<Revision, Failure> {
        let (key, _) = self.prefix.watched(false);
        let request = RangeRequest {
            key,
            count_only: true,
            ..RangeRequest::default()
        };
        let answer = self.members.repeat::<_, RangeResponse>(RANGE, request).await?;
        Ok(self.saw(answer.header.as_ref()))
    }

    /// Whether a revision can be read.
    async fn check(&self, at: Revision) -> Result<(), Error> {
        let (key, _) = self.prefix.watched(false);
        let request = RangeRequest {
            key,
            count_only: true,
            revision: number(at).max(1),
            ..RangeRequest::default()
        };
        self.range(request).await.map(drop)
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Error> {
        match self.members.repeat::<_, RangeResponse>(RANGE, request).await {
            Ok(answer) => {
                self.saw(answer.header.as_ref());
                Ok(answer)
            }
            Err(failure) => Err(self.explain(failure).await),
        }
    }

    /// Reads a range in parts, all at the revision of the first.
    async fn page(&self, range: &Range) -> Result<Page, Error> {
        let (mut key, range_end) = self.prefix.range(&range.prefix, range.after.as_deref())?;
        let mut page = Page::default();
        let mut at = range.at;
        loop {
            let left = match range.limit {
                0 => PART,
                limit => (limit - page.records.len()).min(PART),
            };
            let request = RangeRequest {
                key: key.clone(),
                range_end: range_end.clone(),
                limit: i64::try_from(left).unwrap_or(i64::MAX),
                revision: at.map_or(0, number),
                count_only: false,
            };
            let answer = self.range(request).await?;
            if page.records.is_empty() {
                page.revision = at.unwrap_or(of(answer.header.as_ref()));
                page.count = answer.count.unsigned_abs();
                at = Some(page.revision);
            }
            if let Some(last) = answer.kvs.last() {
                key = next_after(&last.key);
            }
            let read = answer.kvs.len();
            for kv in answer.kvs {
                page.records.push(self.prefix.record(kv)?);
            }
            if !answer.more || read == 0 || page.records.len() == range.limit {
                return Ok(page);
            }
        }
    }

    async fn commit(&self, txn: &Txn) -> Result<Outcome, Error> {
        if txn.ops.is_empty() && txn.compares.is_empty() {
            let revision = self.revision().await?;
            return Ok(Outcome::Done { revision });
        }
        let size = txn.ops.iter().map(size).sum();
        let mut again = true;
        loop {
            let (request, leases) = self.request(txn).await?;
            return match self.members.once::<_, TxnResponse>(TXN, request).await {
                Ok(answer) => self.outcome(txn, answer),
                // It ended early: an etcd that was restored from a snapshot, say. Nothing was done.
                Err(failure) if failure.is_lease_gone() && again => {
                    self.leases.forget(&leases).await;
                    again = false;
                    continue;
                }
                Err(failure) => Err(failure.error(Some(size))),
            };
        }
    }

    /// A transaction as etcd takes it, and the leases that it names. When a comparison does not hold, it reads what the
    /// compared keys have.
    async fn request(&self, txn: &Txn) -> Result<(TxnRequest, Vec<i64>), Error> {
        let (mut request, mut leases) = (TxnRequest::default(), Vec::new());
        for compare in &txn.compares {
            let key = self.prefix.key(&compare.key)?;
            request.compare.push(Compare {
                target: CompareTarget::Mod as i32,
                key: key.clone(),
                mod_revision: Some(number(compare.revision)),
            });
            let read = RangeRequest {
                key,
                ..RangeRequest::default()
            };
            request.failure.push(Request::Range(read).into());
        }
        for op in &txn.ops {
            let key = self.prefix.key(op.key())?;
            request.success.push(match op {
                Op::Delete { .. } => Request::DeleteRange(DeleteRangeRequest { key }).into(),
                Op::Put { value, ttl, .. } => {
                    let lease = match ttl {
                        Some(ttl) => self.leases.lease(&self.members, *ttl).await?,
                        None => 0,
                    };
                    leases.extend((lease != 0).then_some(lease));
                    RequestOp::from(Request::Put(PutRequest {
                        key,
                        value: value.clone(),
                        lease,
                    }))
                }
            });
        }
        Ok((request, leases))
    }

    fn outcome(&self, txn: &Txn, answer: TxnResponse) -> Result<Outcome, Error> {
        let revision = self.saw(answer.header.as_ref());
        if answer.succeeded {
            return Ok(Outcome::Done { revision });
        }
        let found = |response: proto::ResponseOp| -> Result<Option<Record>, Error> {
            let kv = response.range.and_then(|range| range.kvs.into_iter().next());
            kv.map(|kv| self.prefix.record(kv)).transpose()
        };
        let current: Vec<_> = answer.responses.into_iter().map(found).collect::<Result<_, _>>()?;
        if current.len() != txn.compares.len() {
            return Err(Error::Unavailable("etcd's answer lacks what was read".to_owned()));
        }
        Ok(Outcome::Conflict { revision, current })
    }

    async fn compact(&self, to: Revision) -> Result<(), Error> {
        let request = CompactionRequest { revision: number(to) };
        match self.members.repeat::<_, CompactionResponse>(COMPACT, request).await {
            Ok(_) => Ok(()),
            Err(failure) if failure.is_compacted() => Ok(()),
            Err(failure) => Err(self.explain(failure).await),
        }
    }

    /// The error of a read; etcd doesn't say which revisions there are when it refuses one.
    async fn explain(&self, failure: Failure) -> Error {
        if failure.is_compacted() {
            return self.oldest().await;
        }
        if failure.is_future() {
            return match self.read_newest().await {
                Ok(newest) => Error::Future { newest },
                Err(failure) => failure.error(None),
            };
        }
        failure.error(None)
    }

    /// What the oldest revision is, as an error. A watch of all that ever was is the one thing that tells.
    async fn oldest(&self) -> Error {
        let mut round = self.members.round();
        loop {
            match feed::compacted(self, round.member()).await {
                Ok(WatchResponse { compact_revision, .. }) if compact_revision > 0 => {
                    return Error::Compacted {
                        oldest: revision(compact_revision),
                    };
                }
                Ok(_) => return Error::Unavailable("etcd doesn't tell its oldest revision".to_owned()),
                Err(failure) => {
                    if let Err(failure) = round.go_on(failure) {
                        return failure.error(None);
                    }
                }
            }
        }
    }
}

fn of(header: Option<&ResponseHeader>) -> Revision {
    revision(header.map_or(0, |header| header.revision))
}

fn size(op: &Op) -> usize {
    match op {
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete { key } => key.len(),
    }
}
