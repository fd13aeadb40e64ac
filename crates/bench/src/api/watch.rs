//! Watch fan-out: many watchers of one collection, while objects are created in it. Each watcher ticks off the objects
//! that it was told of, so a missing or doubled event shows; nothing of an event but the object's name is looked at.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use memchr::memmem;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{Bench, create};
use crate::http_client::{Call, Connection, Target};
use crate::report;

/// A watcher that hears nothing for so long gives up; what it lacks is missed.
const SILENCE: Duration = Duration::from_secs(10);
/// How many connections are opened at a time.
const OPENING: usize = 16;
/// However slow the writes are.
const WRITING: Duration = Duration::from_secs(300);
/// What comes before the number in an event about a new object: the name as it stands in JSON, in any order of fields.
const NAME: &[u8] = br#""name":"see-"#;
const DIGITS: usize = 8;

/// Opens the watches, writes, and waits until each watcher has heard all or given up.
pub(super) async fn measure(bench: &Bench<'_>) -> anyhow::Result<Value> {
    let writes = bench.args.watch_writes;
    let revision = revision(bench).await?;
    let path = format!("{}?watch=true&resourceVersion={revision}", bench.objects.path);
    let opened: Vec<(Connection, Incoming)> = stream::iter(0..bench.args.watchers)
        .map(|_| open(bench.target.clone(), path.clone()))
        .buffer_unordered(OPENING)
        .try_collect()
        .await?;
    let mut watchers = JoinSet::new();
    for (connection, body) in opened {
        watchers.spawn(listen(connection, body, writes as usize));
    }
    let began = Instant::now();
    let clients = bench.clients().min(writes as usize);
    let written = create::creates(bench, &bench.objects.watched, clients, u64::from(writes), WRITING)
        .await?
        .all_or_error()?;
    let written_after = began.elapsed();
    let mut sum = Heard::default();
    while let Some(heard) = watchers.join_next().await {
        sum.add(&heard?);
    }
    let elapsed = sum.last.map_or(Duration::ZERO, |last| last.duration_since(began));
    let expected = u64::from(bench.args.watchers) * u64::from(writes);
    Ok(json!({
        "watchers": bench.args.watchers,
        "writes": writes,
        "writes_per_second": report::rate(written.succeeded, written.elapsed),
        "events_per_second": report::rate(sum.distinct, elapsed),
        "events": sum.distinct,
        "expected": expected,
        "missed": expected.saturating_sub(sum.distinct),
        "doubled": sum.doubled,
        "cut_off": sum.cut_off,
        "bytes": sum.bytes,
        "seconds": report::millis(elapsed.as_secs_f64()),
        // How long after the last write's answer the last watcher had everything.
        "behind_ms": report::of_duration(elapsed.saturating_sub(written_after)),
    }))
}

#[derive(Deserialize)]
struct List {
    metadata: Meta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    resource_version: String,
}

async fn revision(bench: &Bench<'_>) -> anyhow::Result<String> {
    let mut connection = Connection::open(&bench.target).await?;
    let body = connection
        .fetch(Call::get(format!("{}?limit=1", bench.objects.path)))
        .await?;
    let list: List = serde_json::from_slice(&body).context("the list's answer")?;
    Ok(list.metadata.resource_version)
}

async fn open(target: Arc<Target>, path: String) -> anyhow::Result<(Connection, Incoming)> {
    let mut connection = Connection::open(&target).await?;
    let response = tokio::time::timeout(SILENCE, connection.send(Call::get(path)))
        .await
        .context("no answer to a watch")??;
    let status = response.status();
    anyhow::ensure!(status.is_success(), "a watch was refused: {status}");
    Ok((connection, response.into_body()))
}

/// What one or all watchers heard.
#[derive(Default)]
struct Heard {
    distinct: u64,
    doubled: u64,
    cut_off: u64,
    bytes: u64,
    last: Option<Instant>,
}

impl Heard {
    fn add(&mut self, other: &Self) {
        self.distinct += other.distinct;
        self.doubled += other.doubled;
        self.cut_off += other.cut_off;
        self.bytes += other.bytes;
        self.last = self.last.max(other.last);
    }
}

/// Reads until all objects were told of. The connection is held that long.
async fn listen(connection: Connection, mut body: Incoming, expected: usize) -> Heard {
    let mut heard = Heard::default();
    let mut ticks = Ticks::new(expected);
    while ticks.distinct < expected as u64 {
        // Silence, an error and an end are the same to a watcher: it was cut off and lacks the rest.
        let Ok(Some(Ok(frame))) = tokio::time::timeout(SILENCE, body.frame()).await else {
            heard.cut_off = 1;
            break;
        };
        let Some(data) = frame.data_ref() else { continue };
        heard.bytes += data.len() as u64;
        let before = ticks.distinct;
        ticks.take(data);
        if ticks.distinct > before {
            heard.last = Some(Instant::now());
        }
    }
    drop(connection);
    heard.distinct = ticks.distinct;
    heard.doubled = ticks.doubled;
    heard
}

/// The objects that were told of, found in a stream that may be cut anywhere: an event is a line.
struct Ticks {
    seen: Vec<bool>,
    rest: Vec<u8>,
    name: memmem::Finder<'static>,
    distinct: u64,
    doubled: u64,
}

impl Ticks {
    fn new(expected: usize) -> Self {
        Self {
            seen: vec![false; expected],
            rest: Vec::new(),
            name: memmem::Finder::new(NAME),
            distinct: 0,
            doubled: 0,
        }
    }

    fn take(&mut self, mut data: &[u8]) {
        while let Some(end) = memchr::memchr(b'\n', data) {
            let (line, next) = data.split_at(end + 1);
            if self.rest.is_empty() {
                self.line(line);
            } else {
                self.rest.extend_from_slice(line);
                let whole = std::mem::take(&mut self.rest);
                self.line(&whole);
            }
            data = next;
        }
        self.rest.extend_from_slice(data);
    }

    fn line(&mut self, line: &[u8]) {
        let Some(at) = self.name.find(line) else { return };
        let digits = line.get(at + NAME.len()..at + NAME.len() + DIGITS).unwrap_or_default();
        let number = std::str::from_utf8(digits)
            .ok()
            .and_then(|digits| digits.parse::<usize>().ok());
        match number.and_then(|number| self.seen.get_mut(number)) {
            Some(seen) if *seen => self.doubled += 1,
            Some(seen) => {
                *seen = true;
                self.distinct += 1;
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Ticks;

    fn event(number: usize) -> String {
        format!(
            "{{\"type\":\"ADDED\",\"object\":{{\"metadata\":{{\"name\":\"see-{number:08}\"}},\"data\":{{\"name\":\"x\"}}}}}}\n"
        )
    }

    #[test]
    fn events_are_ticked_off_however_the_stream_is_cut() {
        let text: String = [0, 2, 1, 2].map(event).concat();
        for size in 1..text.len() {
            let mut ticks = Ticks::new(4);
            text.as_bytes().chunks(size).for_each(|chunk| ticks.take(chunk));
            assert_eq!((ticks.distinct, ticks.doubled), (3, 1), "in chunks of {size}");
            assert_eq!(ticks.seen, [true, true, true, false]);
        }
    }

    #[test]
    fn other_lines_count_for_nothing() {
        let mut ticks = Ticks::new(4);
        ticks.take(b"{\"type\":\"ERROR\",\"object\":{\"code\":410}}\n");
        ticks.take(event(9).as_bytes());
        assert_eq!((ticks.distinct, ticks.doubled), (0, 0));
    }
}
