//! Moments that targets share, so that the machine wakes once for several of them.

use std::time::Duration;

use tokio::time::Instant;

/// From one shared moment to the next, the longest first. tokio's timers lie on a wheel that wakes at
/// every multiple of 64 ms to sort those that are due soon, if there are any: what is due then is
/// done at once, and what is due in between costs another wake-up. So each divides the one before.
const STEPS: [Duration; 9] = [
    Duration::from_millis(512),
    Duration::from_millis(256),
    Duration::from_millis(128),
    Duration::from_millis(64),
    Duration::from_millis(32),
    Duration::from_millis(16),
    Duration::from_millis(8),
    Duration::from_millis(4),
    Duration::from_millis(2),
];

/// A poll is moved by less than one such part of its interval.
const PARTS: u32 = 16;

/// More polls at one moment than this on average, and the answers of some moments might not fit
/// into a socket's buffer, which looks like loss: 256 fit, and phases are random.
const POLLS_AT_ONCE_MAX: f64 = 48.0;

/// What may be subtracted from the time of the runtime's start to hit the wheel's multiples: its
/// time is cut to milliseconds, and it began a little before we read the clock.
const LEAD: Duration = Duration::from_millis(1);

/// The shared moments, if there are any for this many polls; none by default.
#[derive(Debug, Default)]
pub(super) struct Grid {
    origin: Option<Instant>,
    /// The longest step that does not bring too many together.
    step_max: Duration,
}

impl Grid {
    /// Of a runtime that has just been `started`, for targets with these intervals.
    pub(super) fn new(started: Instant, intervals: impl Iterator<Item = Duration>) -> Self {
        let polls_per_second: f64 = intervals.map(|interval| 1.0 / interval.as_secs_f64()).sum();
        let is_calm = |step: &Duration| polls_per_second * step.as_secs_f64() <= POLLS_AT_ONCE_MAX;
        let step_max = STEPS.into_iter().find(is_calm).unwrap_or_default();
        Self { origin: started.checked_sub(LEAD), step_max }
    }

    /// When to poll a target that is due: then, or at the shared moment before.
    pub(super) fn at_or_before(&self, due: Instant, interval: Duration) -> Instant {
        let may_move = |step: &Duration| *step <= self.step_max && *step * PARTS <= interval;
        let Some((origin, step)) = self.origin.zip(STEPS.into_iter().find(may_move)) else {
            return due;
        };
        let beyond = due.saturating_duration_since(origin).as_nanos() % step.as_nanos();
        due - Duration::from_nanos(u64::try_from(beyond).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// By how many milliseconds a poll is moved that is due so long after the start.
    fn moved(grid: &Grid, start: Instant, due: u64, interval: Duration) -> u128 {
        let due = start + Duration::from_millis(due);
        (due - grid.at_or_before(due, interval)).as_millis()
    }

    #[test]
    fn targets_that_are_due_soon_after_another_share_a_moment_before() {
        let start = Instant::now();
        let grid = Grid::new(start + LEAD, [10 * SECOND; 50].into_iter());
        for (due, by) in [(0, 0), (511, 511), (512, 0), (800, 288), (10_000, 272)] {
            assert_eq!(moved(&grid, start, due, 10 * SECOND), by, "{due}");
        }
    }

    #[test]
    fn the_shorter_the_interval_the_less_a_poll_is_moved() {
        let start = Instant::now();
        let grid = Grid::new(start + LEAD, [10 * SECOND; 50].into_iter());
        for (millis, by) in
            [(9_000, 511), (8_000, 255), (4_000, 127), (2_000, 63), (1_000, 31), (100, 3), (30, 0)]
        {
            let interval = Duration::from_millis(millis);
            assert_eq!(moved(&grid, start, 511, interval), by, "{millis}");
        }
    }

    #[test]
    fn a_crowd_shares_less_and_at_last_keeps_to_its_own_time() {
        let start = Instant::now();
        for (targets, by) in [
            (900, 511),
            (1_000, 255),
            (1_900, 127),
            (3_800, 63),
            (7_600, 31),
            (200_000, 1),
            (300_000, 0),
        ] {
            let grid = Grid::new(start + LEAD, vec![10 * SECOND; targets].into_iter());
            assert_eq!(moved(&grid, start, 511, 10 * SECOND), by, "{targets}");
        }
    }
}
