//! How long a job waits after failures before it makes another pod. Pure.

use std::time::Duration;

use jiff::Timestamp;

const FIRST: Duration = Duration::from_secs(10);
const MOST: Duration = Duration::from_secs(600);

/// The failures of a job since its last success.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Backoff {
    failures: i32,
    last: Option<Timestamp>,
}

impl Backoff {
    /// With pods that ended since, by the times of their ends.
    pub(super) fn after(&self, mut succeeded: Vec<Timestamp>, mut failed: Vec<Timestamp>) -> Self {
        succeeded.sort_unstable();
        failed.sort_unstable();
        match (succeeded.last(), failed.last()) {
            (None, None) => self.clone(),
            (None, Some(last)) => Self {
                failures: self
                    .failures
                    .saturating_add(i32::try_from(failed.len()).unwrap_or(i32::MAX)),
                last: Some(*last),
            },
            (Some(success), _) => {
                failed.retain(|time| time > success);
                Self {
                    failures: i32::try_from(failed.len()).unwrap_or(i32::MAX),
                    last: failed.last().copied(),
                }
            }
        }
    }

    /// How long to wait still.
    pub(super) fn left(&self, now: Timestamp) -> Option<Duration> {
        left(self.failures, self.last?, now)
    }
}

/// How long to wait after so many failures, the last one at this time.
pub(super) fn left(failures: i32, last: Timestamp, now: Timestamp) -> Option<Duration> {
    let doublings = u32::try_from(failures.checked_sub(1)?).ok()?.min(10);
    let wait = (FIRST * 2u32.pow(doublings)).min(MOST);
    let since = Duration::try_from(now.duration_since(last)).unwrap_or_default();
    wait.checked_sub(since).filter(|left| !left.is_zero())
}
