//! Container logs: reading the CRI format that shims write, with the options of the API's `PodLogOptions`.
//!
//! Each line of a file is `TIME STREAM TAG text`; the tag `P` says that the line goes on in the next one.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use engine::{ContainerId, Engine, State};
use futures::StreamExt as _;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use jiff::{SignedDuration, Timestamp};
use rustix::fs::inotify;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tunnel::Body;

use super::{query_flag, query_value, text};
use crate::pods::start::{containers_of, label, log_path};
use crate::pods::{Context, find};

/// How much is handed on at a time.
const CHUNK: usize = 32 << 10;

/// What is asked for.
#[derive(Clone, Debug, Default)]
struct Options {
    follow: bool,
    previous: bool,
    timestamps: bool,
    since: Option<Timestamp>,
    tail: Option<usize>,
    limit: Option<usize>,
    stream: Option<&'static str>,
}

struct Entry<'a> {
    time: &'a str,
    stream: &'a str,
    partial: bool,
    text: &'a [u8],
}

/// Answers a request for a container's log.
pub(super) fn answer(
    ctx: &Arc<Context>,
    request: &Request<Incoming>,
    namespace: &str,
    pod: &str,
    container: &str,
) -> Response<Body> {
    let options = match Options::from(request) {
        Ok(options) => options,
        Err(problem) => return text(StatusCode::BAD_REQUEST, problem),
    };
    let Some(found) = ctx.pods.find(namespace, pod) else {
        return text(
            StatusCode::NOT_FOUND,
            format!("pod {namespace}/{pod} is not on this node"),
        );
    };
    if find(&found, container).is_none() {
        return text(
            StatusCode::BAD_REQUEST,
            format!("container {container} is not valid for pod {pod}"),
        );
    }
    let uid = found.metadata.uid.clone().unwrap_or_default();
    let mut runs = runs_of(&ctx.engine, &uid, container);
    let newest = runs.pop();
    let wanted = if options.previous { runs.pop() } else { newest };
    let Some((attempt, id)) = wanted else {
        let what = if options.previous {
            "previous terminated container"
        } else {
            "container"
        };
        let why = if options.previous {
            "not found"
        } else {
            "is waiting to start: ContainerCreating"
        };
        return text(
            StatusCode::BAD_REQUEST,
            format!("{what} \"{container}\" in pod \"{pod}\" {why}"),
        );
    };
    let path = log_path(&ctx.paths.pod(&uid), container, attempt);
    let (sender, receiver) = mpsc::channel(4);
    let engine = ctx.engine.clone();
    tokio::spawn(async move {
        if let Err(error) = send(&engine, &id, path, options, &sender).await {
            let _ = sender.send(Err(error)).await;
        }
    });
    let stream = futures::stream::unfold(receiver, |mut receiver| async move {
        Some((receiver.recv().await?, receiver))
    });
    Response::new(StreamBody::new(stream.map(|bytes| bytes.map(Frame::data))).boxed_unsync())
}

/// The runs of a container, oldest first.
fn runs_of(engine: &Engine, uid: &str, container: &str) -> Vec<(u32, ContainerId)> {
    let ids = containers_of(engine, uid);
    let mut runs: Vec<(u32, ContainerId)> = engine
        .containers()
        .into_iter()
        .filter(|found| ids.contains(&found.id) && found.state != State::Created)
        .filter(|found| {
            found
                .labels
                .iter()
                .any(|(key, value)| key == label::CONTAINER && value == container)
        })
        .filter_map(|found| {
            let attempt = found
                .labels
                .iter()
                .find(|(key, _)| key == label::ATTEMPT)?
                .1
                .parse()
                .ok()?;
            Some((attempt, found.id))
        })
        .collect();
    runs.sort();
    runs
}

impl Options {
    fn from(request: &Request<Incoming>) -> Result<Self, String> {
        let number = |name: &str| -> Result<Option<i64>, String> {
            let Some(value) = query_value(request, name) else {
                return Ok(None);
            };
            value
                .parse()
                .map(Some)
                .map_err(|_| format!("invalid {name}: {value:?}"))
        };
        let ago = number("sinceSeconds")?.map(|seconds| Timestamp::now() - SignedDuration::from_secs(seconds));
        let at = query_value(request, "sinceTime").and_then(|time| time.parse().ok());
        let size = |value: Option<i64>| value.and_then(|value| usize::try_from(value).ok());
        Ok(Self {
            follow: query_flag(request, "follow"),
            previous: query_flag(request, "previous"),
            timestamps: query_flag(request, "timestamps"),
            since: ago.or(at),
            tail: size(number("tailLines")?),
            limit: size(number("limitBytes")?),
            stream: match query_value(request, "stream").as_deref() {
                Some("Stdout") => Some("stdout"),
                Some("Stderr") => Some("stderr"),
                _ => None,
            },
        })
    }
}

type Sender = mpsc::Sender<io::Result<Bytes>>;

/// Sends what is there, then what comes, until the container has ended and all of it is sent.
async fn send(engine: &Engine, id: &ContainerId, path: PathBuf, options: Options, sender: &Sender) -> io::Result<()> {
    let follow = options.follow;
    // Watched before the first read, so that nothing falls between the two.
    let watch = if follow { Some(Watch::new(&path)?) } else { None };
    let mut left = options.limit.unwrap_or(usize::MAX);
    let (mut printer, backlog) = tokio::task::spawn_blocking(move || backlog(&path, options))
        .await
        .map_err(io::Error::other)??;
    for chunk in backlog {
        if !hand_over(sender, chunk, &mut left).await {
            return Ok(());
        }
    }
    let Some(watch) = watch else { return Ok(()) };
    let mut ended = matches!(engine.state(id), Ok(State::Exited(_)) | Err(_));
    loop {
        loop {
            let chunk = printer.more()?;
            if chunk.is_empty() {
                break;
            }
            if !hand_over(sender, chunk, &mut left).await {
                return Ok(());
            }
        }
        if ended {
            return Ok(());
        }
        tokio::select! {
            changed = watch.changed() => changed?,
            // The shim writes everything before it reports the end.
            _ = engine.wait(id) => ended = true,
            () = sender.closed() => return Ok(()),
        }
    }
}

async fn hand_over(sender: &Sender, mut chunk: Bytes, left: &mut usize) -> bool {
    chunk.truncate(*left);
    *left -= chunk.len();
    sender.send(Ok(chunk)).await.is_ok() && *left > 0
}

/// Reads the file on from where it stands, through rotation, and prints what is asked for.
struct Printer {
    path: PathBuf,
    reader: BufReader<File>,
    inode: u64,
    options: Options,
    /// A line that is not whole yet.
    pending: Vec<u8>,
    /// The last line printed goes on.
    inside: bool,
}

impl Printer {
    fn open(path: &Path, options: Options) -> io::Result<Self> {
        let file = File::open(path)?;
        let inode = file.metadata()?.ino();
        Ok(Self {
            path: path.to_path_buf(),
            reader: BufReader::new(file),
            inode,
            options,
            pending: Vec::new(),
            inside: false,
        })
    }

    /// The next part of the text; empty when there is no more for now.
    fn more(&mut self) -> io::Result<Bytes> {
        let mut out = BytesMut::new();
        while out.len() < CHUNK {
            self.reader.read_until(b'\n', &mut self.pending)?;
            if self.pending.last() != Some(&b'\n') {
                if !self.rotated()? {
                    break;
                }
                continue;
            }
            let line = std::mem::take(&mut self.pending);
            if let Some(entry) = parse(&line) {
                self.print(&entry, &mut out);
            }
        }
        Ok(out.freeze())
    }

    fn print(&mut self, entry: &Entry<'_>, out: &mut BytesMut) {
        let other_stream = self.options.stream.is_some_and(|stream| stream != entry.stream);
        let too_old = || {
            self.options
                .since
                .is_some_and(|since| entry.time.parse::<Timestamp>().is_ok_and(|t| t < since))
        };
        if other_stream || too_old() {
            return;
        }
        if self.options.timestamps && !self.inside {
            out.extend_from_slice(entry.time.as_bytes());
            out.extend_from_slice(b" ");
        }
        out.extend_from_slice(entry.text);
        if !entry.partial {
            out.extend_from_slice(b"\n");
        }
        self.inside = entry.partial;
    }

    /// When the name leads to another file by now, goes on with that.
    fn rotated(&mut self) -> io::Result<bool> {
        let Ok(file) = File::open(&self.path) else {
            return Ok(false);
        };
        let inode = file.metadata()?.ino();
        if inode == self.inode {
            return Ok(false);
        }
        // Nothing is written to the old file any more; its rest is read first.
        let before = self.pending.len();
        self.reader.read_until(b'\n', &mut self.pending)?;
        if self.pending.len() > before {
            return Ok(true);
        }
        self.inode = inode;
        self.reader = BufReader::new(file);
        Ok(true)
    }
}

/// What is there already: from the rotated files too, and only the last lines where that is asked for.
fn backlog(path: &Path, options: Options) -> io::Result<(Printer, Vec<Bytes>)> {
    let mut printer = Printer::open(path, options)?;
    if let Some(tail) = printer.options.tail {
        seek_to_tail(printer.reader.get_mut(), tail)?;
    }
    let mut chunks = Vec::new();
    if printer.options.tail.is_none() {
        for file in rotated_files(path) {
            let mut old = Printer::open(&file, printer.options.clone())?;
            loop {
                let chunk = old.more()?;
                if chunk.is_empty() {
                    break;
                }
                chunks.push(chunk);
            }
        }
    }
    loop {
        let chunk = printer.more()?;
        if chunk.is_empty() {
            return Ok((printer, chunks));
        }
        chunks.push(chunk);
    }
}

/// Rotated files, oldest first.
fn rotated_files(path: &Path) -> Vec<PathBuf> {
    let numbered = |n: u32| {
        let mut name = path.as_os_str().to_os_string();
        name.push(format!(".{n}"));
        PathBuf::from(name)
    };
    let mut files: Vec<PathBuf> = (1..).map(numbered).take_while(|path| path.exists()).collect();
    files.reverse();
    files
}

/// Puts the file where its last `lines` lines begin, reading backwards. Parts of a line count as one.
fn seek_to_tail(file: &mut File, lines: usize) -> io::Result<()> {
    let end = file.seek(SeekFrom::End(0))?;
    if lines == 0 {
        return Ok(());
    }
    let mut starts: VecDeque<u64> = VecDeque::new();
    let mut position = end;
    let mut block = vec![0; CHUNK];
    let mut whole = 0;
    'blocks: while position > 0 {
        let length = position.min(CHUNK as u64);
        position -= length;
        file.seek(SeekFrom::Start(position))?;
        let block = &mut block[..usize::try_from(length).unwrap_or(CHUNK)];
        file.read_exact(block)?;
        for (i, _) in block.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let start = position + i as u64 + 1;
            if start == end {
                continue;
            }
            starts.push_front(start);
            whole += 1;
            // One more than wanted, to see whether the first one is the rest of a line before it.
            if whole > lines.saturating_mul(2) {
                break 'blocks;
            }
        }
    }
    if position == 0 && whole <= lines.saturating_mul(2) {
        starts.push_front(0);
    }
    let mut full: Vec<u64> = Vec::new();
    let mut inside = false;
    for start in starts {
        if !inside {
            full.push(start);
        }
        file.seek(SeekFrom::Start(start))?;
        let mut head = [0; 80];
        let read = file.read(&mut head)?;
        inside = head[..read].splitn(4, |byte| *byte == b' ').nth(2) == Some(b"P");
    }
    let from = full.len().saturating_sub(lines);
    file.seek(SeekFrom::Start(full.get(from).copied().unwrap_or(end)))?;
    Ok(())
}

fn parse(line: &[u8]) -> Option<Entry<'_>> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?;
    let stream = std::str::from_utf8(parts.next()?).ok()?;
    let partial = parts.next()?.first() == Some(&b'P');
    Some(Entry {
        time,
        stream,
        partial,
        text: parts.next().unwrap_or_default(),
    })
}

/// The end of a log as plain text, for termination messages.
pub(crate) fn last_lines(path: &Path, lines: usize, most: usize) -> String {
    let options = Options {
        tail: Some(lines),
        ..Options::default()
    };
    let Ok((_, chunks)) = backlog(path, options) else {
        return String::new();
    };
    let all = chunks.concat();
    String::from_utf8_lossy(&all[all.len().saturating_sub(most)..]).into_owned()
}

/// Tells when a file or its directory changes.
struct Watch(AsyncFd<std::os::fd::OwnedFd>);

impl Watch {
    fn new(path: &Path) -> io::Result<Self> {
        let fd = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC)?;
        // The directory's events are enough: writes to its files and the renames of rotation.
        let dir = path.parent().unwrap_or(Path::new("/"));
        inotify::add_watch(
            &fd,
            dir,
            inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO,
        )?;
        Ok(Self(super::pipe::register(fd, Interest::READABLE)?))
    }

    async fn changed(&self) -> io::Result<()> {
        let mut ready = self.0.readable().await?;
        let mut buffer = [0u8; 4096];
        // What happened doesn't matter: the file is looked at in any case.
        while rustix::io::read(self.0.get_ref(), &mut buffer).is_ok_and(|n| n > 0) {}
        ready.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "2026-01-01T00:00:01.000000001Z stdout F one\n2026-01-01T00:00:02Z stderr F two\n\
        2026-01-01T00:00:03Z stdout P thr\n2026-01-01T00:00:03Z stdout F ee\n2026-01-01T00:00:04Z stdout F \n";

    fn read(options: Options) -> String {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, LOG).unwrap();
        let (_, chunks) = backlog(&path, options).unwrap();
        String::from_utf8(chunks.concat()).unwrap()
    }

    #[test]
    fn options() {
        let of = |options: Options| read(options);
        assert_eq!(of(Options::default()), "one\ntwo\nthree\n\n");
        assert_eq!(
            of(Options {
                stream: Some("stderr"),
                ..Options::default()
            }),
            "two\n"
        );
        for (tail, expected) in [
            (0, ""),
            (1, "\n"),
            (2, "three\n\n"),
            (3, "two\nthree\n\n"),
            (99, "one\ntwo\nthree\n\n"),
        ] {
            assert_eq!(
                of(Options {
                    tail: Some(tail),
                    ..Options::default()
                }),
                expected,
                "tail {tail}"
            );
        }
        let since = "2026-01-01T00:00:03Z".parse().ok();
        assert_eq!(
            of(Options {
                since,
                ..Options::default()
            }),
            "three\n\n"
        );
        let stamped = of(Options {
            timestamps: true,
            tail: Some(2),
            ..Options::default()
        });
        assert_eq!(stamped, "2026-01-01T00:00:03Z three\n2026-01-01T00:00:04Z \n");
    }

    #[test]
    fn rotation_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        std::fs::write(&path, "t stdout F a\n").unwrap();
        let (mut printer, chunks) = backlog(&path, Options::default()).unwrap();
        assert_eq!(chunks.concat(), b"a\n");
        use std::io::Write as _;
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"t stdout F b\n")
            .unwrap();
        std::fs::rename(&path, dir.path().join("0.log.1")).unwrap();
        std::fs::write(&path, "t stdout F c\n").unwrap();
        assert_eq!(printer.more().unwrap(), "b\nc\n");
        let (_, all) = backlog(&path, Options::default()).unwrap();
        assert_eq!(all.concat(), b"a\nb\nc\n");
    }
}
