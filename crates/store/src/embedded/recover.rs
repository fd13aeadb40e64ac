//! Opening: which files count, what they say, and where the log really ends.

use std::collections::VecDeque;
use std::sync::Arc;

use meta::Revision;

use super::checkpoint::{Checkpoint, read_header};
use super::files::Files;
use super::format::{Entry, FileKind, Frame, HEADER_LEN, Header};
use super::frames::{Frames, Next};
use super::keeper::push_mark;
use super::media::{File, Media};
use super::segment::Segment;
use super::state::State;
use super::{Options, damaged, io_error};
use crate::Error;

/// An empty store is at this revision.
const FIRST: Revision = Revision(1);

/// What was found.
pub(crate) struct Recovered {
    pub(crate) state: State,
    pub(crate) active: Arc<Segment>,
    pub(crate) marks: VecDeque<(u64, Revision)>,
    /// When the newest revision was written, as far as the log says.
    pub(crate) last: (u64, Revision),
}

/// A file that is there, with its header.
struct Found {
    name: String,
    file: Arc<dyn File>,
    header: Header,
}

/// Reads everything back and cleans up what an earlier end left behind.
pub(crate) fn recover(media: &Arc<dyn Media>, options: &Options) -> Result<Recovered, Error> {
    let media = &**media;
    let names = list(media)?;
    let states = open_states(media, &names)?;
    let logs = open_logs(media, &names)?;
    let headers = states.iter().chain(&logs);
    let compacted = headers
        .map(|found| found.header.compacted)
        .max()
        .unwrap_or(FIRST)
        .max(FIRST);
    let Some(base) = choose_base(&states, &logs, compacted)? else {
        return begin(media);
    };
    let (state, mut files) = restore(base)?;
    let start = state.revision;
    let (marks, time) = (VecDeque::new(), 0);
    let mut replay = Replay {
        state,
        start,
        compacted,
        expected: start,
        marks,
        time,
        options,
    };
    let mut needless: Vec<&str> = Vec::new();
    for (index, found) in logs.iter().enumerate() {
        let next = logs.get(index + 1);
        if next.is_some_and(|next| next.header.revision <= start) {
            needless.push(&found.name);
        } else {
            files.segments.push(Arc::new(replay.segment(found, next.is_none())?));
        }
    }
    let newest_state = states.last().map_or(FIRST, |found| found.header.revision);
    if replay.state.revision < newest_state {
        let name = logs.last().map_or("the log", |found| found.name.as_str());
        return Err(damaged(
            name,
            0,
            &format!("the log ends before the checkpoint of revision {newest_state}"),
        ));
    }
    // A checkpoint that was not yet the base is written again when it is needed.
    needless.extend(
        states
            .iter()
            .map(|found| &*found.name)
            .filter(|name| Some(*name) != base.map(|base| &*base.name)),
    );
    let temporary = names
        .iter()
        .filter(|name| name.starts_with("state-") && name.ends_with(".tmp"));
    remove(media, needless.into_iter().chain(temporary.map(String::as_str)))?;
    replay.finish(files)
}

/// The state and the files to begin with.
fn restore(base: Option<&Found>) -> Result<(State, Files), Error> {
    let mut files = Files {
        segments: Vec::new(),
        base: None,
        next: None,
    };
    let mut state = State::new(FIRST, FIRST, Arc::new(files.clone()));
    if let Some(found) = base {
        let (name, file) = (&found.name, Arc::clone(&found.file));
        files.base = Some(Arc::new(Checkpoint::load(name, &found.header, file, |kept| {
            state.restore(kept)
        })?));
        state.revision = found.header.revision;
        state.compacted = found.header.revision;
    }
    Ok((state, files))
}

/// A new store.
fn begin(media: &dyn Media) -> Result<Recovered, Error> {
    let segment = Segment::create(media, 0, FIRST, FIRST).map_err(|error| io_error("beginning the log", error))?;
    let active = Arc::new(segment);
    let files = Files {
        segments: vec![Arc::clone(&active)],
        base: None,
        next: None,
    };
    Ok(Recovered {
        state: State::new(FIRST, FIRST, Arc::new(files)),
        active,
        marks: VecDeque::new(),
        last: (0, FIRST),
    })
}

/// What to begin with: `None`, there is nothing at all; `Some(None)`, the log from its beginning.
///
/// The newest checkpoint that history has been compacted to: so all of the history after it is known again.
fn choose_base<'a>(
    states: &'a [Found],
    logs: &[Found],
    compacted: Revision,
) -> Result<Option<Option<&'a Found>>, Error> {
    let Some(first) = logs.first() else {
        return match states.last() {
            None => Ok(None),
            Some(state) => Err(damaged(&state.name, 0, "there is a checkpoint but no log")),
        };
    };
    let reaches = |revision: Revision| first.header.revision <= revision;
    // One that the log does not follow was given up, and its removal is not durable; a later one took its place.
    let mut usable = states.iter().filter(|state| reaches(state.header.revision));
    let known = usable.clone().rev().find(|state| state.header.revision <= compacted);
    match known.or_else(|| if reaches(FIRST) { None } else { usable.next() }) {
        None if !reaches(FIRST) => {
            let begin = first.header.revision;
            let detail =
                format!("the log begins after revision {begin} and there is no checkpoint of it: a file is missing");
            Err(damaged(&first.name, 0, &detail))
        }
        base => Ok(Some(base)),
    }
}

/// Takes the segments in, one after the other.
struct Replay<'a> {
    state: State,
    /// The checkpoint's revision.
    start: Revision,
    compacted: Revision,
    /// The revision that the log must go on after.
    expected: Revision,
    marks: VecDeque<(u64, Revision)>,
    time: u64,
    options: &'a Options,
}

impl Replay<'_> {
    fn finish(self, files: Files) -> Result<Recovered, Error> {
        let Self {
            mut state,
            compacted,
            marks,
            time,
            ..
        } = self;
        let last = (time, state.revision);
        state.compact(compacted);
        let active = files
            .segments
            .last()
            .cloned()
            .ok_or_else(|| damaged("the log", 0, "it has no file"))?;
        state.files = Arc::new(files);
        Ok(Recovered {
            state,
            active,
            marks,
            last,
        })
    }

    fn segment(&mut self, found: &Found, last: bool) -> Result<Segment, Error> {
        let Found { name, file, header } = found;
        if self.expected == self.start && header.revision <= self.start {
            self.expected = header.revision;
        } else if header.revision != self.expected {
            let detail = format!(
                "it begins after revision {} instead of {}",
                header.revision, self.expected
            );
            return Err(damaged(name, 0, &detail));
        }
        let mut frames = Frames::new(name, Arc::clone(file), header.salt, HEADER_LEN as u64);
        let mut offsets = Vec::new();
        let end = loop {
            match frames.next()? {
                Next::Frame { offset, body } => {
                    let frame = Frame::decode(frames.body(body));
                    let frame = frame.ok_or_else(|| frames.damaged(offset, "a frame cannot be read"))?;
                    if matches!(frame.entry, Entry::Txn(_)) {
                        offsets.push(u32::try_from(offset).unwrap_or(u32::MAX));
                    }
                    self.frame(frame).map_err(|detail| frames.damaged(offset, &detail))?;
                }
                Next::End => break frames.offset(),
                Next::Bad { offset } => {
                    if !last || is_inside(&mut frames, offset)? {
                        return Err(frames.damaged(offset, "a frame's checksum is wrong, and it is not the log's end"));
                    }
                    tracing::warn!(file = %name, offset, "cutting the torn end off the store's log");
                    break offset;
                }
            }
        };
        if last {
            // What was read may so far only be in the page cache, when the last process was killed before its sync.
            let settle = file.truncate(end).and_then(|()| file.sync());
            settle.map_err(|error| io_error(&format!("settling {name}"), error))?;
        }
        Ok(Segment::new(name.clone(), header, Arc::clone(file), end, offsets))
    }

    fn frame(&mut self, frame: Frame) -> Result<(), String> {
        let next = Revision(self.expected.0 + u64::from(matches!(frame.entry, Entry::Txn(_))));
        if frame.revision != next {
            return Err(format!("revision {} where {next} must be", frame.revision));
        }
        self.expected = next;
        self.time = frame.time;
        match frame.entry {
            Entry::Txn(writes) if next > self.start => {
                self.state.apply(next, writes);
                push_mark(&mut self.marks, frame.time, next, self.options);
            }
            Entry::Compact(to) => {
                self.compacted = self.compacted.max(to);
                self.state.compact(to.min(self.state.revision));
            }
            Entry::Txn(_) | Entry::Closed => {}
        }
        Ok(())
    }
}

/// Whether a bad place was once whole: some frame behind it says that everything up to further on was durable.
fn is_inside(frames: &mut Frames, bad: u64) -> Result<bool, Error> {
    loop {
        match frames.next()? {
            Next::Frame { body, .. } => {
                if Frame::decode(frames.body(body)).is_some_and(|frame| frame.durable > bad) {
                    return Ok(true);
                }
            }
            Next::Bad { .. } => {
                if !frames.skip()? {
                    return Ok(false);
                }
            }
            Next::End => return Ok(false),
        }
    }
}

fn list(media: &dyn Media) -> Result<Vec<String>, Error> {
    let mut names = media
        .list()
        .map_err(|error| io_error("listing the store's directory", error))?;
    names.sort_unstable();
    Ok(names)
}

fn open(media: &dyn Media, name: &str) -> Result<Arc<dyn File>, Error> {
    media
        .open(name)
        .map_err(|error| io_error(&format!("opening {name}"), error))
}

/// The checkpoints, oldest first.
fn open_states(media: &dyn Media, names: &[String]) -> Result<Vec<Found>, Error> {
    let mut states = Vec::new();
    for name in names
        .iter()
        .filter(|name| name.starts_with("state-") && !name.ends_with(".tmp"))
    {
        let file = open(media, name)?;
        match read_header(name, &*file, FileKind::State)? {
            Some(header) if *name == Checkpoint::name_of(header.revision) => {
                states.push(Found {
                    name: name.clone(),
                    file,
                    header,
                });
            }
            _ => return Err(damaged(name, 0, "the header is wrong")),
        }
    }
    Ok(states)
}

/// The segments, oldest first: those after the last gap, for a removal that was under way leaves gaps.
fn open_logs(media: &dyn Media, names: &[String]) -> Result<Vec<Found>, Error> {
    let names: Vec<&String> = names.iter().filter(|name| name.starts_with("log-")).collect();
    let mut logs: Vec<Found> = Vec::new();
    let mut needless = Vec::new();
    for name in &names {
        let file = open(media, name)?;
        let header = read_header(name, &*file, FileKind::Log)?;
        let Some(header) = header.filter(|header| **name == Segment::name_of(header.number)) else {
            let len = file
                .size()
                .map_err(|error| io_error(&format!("reading {name}"), error))?;
            // Nothing is written into a segment before its header is durable.
            if Some(name) == names.last() && len <= HEADER_LEN as u64 {
                needless.push(name.as_str());
                continue;
            }
            return Err(damaged(name, 0, "the header is wrong"));
        };
        if logs.last().is_some_and(|last| last.header.number + 1 != header.number) {
            needless.extend(
                names
                    .iter()
                    .filter(|name| logs.iter().any(|log| log.name == ***name))
                    .map(|n| n.as_str()),
            );
            logs.clear();
        }
        logs.push(Found {
            name: (*name).clone(),
            file,
            header,
        });
    }
    remove(media, needless.into_iter())?;
    Ok(logs)
}

fn remove<'a>(media: &dyn Media, names: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    let mut any = false;
    for name in names {
        any = true;
        media
            .remove(name)
            .map_err(|error| io_error(&format!("removing {name}"), error))?;
    }
    if any {
        media
            .sync_names()
            .map_err(|error| io_error("syncing the store's directory", error))
    } else {
        Ok(())
    }
}
