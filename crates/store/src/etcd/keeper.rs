//! Compaction: etcd keeps all history until it is told otherwise.
//!
//! Several servers on one etcd all do this. Each forgets only what it knows to be old enough, so they needn't agree.

use std::sync::Arc;
use std::time::Duration;

use super::Inner;

/// Forgets what is older than `keep_for`, once in that time, for as long as the task lives.
pub(crate) async fn run(inner: Arc<Inner>, keep_for: Duration) {
    if keep_for.is_zero() {
        return;
    }
    let mut old = None;
    loop {
        let now = match inner.revision().await {
            Ok(now) => Some(now),
            Err(error) => {
                tracing::debug!(%error, "the age of etcd's history is not known");
                None
            }
        };
        if let Some(revision) = old
            && let Err(error) = inner.compact(revision).await
        {
            tracing::warn!(%error, %revision, "etcd's history could not be compacted");
        }
        // What was there at the last look is old enough at the next one.
        old = now;
        tokio::time::sleep(keep_for).await;
    }
}
