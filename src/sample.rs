//! The words every other module speaks: time, series, samples and batches.
//!
//! A series is a measurement, a field and a set of tags, interned once to a small integer; a batch
//! is everything one poll read, under one timestamp. This is the only module that reads the wall
//! clock. It never does I/O.

mod catalogue;
mod clock;
mod readings;
mod series_ids;

pub use catalogue::{Catalogue, Held, Row, Series, SeriesId, split_name};
pub use clock::{Clock, Timestamp};
pub(crate) use clock::{Moment, until};
pub(crate) use readings::LABEL_BYTES_MAX;
pub use readings::{Readings, RowRef, Tags, TargetTags, Written};
pub(crate) use series_ids::SeriesIds;

use std::sync::Arc;

/// One value of one series. The time is its batch's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Which series.
    pub series: SeriesId,
    /// The value, or the [stale mark](STALE).
    pub value: f64,
}

/// What one poll of one target read: judged, kept and forwarded as one.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The target's name, its table's name in the configuration.
    pub target: Arc<str>,
    /// When the readings were taken.
    pub time: Timestamp,
    /// The readings; a series occurs at most once.
    pub samples: Vec<Sample>,
}

/// The name of the series that says whether a target answers.
pub const TARGET_UP: &str = "target_up";

impl Batch {
    /// Puts [`TARGET_UP`] first, as it comes from a poll: what else the poll says is judged knowing
    /// it.
    pub(crate) fn put_verdict_first(&mut self, is_verdict: impl Fn(SeriesId) -> bool) {
        if let Some(at) = self.samples.iter().position(|one| is_verdict(one.series)) {
            self.samples[..=at].rotate_right(1);
        }
    }
}

/// The value that ends a series: it has no value from here on, until it has one again.
///
/// The bit pattern is Prometheus' stale marker, so that what is stored means the same elsewhere
/// (prometheus/model/value.StaleNaN).
pub const STALE: f64 = f64::from_bits(STALE_BITS);

const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Appends to a long-lived list, with room for an eighth more instead of twice as much: the tables
/// of a few hundred devices have a million entries, those of ten thousand hosts two or ten each, and
/// none grows any more once it is known.
pub(crate) fn push_tight<T>(list: &mut Vec<T>, item: T) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / 8).max(2));
    }
    list.push(item);
}

/// Makes a long-lived list at least as long as this, as [`push_tight`] does.
pub(crate) fn grow_tight<T: Clone>(list: &mut Vec<T>, len: usize, item: T) {
    if list.capacity() < len {
        list.reserve_exact((len - list.len()).max(list.len() / 8));
    }
    if list.len() < len {
        list.resize(len, item);
    }
}

/// Whether a value is the stale mark. An ordinary NaN is not.
#[inline]
#[must_use]
pub fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stale_mark_is_not_an_ordinary_nan() {
        assert!(is_stale(STALE));
        assert!(STALE.is_nan());
        assert!(!is_stale(f64::NAN));
        assert!(!is_stale(0.0));
    }
}
