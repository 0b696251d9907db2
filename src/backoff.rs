//! How long to wait before trying again: longer each time, never the same for two who failed
//! together.

use std::time::Duration;

/// An exponential backoff with full jitter above a floor.
///
/// The n-th delay is drawn evenly from `min` to `min · 2ⁿ`, at most `max`; so a thousand
/// that failed at one moment do not come back at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
}

impl Backoff {
    /// Delays from `min` to `max`; a `max` below `min` counts as `min`.
    #[must_use]
    pub fn new(min: Duration, max: Duration) -> Self {
        Self { min, max: max.max(min), failures: 0 }
    }

    /// The next delay, after one more failure.
    pub fn next_delay(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.delay(fastrand::f64())
    }

    /// It worked: the next failure starts from the beginning.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The delay after the failures so far, for a draw from 0 to 1.
    fn delay(&self, draw: f64) -> Duration {
        let ceiling = self.min.saturating_mul(2u32.saturating_pow(self.failures)).min(self.max);
        self.min + (ceiling - self.min).mul_f64(draw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_delay_is_never_below_the_least_nor_above_the_most(
            min in 1u64..10_000, max in 1u64..1_000_000, failures in 0u32..100, draw in 0.0..=1.0,
        ) {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(max));
            let backoff = Backoff { failures, ..Backoff::new(min, max) };
            let delay = backoff.delay(draw);
            prop_assert!(min <= delay && delay <= max.max(min));
        }
    }

    #[test]
    fn delays_grow_until_something_works() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let longest = |b: &Backoff| b.delay(1.0);
        backoff.next_delay();
        assert_eq!(longest(&backoff), Duration::from_secs(2));
        backoff.next_delay();
        assert_eq!(longest(&backoff), Duration::from_secs(4));
        backoff.reset();
        assert_eq!(backoff.failures(), 0);
    }
}
