//! Moments that targets share, so that the machine wakes once for several of them.

use std::time::Duration;

use tokio::time::Instant;

/// From one shared moment to the next. tokio's timers lie on a wheel that wakes at every multiple
/// of this to sort those that are due soon, if there are any: what is due then is done at once,
/// and what is due in between costs another wake-up.
const STEP: Duration = Duration::from_millis(64);

/// A wake-up is shared only if the poll is moved by a hundredth of its interval at most.
const INTERVAL_MIN: Duration = Duration::from_millis(6_400);

/// More polls at one moment than this, and their answers might not fit into a socket's buffer,
/// which looks like loss: then every target keeps to its own time.
const POLLS_AT_ONCE_MAX: f64 = 16.0;

/// What may be subtracted from the time of the runtime's start to hit the wheel's multiples: its
/// time is cut to milliseconds, and it began a little before we read the clock.
const LEAD: Duration = Duration::from_millis(1);

/// The shared moments, if there are any for this many polls; none by default.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Grid {
    origin: Option<Instant>,
}

impl Grid {
    /// Of a runtime that has just been `started`, for targets with these intervals.
    pub(super) fn new(started: Instant, intervals: impl Iterator<Item = Duration>) -> Self {
        let polls_per_second: f64 = intervals.map(|interval| 1.0 / interval.as_secs_f64()).sum();
        let is_calm = polls_per_second * STEP.as_secs_f64() <= POLLS_AT_ONCE_MAX;
        Self { origin: started.checked_sub(LEAD).filter(|_| is_calm) }
    }

    /// When to poll a target that is due: then, or at the shared moment before.
    pub(super) fn at_or_before(self, due: Instant, interval: Duration) -> Instant {
        let Some(origin) = self.origin.filter(|_| interval >= INTERVAL_MIN) else { return due };
        let beyond = due.saturating_duration_since(origin).as_nanos() % STEP.as_nanos();
        due - Duration::from_nanos(u64::try_from(beyond).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn targets_that_are_due_soon_after_another_share_a_moment_before() {
        let start = Instant::now();
        let grid = Grid::new(start + LEAD, [10 * SECOND; 100].into_iter());
        for (due, shared) in [(0, 0), (63, 0), (64, 64), (127, 64), (10_000, 9_984)] {
            let at = grid.at_or_before(start + Duration::from_millis(due), 10 * SECOND);
            assert_eq!(at, start + Duration::from_millis(shared), "{due}");
        }
    }

    #[test]
    fn a_short_interval_and_a_crowd_keep_to_their_own_time() {
        let start = Instant::now();
        let due = start + 10 * SECOND;
        let calm = Grid::new(start, [10 * SECOND; 2_500].into_iter());
        assert_ne!(calm.at_or_before(due, 10 * SECOND), due);
        assert_eq!(calm.at_or_before(due, SECOND), due);
        let crowd = Grid::new(start, [10 * SECOND; 2_501].into_iter());
        assert_eq!(crowd.at_or_before(due, 10 * SECOND), due);
    }
}
