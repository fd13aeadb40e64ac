//! The one retry policy: exponential, capped, with jitter. No sleeping happens in here; callers own their clock.

use std::time::Duration;

/// Delays that grow with each failure and start anew after a success.
#[derive(Debug, Clone)]
pub struct Backoff {
    initial: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Starts at `initial`, doubles with each failure, never exceeds `max`.
    pub const fn new(initial: Duration, max: Duration) -> Self {
        Self {
            initial,
            max,
            failures: 0,
        }
    }

    /// For a connection to the API: a restarted server is found again within tens of milliseconds, a dead one is asked
    /// every few seconds.
    pub const fn connection() -> Self {
        Self::new(Duration::from_millis(25), Duration::from_secs(5))
    }

    /// Forgets the failures.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The delay before the next attempt: between half of the step and the whole of it, so that many clients of one
    /// restarted server don't come back together.
    pub fn next_delay(&mut self) -> Duration {
        let step = self
            .initial
            .saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX))
            .min(self.max);
        self.failures = self.failures.saturating_add(1).min(31);
        step / 2 + step.mul_f64(rand::random::<f64>() / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_caps_and_starts_anew() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));
        for step in [10u64, 20, 40, 80, 160, 320, 640, 1000, 1000] {
            let delay = backoff.next_delay().as_millis() as u64;
            assert!(
                (step / 2..=step).contains(&delay),
                "{delay} is not within half of {step}"
            );
        }
        for _ in 0..100 {
            assert!(backoff.next_delay() <= Duration::from_secs(1));
        }
        backoff.reset();
        assert!(backoff.next_delay() <= Duration::from_millis(10));
    }
}
