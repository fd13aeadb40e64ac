//! Time as the queue sees it, so that a test can hold it or skip an hour.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::Instant;

/// Tells the time and waits for it.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Instant;
    /// Waits until `when`.
    fn sleep_until(&self, when: Instant) -> BoxFuture<'static, ()>;

    /// The moment `after` from now.
    fn after(&self, after: Duration) -> Instant {
        self.now() + after
    }
}

/// The runtime's clock, which `tokio::time::pause` holds in tests.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioClock;

impl Clock for TokioClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn sleep_until(&self, when: Instant) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep_until(when))
    }
}
