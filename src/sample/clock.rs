//! Wall-clock time, read in one place and protected against steps.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until};

/// A point in time: nanoseconds since the Unix epoch, UTC.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest time there is.
    pub const MIN: Self = Self(i64::MIN);

    /// The latest.
    pub const MAX: Self = Self(i64::MAX);

    /// From nanoseconds since the epoch.
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// From whole seconds since the epoch; saturates.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(NANOS))
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// Seconds since the epoch with their fraction, as Prometheus' API writes times.
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        // As one number they have more digits than a float.
        self.0.div_euclid(NANOS) as f64 + self.0.rem_euclid(NANOS) as f64 / NANOS as f64
    }

    /// The time from `earlier` until this one; zero where `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        u64::try_from(self.0.saturating_sub(earlier.0)).map_or(Duration::ZERO, Duration::from_nanos)
    }

    /// Moved by a signed number of nanoseconds; saturates.
    #[must_use]
    pub const fn shifted(self, nanos: i64) -> Self {
        Self(self.0.saturating_add(nanos))
    }
}

const NANOS: i64 = 1_000_000_000;

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, duration: Duration) -> Self {
        self.shifted(nanos(duration))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

/// RFC 3339 in UTC, to the millisecond.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "{}ns", self.0),
        }
    }
}

/// The wall clock, steadied: it follows the monotonic clock from where the wall clock stood, and
/// takes over a step of the wall clock only when [`Clock::resync`] is called, which reports it.
///
/// Between two calls time therefore never runs backwards, whatever is done to the system's clock.
#[derive(Debug)]
pub struct Clock {
    started: Instant,
    /// Wall time at `started`, in nanoseconds since the epoch.
    base: AtomicI64,
}

/// Differences between the two clocks below this are not worth a correction.
const STEP_MIN: Duration = Duration::from_millis(100);

impl Clock {
    /// A clock that shows the system's time.
    #[must_use]
    pub fn system() -> Self {
        Self::starting_at(wall())
    }

    /// A clock that shows `time` now and advances with tokio's clock; for virtual time.
    #[must_use]
    pub fn starting_at(time: Timestamp) -> Self {
        Self { started: Instant::now(), base: AtomicI64::new(time.0) }
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp(self.base.load(Ordering::Relaxed)) + self.started.elapsed()
    }

    /// Takes over a step of the system's clock, and returns it in nanoseconds (positive: forwards).
    pub fn resync(&self) -> Option<i64> {
        self.resync_to(wall())
    }

    /// As [`Clock::resync`], with the system's clock showing `wall`.
    pub fn resync_to(&self, wall: Timestamp) -> Option<i64> {
        let step = wall.0.saturating_sub(self.now().0);
        if step.unsigned_abs() < STEP_MIN.as_nanos() as u64 {
            return None;
        }
        self.base.fetch_add(step, Ordering::Relaxed);
        Some(step)
    }
}

/// One moment by both clocks: turns the wall-clock times the kernel stamps packets with into ours.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    wall: Timestamp,
    monotonic: Instant,
}

impl Moment {
    /// This one.
    pub(crate) fn now() -> Self {
        Self { wall: wall(), monotonic: Instant::now() }
    }

    /// When the wall clock showed `stamp`, if it has not been stepped since. It must not be long ago.
    pub(crate) fn instant_of(self, stamp: Timestamp) -> Option<Instant> {
        if stamp <= self.wall {
            self.monotonic.checked_sub(self.wall.since(stamp))
        } else {
            self.monotonic.checked_add(stamp.since(self.wall))
        }
    }
}

/// Waits until `deadline`; for ever where there is none.
pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the wall clock is read")]
fn wall() -> Timestamp {
    match std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH) {
        Ok(since) => Timestamp(nanos(since)),
        Err(before) => Timestamp(-nanos(before.duration())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn displays_as_rfc_3339() {
        assert_eq!(Timestamp::from_nanos(1_500_000_000).to_string(), "1970-01-01T00:00:01.500Z");
    }

    #[test]
    fn a_stamp_is_as_far_from_the_moment_on_either_clock() {
        let moment = Moment::now();
        let second = Duration::from_secs(1);
        assert_eq!(moment.instant_of(moment.wall + second), Some(moment.monotonic + second));
        assert_eq!(moment.instant_of(moment.wall), Some(moment.monotonic));
    }

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(
            Timestamp::from_nanos(i64::MAX) + Duration::MAX,
            Timestamp::from_nanos(i64::MAX)
        );
        assert_eq!(Timestamp::from_secs(1).since(Timestamp::from_secs(2)), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_of_the_wall_clock_is_taken_over_once_and_reported() {
        let clock = Clock::starting_at(Timestamp::from_secs(1_000));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(clock.now(), Timestamp::from_secs(1_005));
        assert_eq!(clock.resync_to(Timestamp::from_nanos(1_005_050_000_000)), None);
        assert_eq!(clock.resync_to(Timestamp::from_secs(905)), Some(-100 * NANOS));
        assert_eq!(clock.now(), Timestamp::from_secs(905));
        assert_eq!(clock.resync_to(Timestamp::from_secs(905)), None);
    }
}
