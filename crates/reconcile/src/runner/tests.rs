//! The promises of the loop, under a paused clock.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep};

use super::*;

#[derive(Default)]
struct Probe {
    running: Mutex<HashMap<u32, u32>>,
    overlaps: AtomicU32,
    runs: Mutex<Vec<(u32, Instant)>>,
    fail: AtomicU32,
}

impl Reconciler for Probe {
    type Key = u32;
    type Error = &'static str;

    fn name(&self) -> &'static str {
        "probe"
    }

    async fn reconcile(&self, key: &u32) -> Result<Next, &'static str> {
        self.runs.lock().push((*key, Instant::now()));
        {
            let mut running = self.running.lock();
            let count = running.entry(*key).or_insert(0);
            *count += 1;
            self.overlaps.fetch_max(*count, SeqCst);
        }
        sleep(Duration::from_millis(10)).await;
        *self.running.lock().entry(*key).or_insert(1) -= 1;
        if self
            .fail
            .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
            .is_ok()
        {
            return Err("not yet");
        }
        Ok(Next::Change)
    }
}

fn start(probe: &Arc<Probe>) -> (Queue<u32>, CancellationToken, tokio::task::JoinHandle<()>) {
    let (queue, cancel) = (Queue::default(), CancellationToken::new());
    let task = tokio::spawn(run(probe.clone(), queue.clone(), 4, cancel.clone()));
    (queue, cancel, task)
}

#[tokio::test(start_paused = true)]
async fn one_key_never_runs_twice_at_once_and_is_not_forgotten() {
    let probe = Arc::new(Probe::default());
    let (queue, cancel, task) = start(&probe);
    for _ in 0..5 {
        queue.add(1);
        queue.add(2);
    }
    sleep(Duration::from_millis(5)).await;
    queue.add(1);
    queue.add(1);
    sleep(Duration::from_millis(100)).await;
    assert_eq!(probe.overlaps.load(SeqCst), 1);
    let runs = probe.runs.lock().iter().map(|(key, _)| *key).collect::<Vec<_>>();
    assert_eq!(
        (
            runs.iter().filter(|key| **key == 1).count(),
            runs.iter().filter(|key| **key == 2).count()
        ),
        (2, 1)
    );
    cancel.cancel();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn failures_come_back_later_and_later() {
    let probe = Arc::new(Probe::default());
    probe.fail.store(4, SeqCst);
    let (queue, cancel, task) = start(&probe);
    queue.add(7);
    sleep(Duration::from_secs(2)).await;
    let gaps: Vec<_> = probe
        .runs
        .lock()
        .windows(2)
        .map(|pair| (pair[1].1 - pair[0].1).as_millis() as u64)
        .collect();
    assert_eq!(gaps, [15, 20, 30, 50]);
    cancel.cancel();
    task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_earliest_time_counts() {
    let probe = Arc::new(Probe::default());
    let (queue, cancel, task) = start(&probe);
    let begin = Instant::now();
    queue.add_after(1, Duration::from_secs(60));
    queue.add_after(1, Duration::from_secs(2));
    queue.add_after(1, Duration::from_secs(30));
    sleep(Duration::from_secs(3600)).await;
    let runs: Vec<_> = probe
        .runs
        .lock()
        .iter()
        .map(|(_, when)| (*when - begin).as_secs())
        .collect();
    assert_eq!(runs, [2]);
    cancel.cancel();
    task.await.unwrap();
}
