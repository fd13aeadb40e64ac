//! What the embedded store and the watch caches cost: `cargo run --release -p watch --example cost -- DIR [PART...]`,
//! the parts being `commits`, `batches`, `reopen`, `lists` and `watchers`. DIR must not exist; put it on the disk that is
//! to be measured. One line of JSON a figure.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use meta::Revision;
use store::embedded::Options;
use store::{Embedded, Outcome, Range, Store, Txn};
use watch::{Error, Hub, Projection, Projector, Scope, Selection, Slot};

const VALUE: usize = 1024;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().ok_or("which directory?")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    if dir == "open" {
        return runtime.block_on(open(Path::new(&arguments.next().ok_or("which directory?")?)));
    }
    let dir = Path::new(&dir);
    if dir.exists() {
        return Err(format!("{} exists", dir.display()).into());
    }
    let parts: Vec<String> = arguments.collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let result = runtime.block_on(async {
        if wanted("commits") {
            for writers in [1, 64] {
                commits(&dir.join(format!("commits{writers}")), writers).await?;
            }
        }
        if wanted("batches") {
            batches(&dir.join("batches")).await?;
        }
        if wanted("reopen") {
            reopen(&dir.join("reopen")).await?;
        }
        if wanted("lists") {
            for objects in [5_000, 50_000] {
                lists(&dir.join(format!("lists{objects}")), objects).await?;
            }
        }
        if wanted("watchers") {
            watchers(&dir.join("watchers")).await?;
        }
        Ok(())
    });
    std::fs::remove_dir_all(dir)?;
    result
}

fn value(seed: u64) -> Bytes {
    let mut value = vec![b'.'; VALUE];
    value[..8].copy_from_slice(&seed.to_le_bytes());
    value.into()
}

async fn commit(store: &Embedded, txn: Txn) -> Result<Revision, Failure> {
    match store.commit(txn).await? {
        Outcome::Done { revision } => Ok(revision),
        Outcome::Conflict { .. } => Err("a conflict".into()),
    }
}

/// Writers that each wait for their last commit.
async fn commits(dir: &Path, writers: u64) -> Result<(), Failure> {
    let store = Embedded::open(dir, Options::default())?;
    let end = Instant::now() + Duration::from_secs(5);
    let tasks = (0..writers).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut times = Vec::new();
            while Instant::now() < end {
                let start = Instant::now();
                let key = format!("/registry/core/configmaps/default/{writer}-{}", times.len());
                commit(&store, Txn::new().expect_absent(key.clone()).put(key, value(writer))).await?;
                times.push(start.elapsed());
            }
            Ok::<_, Failure>(times)
        })
    });
    let mut times = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        times.extend(task.await??);
    }
    let rate = times.len() as f64 / 5.0;
    let (middle, high) = percentiles(&mut times);
    println!(
        r#"{{"figure":"commits","writers":{writers},"per_second":{rate:.0},"p50_ms":{middle:.3},"p99_ms":{high:.3}}}"#
    );
    Ok(())
}

/// One writer, a hundred records a commit.
async fn batches(dir: &Path) -> Result<(), Failure> {
    let store = Embedded::open(dir, Options::default())?;
    let (begin, mut times) = (Instant::now(), Vec::new());
    for batch in 0..1000u64 {
        let txn = hundred(batch);
        let start = Instant::now();
        commit(&store, txn).await?;
        times.push(start.elapsed());
    }
    let rate = 100_000.0 / begin.elapsed().as_secs_f64();
    let (middle, high) = percentiles(&mut times);
    let written = store.stats().disk_bytes >> 20;
    println!(
        r#"{{"figure":"batches of 100","puts_per_second":{rate:.0},"p50_ms":{middle:.3},"p99_ms":{high:.3},"mib":{written}}}"#
    );
    Ok(())
}

fn hundred(batch: u64) -> Txn {
    (0..100).fold(Txn::new(), |txn, index| {
        let number = batch * 100 + index;
        txn.put(
            format!("/registry/core/configmaps/ns{}/config-{number:08}", number % 10),
            value(number),
        )
    })
}

/// A million records: opened again, read whole, read one by one.
async fn reopen(dir: &Path) -> Result<(), Failure> {
    const RECORDS: u64 = 1_000_000;
    let store = Embedded::open(dir, Options::default())?;
    for batch in 0..RECORDS / 100 {
        commit(&store, hundred(batch)).await?;
    }
    store.close();
    drop(store);
    // A process of its own, whose memory is not that of the writing.
    let status = std::process::Command::new(std::env::current_exe()?)
        .arg("open")
        .arg(dir)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("opening ended with {status}").into())
    }
}

async fn open(dir: &Path) -> Result<(), Failure> {
    let (empty, start) = (resident()?, Instant::now());
    let store = Embedded::open(dir, Options::default())?;
    let opened = start.elapsed().as_secs_f64();
    let per_key = (resident()?.saturating_sub(empty)) as f64 / store.stats().keys as f64 - VALUE as f64;
    let start = Instant::now();
    let page = store.range(Range::prefix("/registry/")).await?;
    let scanned = start.elapsed().as_secs_f64();
    let start = Instant::now();
    for record in page.records.iter().step_by(10) {
        store.get(&record.key, None).await?;
    }
    let gets = page.count as f64 / 10.0 / start.elapsed().as_secs_f64();
    println!(
        r#"{{"figure":"a million records","reopen_s":{opened:.2},"scan_s":{scanned:.2},"gets_per_second":{gets:.0},"bytes_per_key_beyond_the_value":{per_key:.0}}}"#
    );
    Ok(())
}

fn projector() -> Projector {
    Arc::new(|_, _| Projection::default())
}

/// Lists of a cache while nobody writes, and right after a write.
async fn lists(dir: &Path, objects: u64) -> Result<(), Failure> {
    let store = Embedded::open(dir, Options::default())?;
    for batch in 0..objects / 100 {
        commit(&store, hundred(batch)).await?;
    }
    let before = resident()?;
    let hub = Hub::start(Arc::clone(&store) as Arc<dyn Store>).await?;
    let cache = hub.cache("/registry/core/configmaps/", projector()).await?;
    hub.fresh().await?;
    let memory = resident()?.saturating_sub(before) as f64 / objects as f64;
    let rounds = 100u32;
    let all = timed(rounds, || cache.list(&Scope::All).len());
    let walk = timed(rounds, || {
        cache
            .list(&Scope::All)
            .iter()
            .map(|version| version.bytes().len())
            .sum()
    });
    let namespace = timed(rounds, || cache.list(&Scope::namespace("ns3")).len());
    let (mut held, mut writes) = (Vec::new(), Duration::ZERO);
    for round in 0..u64::from(rounds) {
        held.push(cache.list(&Scope::All));
        let txn = Txn::new().put("/registry/core/configmaps/ns3/config-00000003", value(round));
        let start = Instant::now();
        let revision = commit(&store, txn).await?;
        cache.wait_until(revision).await?;
        writes += start.elapsed();
    }
    let write = writes.as_secs_f64() * 1e3 / f64::from(rounds);
    println!(
        r#"{{"figure":"lists","objects":{objects},"snapshot_us":{all:.2},"walk_us":{walk:.0},"namespace_us":{namespace:.2},"write_until_seen_ms":{write:.3},"cache_bytes_per_object":{memory:.0}}}"#
    );
    Ok(())
}

fn timed(rounds: u32, mut run: impl FnMut() -> usize) -> f64 {
    let start = Instant::now();
    for _ in 0..rounds {
        std::hint::black_box(run());
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
}

/// A thousand watchers of everything, on the same two cores as the writers.
async fn watchers(dir: &Path) -> Result<(), Failure> {
    const WATCHERS: u64 = 1000;
    const EVENTS: u64 = 20_000;
    let store = Embedded::open(dir, Options::default())?;
    let hub = Hub::start(Arc::clone(&store) as Arc<dyn Store>).await?;
    let cache = hub.cache("/registry/core/configmaps/", projector()).await?;
    let (made, start) = (Arc::new(AtomicU64::new(0)), cache.revision());
    let tasks: Vec<_> = (0..WATCHERS)
        .map(|_| {
            let (cache, made) = (Arc::clone(&cache), Arc::clone(&made));
            tokio::spawn(async move {
                let mut watcher = cache.watch(start, Selection::default())?;
                let mut bytes = 0;
                for _ in 0..EVENTS {
                    let delivery = watcher.next().await?;
                    let line = delivery.encoded(Slot(0), |delivery| {
                        made.fetch_add(1, Ordering::Relaxed);
                        Ok::<_, Error>(Bytes::copy_from_slice(delivery.object().bytes()))
                    })?;
                    bytes += line.len();
                }
                Ok::<_, Error>(bytes)
            })
        })
        .collect();
    let (begin, processor) = (Instant::now(), processor_seconds()?);
    let writers = (0..64u64).map(|writer| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for index in 0..EVENTS.div_ceil(64) {
                let key = format!("/registry/core/configmaps/default/{writer}");
                commit(&store, Txn::new().put(key, value(index))).await?;
            }
            Ok::<_, Failure>(())
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await??;
    }
    let written = begin.elapsed().as_secs_f64();
    for task in tasks {
        task.await??;
    }
    let (seconds, used) = (begin.elapsed().as_secs_f64(), processor_seconds()? - processor);
    let delivered = (WATCHERS * EVENTS) as f64;
    println!(
        r#"{{"figure":"watchers","watchers":{WATCHERS},"events":{EVENTS},"written_s":{written:.2},"delivered_s":{seconds:.2},"deliveries_per_second":{:.0},"cpu_ns_per_delivery":{:.0},"encodings":{}}}"#,
        delivered / seconds,
        used * 1e9 / delivered,
        made.load(Ordering::Relaxed)
    );
    Ok(())
}

fn percentiles(times: &mut [Duration]) -> (f64, f64) {
    times.sort_unstable();
    let at = |percent: usize| {
        times
            .get(times.len() * percent / 100)
            .map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    (at(50), at(99))
}

/// The process's resident bytes.
fn resident() -> Result<u64, Failure> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text.split(' ').nth(1).ok_or("statm")?.parse()?;
    Ok(pages * 4096)
}

/// The processor time that this process has used.
fn processor_seconds() -> Result<f64, Failure> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = text.rsplit(')').next().ok_or("stat")?.split_whitespace().collect();
    let ticks: f64 = [11, 12]
        .iter()
        .filter_map(|field| fields.get(*field)?.parse::<f64>().ok())
        .sum();
    Ok(ticks / 100.0)
}
