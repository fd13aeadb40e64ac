//! Watches: a cursor into the cache's ring, each event encoded once for all who watch in the same format.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use meta::{FieldError, GroupKind, Revision, Status};
use tokio::time::Instant;
use watch::{Delivery, Selection, Snapshot, Watcher};

use super::get::{not_older, parse_revision};
use super::render::{self, Event};
use super::select::Selected;
use super::{Answer, Call};
use crate::encryption::is_encrypted;
use crate::http::Body;
use crate::http::body::Piece;
use crate::status::of_watch;

/// How often a watch that takes bookmarks gets one.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// A watch without a timeout ends after this and up to as much again, so that watches don't all end at once.
const DEFAULT_TIMEOUT: u64 = 1800;
/// So many initial objects are converted by one call.
const PREPARED: usize = 100;
/// Events are put together up to this size when several are there at once.
const CHUNK: usize = 32 * 1024;

/// Answers a watch.
pub(crate) async fn watch(call: &Call) -> Result<Answer, Status> {
    let selected = Selected::parse(call)?;
    let start = start(call)?;
    let cache = call.kind.cache()?.clone();
    let mut selection = Selection::new(selected.scope(call));
    if let Some(filter) = selected.filter(&call.kind) {
        selection = selection.with_filter(filter);
    }
    let (initial, watcher) = match start {
        Start::After(revision) => (None, cache.watch(revision, selection)),
        Start::Now => {
            let revision = cache.fresh().await.map_err(of_watch)?;
            (None, cache.watch(revision, selection))
        }
        Start::State(at_least) => {
            match at_least {
                None => {
                    cache.fresh().await.map_err(of_watch)?;
                }
                Some(Revision(0)) => {}
                Some(revision) => not_older(call, revision).await?,
            }
            let (snapshot, watcher) = cache.list_and_watch(selection).map_err(of_watch)?;
            (Some(snapshot), Ok(watcher))
        }
    };
    let watcher = match watcher {
        Ok(watcher) => watcher,
        // Kubernetes answers an old revision by an event inside of a stream that was accepted.
        Err(error @ watch::Error::Expired { .. }) => return Ok(one_error(call, &of_watch(error))),
        Err(error) => return Err(of_watch(error)),
    };
    Ok(Answer::Raw(respond(
        call,
        Stream::new(call, selected, initial, watcher)?,
    )))
}

/// Where a watch begins.
enum Start {
    /// With everything there is, at this revision or later.
    State(Option<Revision>),
    /// With what happens after a revision.
    After(Revision),
    /// With what happens from now on.
    Now,
}

fn start(call: &Call) -> Result<Start, Status> {
    let query = &call.query;
    let given = query.get("resourceVersion").map(parse_revision).transpose()?;
    let initial = query.optional_flag("sendInitialEvents");
    let how = query.get("resourceVersionMatch").unwrap_or_default();
    let mut errors = Vec::new();
    if initial.is_some() && how != "NotOlderThan" {
        let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
        errors.push(FieldError::forbidden("resourceVersionMatch", why));
    }
    if initial.is_none() && !how.is_empty() {
        let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
        errors.push(FieldError::forbidden("resourceVersionMatch", why));
    }
    if !errors.is_empty() {
        return Err(Status::invalid(
            &GroupKind::new("meta.k8s.io", "ListOptions"),
            "",
            &errors,
        ));
    }
    Ok(match (initial, given) {
        (Some(true), revision) => Start::State(revision),
        (Some(false), None | Some(Revision(0))) => Start::Now,
        (None, None) => Start::State(None),
        (None, Some(Revision(0))) => Start::State(Some(Revision(0))),
        (_, Some(revision)) => Start::After(revision),
    })
}

/// A watch under way.
struct Stream {
    encoder: render::Encoder,
    selected: Selected,
    initial: Option<Snapshot>,
    watcher: Watcher,
    /// Send the bookmark that ends the initial events.
    mark_end: bool,
    bookmarks: bool,
    next_bookmark: Instant,
    ends: Instant,
    stopping: tokio_util::sync::CancellationToken,
    over: bool,
    kind: std::sync::Arc<crate::kinds::Kind>,
    core: std::sync::Arc<crate::core::Core>,
}

impl Stream {
    fn new(call: &Call, selected: Selected, initial: Option<Snapshot>, watcher: Watcher) -> Result<Stream, Status> {
        let seconds = match call.query.integer("timeoutSeconds")? {
            Some(seconds) if seconds > 0 => seconds.unsigned_abs(),
            _ => DEFAULT_TIMEOUT + rand::random::<u64>() % DEFAULT_TIMEOUT,
        };
        let now = Instant::now();
        Ok(Stream {
            encoder: render::Encoder::new(call)?,
            selected,
            initial,
            watcher,
            mark_end: call.query.flag("sendInitialEvents") && call.query.flag("allowWatchBookmarks"),
            bookmarks: call.query.flag("allowWatchBookmarks"),
            next_bookmark: now + BOOKMARK_EVERY,
            ends: now + Duration::from_secs(seconds),
            stopping: call.core.stopping.clone(),
            over: false,
            kind: std::sync::Arc::clone(&call.kind),
            core: std::sync::Arc::clone(&call.core),
        })
    }

    /// The next bytes for the client; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.over {
            return None;
        }
        while self.initial.is_some() {
            if let Err(status) = self.prepare_initial().await {
                self.over = true;
                return Some(self.encoder.error(&status));
            }
            if let Some(bytes) = self.initial() {
                return Some(bytes);
            }
        }
        if std::mem::take(&mut self.mark_end) {
            let revision = self.watcher.progress();
            return Some(self.encoder.bookmark(revision, true));
        }
        loop {
            let wake = if self.bookmarks {
                self.next_bookmark.min(self.ends)
            } else {
                self.ends
            };
            let stopping = self.stopping.clone();
            let delivery = tokio::select! {
                biased;
                delivery = self.watcher.next() => delivery,
                () = stopping.cancelled() => { self.over = true; return self.last_bookmark(); }
                () = tokio::time::sleep_until(wake) => {
                    self.over = Instant::now() >= self.ends;
                    self.next_bookmark = Instant::now() + BOOKMARK_EVERY;
                    return self.last_bookmark();
                }
            };
            let shown = match delivery {
                Ok(delivery) => self.shown(delivery).await,
                Err(error) => Err(of_watch(error)),
            };
            match shown {
                Ok(Some(delivery)) => return Some(self.burst(&delivery)),
                Ok(None) => {}
                Err(status) => {
                    self.over = true;
                    return Some(self.encoder.error(&status));
                }
            }
        }
    }

    /// An event whose objects are ready to be shown; none when it isn't for this watch after all.
    async fn shown(&self, delivery: Delivery) -> Result<Option<Delivery>, Status> {
        if is_encrypted(delivery.object().bytes()) {
            return Err(render::unreadable());
        }
        if !self.selected.wants_converted(&self.kind) {
            self.prepare(std::slice::from_ref(delivery.object().bytes())).await?;
            return Ok(Some(delivery));
        }
        let versions: Vec<Bytes> = delivery.versions().map(|version| version.bytes().clone()).collect();
        self.prepare(&versions).await?;
        Ok(delivery.narrowed(|version| self.selected.fits(&self.kind, version.bytes())))
    }

    /// Has objects converted that are stored in another version than the one that is watched.
    async fn prepare(&self, stored: &[Bytes]) -> Result<(), Status> {
        self.kind.present(&self.core, stored).await.map(drop)
    }

    async fn prepare_initial(&self) -> Result<(), Status> {
        let Some(snapshot) = self.initial.as_ref().filter(|_| self.kind.converts()) else {
            return Ok(());
        };
        let selective = self.selected.wants_converted(&self.kind);
        let next = snapshot
            .iter()
            .filter(|version| selective || self.selected.matches(version));
        let next: Vec<Bytes> = next.take(PREPARED).map(|version| version.bytes().clone()).collect();
        self.prepare(&next).await
    }

    fn last_bookmark(&mut self) -> Option<Bytes> {
        if !self.bookmarks {
            return None;
        }
        let revision = self.watcher.progress();
        Some(self.encoder.bookmark(revision, false))
    }

    /// The next of the initial objects, several at once; none when none of them is selected.
    fn initial(&mut self) -> Option<Bytes> {
        let snapshot = self.initial.take()?;
        let selective = self.selected.wants_converted(&self.kind);
        let (mut out, mut size, mut prepared, mut rest) = (Vec::new(), 0, 0, None);
        for version in snapshot.iter() {
            // What can't be decrypted may be among what is selected.
            let lost = is_encrypted(version.bytes());
            let selected = self.selected.matches(version) || selective;
            prepared += usize::from(selected);
            if lost || (selected && (!selective || self.selected.fits(&self.kind, version.bytes()))) {
                let bytes = self.encoder.initial(version);
                size += bytes.len();
                out.push(bytes);
            }
            if size >= CHUNK || (self.kind.converts() && prepared == PREPARED) {
                rest = Some(version.key().clone());
                break;
            }
        }
        self.initial = rest.map(|key| snapshot.after(&key));
        (!out.is_empty()).then(|| join(out))
    }

    /// An event with those that are there already behind it.
    fn burst(&mut self, first: &Delivery) -> Bytes {
        let mut out = vec![self.encoder.event(Event::of(first))];
        let mut size = out.iter().map(Bytes::len).sum::<usize>();
        // What comes next may have to be converted first.
        while size < CHUNK
            && !self.kind.converts()
            && let Ok(Some(delivery)) = self.watcher.try_next()
        {
            let bytes = self.encoder.event(Event::of(&delivery));
            size += bytes.len();
            out.push(bytes);
        }
        join(out)
    }
}

fn join(mut parts: Vec<Bytes>) -> Bytes {
    if parts.len() == 1 {
        return parts.swap_remove(0);
    }
    parts.concat().into()
}

fn respond(call: &Call, stream: Stream) -> Response<Body> {
    let pieces = futures::stream::unfold((stream, None), |(mut stream, guard)| async move {
        // Counted for as long as the client stays.
        let guard = guard.or_else(|| Some(crate::metrics::Watching::new(&stream.core)));
        let bytes = stream.next().await?;
        Some((Piece::Ok(bytes), (stream, guard)))
    });
    response(call, Body::stream(pieces))
}

fn response(call: &Call, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    let content_type = render::stream_type(call.wanted);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
        .headers_mut()
        .insert("cache-control", HeaderValue::from_static("no-cache, private"));
    response
}

fn one_error(call: &Call, status: &Status) -> Answer {
    match render::Encoder::new(call) {
        Ok(encoder) => Answer::Raw(response(call, Body::full(encoder.error(status)))),
        Err(_) => Answer::Status(status.clone()),
    }
}
