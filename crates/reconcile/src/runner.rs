//! Workers that take keys from a queue and give them to a reconciler.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::Queue;

/// When a key is to be looked at again, though nothing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Only after a change.
    Change,
    /// At the latest after this time.
    After(Duration),
}

/// Brings the world around one key to what is wanted.
pub trait Reconciler: Send + Sync + 'static {
    /// What names a piece of work.
    type Key: Clone + Eq + Hash + Debug + Send + Sync + 'static;
    /// Why a run failed; it is logged here, once.
    type Error: Display + Send;

    /// For logs.
    fn name(&self) -> &'static str;

    /// One run for one key. Called again, later and later, until it succeeds.
    fn reconcile(&self, key: &Self::Key) -> impl Future<Output = Result<Next, Self::Error>> + Send;
}

/// Runs `workers` workers until `cancel`; a run under way then ends first.
pub async fn run<R: Reconciler>(reconciler: Arc<R>, queue: Queue<R::Key>, workers: usize, cancel: CancellationToken) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..workers.max(1) {
        tasks.spawn(work(reconciler.clone(), queue.clone()));
    }
    let time = queue.clone();
    tasks.spawn(async move { time.keep_time().await });
    cancel.cancelled().await;
    queue.close();
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(reconciler = reconciler.name(), %error, "a worker died");
        }
    }
}

async fn work<R: Reconciler>(reconciler: Arc<R>, queue: Queue<R::Key>) {
    while let Some(key) = queue.next().await {
        // In a task of its own, so that a panic costs one run and not the worker.
        let run = tokio::spawn({
            let (reconciler, key) = (reconciler.clone(), key.clone());
            async move { reconciler.reconcile(&key).await.map_err(|error| error.to_string()) }
        });
        match run.await {
            Ok(Ok(next)) => {
                queue.forget(&key);
                if let Next::After(after) = next {
                    queue.add_after(key.clone(), after);
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(reconciler = reconciler.name(), ?key, %error, "will be tried again");
                queue.retry(key.clone());
            }
            Err(error) => {
                tracing::error!(reconciler = reconciler.name(), ?key, %error, "a run panicked");
                queue.retry(key.clone());
            }
        }
        queue.done(&key);
    }
}

#[cfg(test)]
mod tests;
