//! The feed: one watch of everything under the store's prefix.
//!
//! The revision of etcd also moves by what isn't the store's: other prefixes, keys of others. How far the watch is can
//! then not be seen from its events. A newer etcd is asked for that. An older one may answer such a question before it
//! has sent the events, so there a mark is written, and its event waited for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::channel::mpsc;
use meta::Revision;
use tokio::time::Instant;
use tonic::Streaming;

use super::batches::batches;
use super::failure::Failure;
use super::members::Member;
use super::prefix::{number, revision};
use super::proto::{
    PutRequest, PutResponse, StatusRequest, StatusResponse, WatchCreateRequest, WatchProgressRequest, WatchRequest,
    WatchResponse,
};
use super::{Inner, PUT};
use crate::{Batch, Error, Feed};

const STATUS: &str = "/etcdserverpb.Maintenance/Status";
/// etcd looks ten times a second for watches that want what is compacted.
const COMPACTED: Duration = Duration::from_secs(5);

/// How a watch is made to tell how far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Means {
    /// By a progress request.
    Asking,
    /// By a write that the watch shows.
    Marking,
}

/// Somebody wants to know that the feed has reached a revision.
struct Wanted {
    revision: Revision,
    /// When to do something about it: by then, mostly, the events have come.
    due: Instant,
}

pub(crate) struct EtcdFeed {
    inner: Arc<Inner>,
    means: Means,
    opened: Opened,
    ready: VecDeque<Batch>,
    /// The revision of the last batch that was made; `ready` ends with it.
    last: Revision,
    wanted: Option<Wanted>,
}

impl EtcdFeed {
    /// Begins a watch after a revision that is not compacted.
    pub(crate) async fn open(inner: Arc<Inner>, after: Revision) -> Result<Self, Error> {
        let mut round = inner.members.round();
        let (means, opened, first) = loop {
            match begin(&inner, round.member(), after).await {
                Ok(begun) => break begun,
                Err(failure) => round.go_on(failure).map_err(|failure| failure.error(None))?,
            }
        };
        if first.canceled {
            return Err(ended(&first));
        }
        Ok(Self {
            inner,
            means,
            opened,
            ready: VecDeque::new(),
            last: after,
            wanted: None,
        })
    }

    /// Takes in what etcd says.
    fn take(&mut self, answer: WatchResponse) -> Result<(), Error> {
        if answer.canceled {
            return Err(ended(&answer));
        }
        if answer.events.is_empty() {
            // The answer to a progress request; nothing else is without events.
            if self.means == Means::Asking && !answer.created {
                self.tell(revision(answer.header.unwrap_or_default().revision));
            }
            return Ok(());
        }
        for batch in batches(&self.inner.prefix, self.last, answer.events) {
            self.last = batch.revision;
            self.ready.push_back(batch);
        }
        Ok(())
    }

    /// Puts a batch without events behind what is ready.
    fn tell(&mut self, revision: Revision) {
        if revision < self.last {
            return;
        }
        self.last = revision;
        self.ready.push_back(Batch {
            revision,
            events: Arc::new([]),
        });
        self.wanted = self.wanted.take().filter(|wanted| wanted.revision > revision);
    }

    /// It is time to do something about what is wanted.
    fn inquire(&mut self) -> Result<(), Error> {
        let Some(wanted) = &mut self.wanted else { return Ok(()) };
        if self.last >= wanted.revision {
            // Everything up to the last batch has been seen, and that is as much as is wanted.
            self.tell(self.last);
            return Ok(());
        }
        // Again, if that should come to nothing: a watch that lags gets no answer, and a write may fail.
        wanted.due = Instant::now() + self.means.again();
        match self.means {
            Means::Asking => self.send(WatchRequest {
                create: None,
                progress: Some(WatchProgressRequest {}),
            }),
            Means::Marking => {
                tokio::spawn(mark(Arc::clone(&self.inner)));
                Ok(())
            }
        }
    }

    fn send(&self, request: WatchRequest) -> Result<(), Error> {
        let sent = self.opened.requests.unbounded_send(request);
        sent.map_err(|_| Error::Unavailable("the watch has ended".to_owned()))
    }
}

#[async_trait]
impl Feed for EtcdFeed {
    async fn next(&mut self) -> Result<Batch, Error> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            let due = self.wanted.as_ref().map(|wanted| wanted.due);
            let wait = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            // Neither loses anything when the other is faster, or when nobody waits any longer.
            tokio::select! {
                answer = self.opened.answer() => self.take(answer.map_err(|failure| failure.error(None))?)?,
                () = wait => self.inquire()?,
            }
        }
    }

    async fn request_progress(&mut self) -> Result<(), Error> {
        let revision = self.inner.seen();
        match &mut self.wanted {
            Some(wanted) => wanted.revision = wanted.revision.max(revision),
            None => {
                self.wanted = Some(Wanted {
                    revision,
                    due: Instant::now() + self.means.first(),
                });
            }
        }
        Ok(())
    }
}

type Begun = (Means, Opened, WatchResponse);

/// A watch: where requests go, and where answers come from.
struct Opened {
    requests: mpsc::UnboundedSender<WatchRequest>,
    answers: Streaming<WatchResponse>,
}

/// Begins a watch of everything at one member, up to its first answer.
async fn begin(inner: &Inner, member: &Member, after: Revision) -> Result<Begun, Failure> {
    let status: StatusResponse = member.call(STATUS, StatusRequest {}).await?;
    let means = Means::of(&status.version);
    let (key, range_end) = inner.prefix.watched(means == Means::Marking);
    let mut opened = open(
        member,
        WatchCreateRequest {
            key,
            range_end,
            start_revision: number(after).saturating_add(1),
        },
    )
    .await?;
    let first = opened.answer().await?;
    Ok((means, opened, first))
}

/// Has one member tell what it has compacted: how it ends a watch of all that ever was.
pub(crate) async fn compacted(inner: &Inner, member: &Member) -> Result<WatchResponse, Failure> {
    let create = WatchCreateRequest {
        key: inner.prefix.mark(),
        range_end: Bytes::new(),
        start_revision: 1,
    };
    let mut opened = open(member, create).await?;
    let ended = async {
        loop {
            let answer = opened.answer().await?;
            if answer.canceled || !answer.created {
                return Ok(answer);
            }
        }
    };
    let waited = tokio::time::timeout(COMPACTED, ended).await;
    waited.unwrap_or_else(|_| Ok(WatchResponse::default()))
}

async fn open(member: &Member, create: WatchCreateRequest) -> Result<Opened, Failure> {
    let (requests, queue) = mpsc::unbounded();
    // It can't fail: the other end is here.
    let _ = requests.unbounded_send(WatchRequest {
        create: Some(create),
        progress: None,
    });
    let answers = member.watch(queue).await?;
    Ok(Opened { requests, answers })
}

impl Opened {
    async fn answer(&mut self) -> Result<WatchResponse, Failure> {
        match self.answers.message().await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Failure::Lost("etcd has ended the watch".to_owned())),
            Err(status) => Err(Failure::of(&status)),
        }
    }
}

/// Why etcd has ended a watch.
fn ended(answer: &WatchResponse) -> Error {
    if answer.compact_revision > 0 {
        return Error::Compacted {
            oldest: revision(answer.compact_revision),
        };
    }
    let why = match answer.cancel_reason.as_str() {
        "" => "etcd has ended the watch",
        reason => reason,
    };
    Error::Unavailable(why.to_owned())
}

/// Writes what the watch shows.
async fn mark(inner: Arc<Inner>) {
    let put = PutRequest {
        key: inner.prefix.mark(),
        ..PutRequest::default()
    };
    if let Err(failure) = inner.members.once::<_, PutResponse>(PUT, put).await {
        tracing::debug!(?failure, "the mark of the watch's progress could not be written");
    }
}

// === impl Means ===

impl Means {
    /// What etcd of a version can be trusted with. Answers to progress requests overtake events before 3.4.25 and 3.5.8
    /// (etcd issue 15220), and more was wrong up to the versions from which on kube-apiserver trusts them.
    pub(crate) fn of(version: &str) -> Self {
        let core = version.split(['-', '+']).next().unwrap_or_default();
        let mut numbers = core.split('.').map(|part| part.parse::<u32>().unwrap_or_default());
        let mut next = || numbers.next().unwrap_or_default();
        let version = (next(), next(), next());
        let good = match version {
            (3, 4, patch) => patch >= 31,
            (3, 5, patch) => patch >= 13,
            other => other >= (3, 6, 0),
        };
        if good { Self::Asking } else { Self::Marking }
    }

    /// How long to wait for events before anything is done.
    fn first(self) -> Duration {
        Duration::from_millis(match self {
            Self::Asking => 2,
            Self::Marking => 50,
        })
    }

    /// How long to wait for what has been done to have an effect.
    fn again(self) -> Duration {
        Duration::from_millis(match self {
            Self::Asking => 100,
            Self::Marking => 1000,
        })
    }
}
