//! Housekeeping in the background: history that is old enough is forgotten, checkpoints are written, files that nobody
//! needs are removed. Nothing in here is ever in the way of a write, and nothing that fails here loses anything.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use meta::Revision;

use super::checkpoint::{Checkpoint, Writing};
use super::files::Files;
use super::state::Found;
use super::writer::Request;
use super::{Options, Shared, io_error, now};
use crate::{Error, Key};

/// Records that are collected under one hold of the lock.
const PAGE: usize = 512;

/// What the housekeeper knows.
pub(crate) struct Chores {
    /// Which revision was the newest when, coarsely.
    marks: VecDeque<(u64, Revision)>,
    /// When the newest revision was written.
    last: (u64, Revision),
    pub(crate) look: bool,
    pub(crate) closed: bool,
}

impl Chores {
    pub(crate) fn new(marks: VecDeque<(u64, Revision)>, last: (u64, Revision)) -> Self {
        Self {
            marks,
            last,
            look: true,
            closed: false,
        }
    }

    /// Remembers when a revision was written.
    pub(crate) fn mark(&mut self, time: u64, revision: Revision, options: &Options) {
        push_mark(&mut self.marks, time, revision, options);
        self.last = (time, revision);
    }

    /// The newest revision that is old enough to be the oldest one.
    fn aged(&mut self, now: u64, options: &Options) -> Option<Revision> {
        let keep = u64::try_from(options.keep_for.as_millis()).unwrap_or(u64::MAX);
        let limit = now.checked_sub(keep)?;
        let mut aged = None;
        while let Some((_, revision)) = self.marks.pop_front_if(|(time, _)| *time <= limit) {
            aged = Some(revision);
        }
        // Nothing was written for so long: nothing of the past is left to be kept.
        if self.last.0 <= limit { Some(self.last.1) } else { aged }
    }
}

/// Adds a mark when the last one is old enough; a few dozen cover the whole time that history is kept.
pub(crate) fn push_mark(marks: &mut VecDeque<(u64, Revision)>, time: u64, revision: Revision, options: &Options) {
    let step = u64::try_from(options.keep_for.as_millis()).unwrap_or(u64::MAX) / 32;
    match marks.back_mut() {
        Some((last, _)) if time < last.saturating_add(step) => {}
        _ => marks.push_back((time, revision)),
    }
}

/// Works until the store is closed.
pub(crate) fn run(shared: &Shared) {
    loop {
        {
            let mut chores = shared.chores.lock();
            if !chores.look && !chores.closed {
                shared.chore.wait_for(&mut chores, shared.options.tick);
            }
            if chores.closed {
                return;
            }
            chores.look = false;
        }
        compact(shared);
        if let Err(error) = checkpoint(shared) {
            tracing::warn!(%error, "no checkpoint of the store can be written; trying again later");
        }
        remove_old(shared);
    }
}

/// Asks the writer to forget history that is over the limits.
fn compact(shared: &Shared) {
    let aged = shared.chores.lock().aged(now(), &shared.options);
    let (revision, compacted, files) = {
        let state = shared.state.read();
        (state.revision, state.compacted, Arc::clone(&state.files))
    };
    let many = Revision(revision.0.saturating_sub(shared.options.keep_revisions));
    let target = aged
        .unwrap_or_default()
        .max(many)
        .max(too_large(&files, &shared.options));
    if target > compacted {
        let mut inbox = shared.inbox.lock();
        if !inbox.closed {
            inbox.requests.push(Request::Compact {
                to: target,
                answer: None,
            });
            shared.work.notify_one();
        }
    }
}

/// The revision that history must begin with, so that the log is not too large.
fn too_large(files: &Files, options: &Options) -> Revision {
    let mut size = files.log_bytes();
    let mut target = Revision(0);
    for segment in &files.segments {
        if size <= options.keep_bytes {
            break;
        }
        size -= segment.len();
        target = segment.last();
    }
    target
}

/// Writes a checkpoint when the log has grown enough and none is waiting to become the base.
fn checkpoint(shared: &Shared) -> Result<(), Error> {
    let (revision, compacted, files) = {
        let state = shared.state.read();
        (state.revision, state.compacted, Arc::clone(&state.files))
    };
    let enough = files
        .base
        .as_ref()
        .map_or(0, |base| base.len)
        .max(shared.options.checkpoint_bytes);
    let base = files.base.as_ref().map_or(Revision(0), |base| base.revision);
    if files.next.is_some() || revision <= base || files.bytes_since_checkpoint() < enough {
        return Ok(());
    }
    let Some(checkpoint) = write(shared, revision, compacted)? else {
        return Ok(());
    };
    let mut state = shared.state.write();
    let mut files = (*state.files).clone();
    files.next = Some(Arc::new(checkpoint));
    state.files = Arc::new(files);
    Ok(())
}

/// Writes the state as of a revision, page by page, while new transactions come in. `None` when the store was closed
/// or history was compacted past that revision meanwhile.
fn write(shared: &Shared, revision: Revision, compacted: Revision) -> Result<Option<Checkpoint>, Error> {
    let failed = |error| io_error("writing a checkpoint", error);
    let mut writing = Writing::begin(&*shared.media, revision, compacted).map_err(failed)?;
    let mut after: Option<Key> = None;
    loop {
        let (page, files) = {
            let state = shared.state.read();
            if state.check(revision).is_err() {
                return Ok(None);
            }
            let found: Vec<Found> = state.found_at("", after.as_deref(), revision).take(PAGE).collect();
            (found, Arc::clone(&state.files))
        };
        let last = page.len() < PAGE;
        for found in page {
            let kept = found.fetch(&files)?;
            writing.push(&kept).map_err(failed)?;
            after = Some(kept.key);
        }
        if last {
            meta::failpoint::hit("store.checkpoint.finish");
            return Ok(Some(writing.finish().map_err(failed)?));
        }
        if shared.chores.lock().closed {
            return Ok(None);
        }
    }
}

/// Makes the waiting checkpoint the base when history has been compacted past it, and removes what came before.
fn remove_old(shared: &Shared) {
    let (old, gone) = {
        let mut state = shared.state.write();
        let compacted = state.compacted;
        let mut files = (*state.files).clone();
        let Some(next) = files.next.take_if(|next| next.revision <= compacted) else {
            return;
        };
        let revision = next.revision;
        let old = files.base.replace(next);
        let active = files.segments.len().saturating_sub(1);
        let needless = files.segments[..active]
            .iter()
            .take_while(|segment| segment.last() <= revision)
            .count();
        let gone: Vec<_> = files.segments.drain(..needless).collect();
        state.files = Arc::new(files);
        (old, gone)
    };
    // The old base goes first, and durably: should it be found again, so are the segments that follow it.
    let old = old.iter().map(|old| old.name.as_str());
    let segments = gone.iter().map(|segment| segment.name.as_str());
    let removed = remove(shared, old).and_then(|()| remove(shared, segments));
    if let Err(error) = removed {
        tracing::warn!(%error, "old files of the store cannot be removed; the next start removes them");
    }
}

fn remove<'a>(shared: &Shared, mut names: impl Iterator<Item = &'a str>) -> std::io::Result<()> {
    meta::failpoint::hit("store.remove");
    let removed = names.try_for_each(|name| match shared.media.remove(name) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => ControlFlow::Break(error),
        _ => ControlFlow::Continue(()),
    });
    match removed {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => shared.media.sync_names(),
    }
}
