//! What the replies of one poll amount to.

use std::time::Duration;

/// Round-trip times of one poll, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Statistics {
    pub(super) mean: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    /// The mean absolute difference of consecutive round-trip times; there are at least two.
    pub(super) jitter: Option<f64>,
}

impl Statistics {
    /// Of the round-trip times there are, in the order the packets were sent; nothing where all
    /// are lost.
    pub(super) fn of(round_trips: impl Iterator<Item = Duration>) -> Option<Self> {
        let mut seconds = round_trips.map(|trip| trip.as_secs_f64());
        let first = seconds.next()?;
        let (mut sum, mut min, mut max) = (first, first, first);
        let (mut count, mut previous, mut differences) = (1.0, first, 0.0);
        for value in seconds {
            sum += value;
            min = value.min(min);
            max = value.max(max);
            differences += (value - previous).abs();
            previous = value;
            count += 1.0;
        }
        let jitter = (count > 1.0).then(|| differences / (count - 1.0));
        // Rounding must not put the mean outside of what was measured.
        Some(Self { mean: (sum / count).clamp(min, max), min, max, jitter })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(millis: &[Option<u64>]) -> Option<Statistics> {
        Statistics::of(millis.iter().flatten().copied().map(Duration::from_millis))
    }

    #[test]
    fn lost_packets_have_no_round_trip_time() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[None, None]), None);
        let one = Statistics { mean: 0.5, min: 0.5, max: 0.5, jitter: None };
        assert_eq!(of(&[None, Some(500), None]), Some(one));
    }

    #[test]
    fn jitter_is_between_the_replies_there_are() {
        let two = Statistics { mean: 0.5, min: 0.25, max: 0.75, jitter: Some(0.5) };
        assert_eq!(of(&[Some(250), None, Some(750)]), Some(two));
        let three = Statistics { mean: 0.5, min: 0.25, max: 0.75, jitter: Some(0.375) };
        assert_eq!(of(&[Some(750), Some(250), Some(500)]), Some(three));
    }

    proptest! {
        #[test]
        fn the_mean_lies_between_least_and_most(
            trips in prop::collection::vec(prop::option::of(0u64..10_000_000_000), 0..100)
        ) {
            let there = trips.iter().flatten().copied().map(Duration::from_nanos);
            if let Some(s) = Statistics::of(there) {
                prop_assert!(s.min <= s.mean && s.mean <= s.max);
                prop_assert!(s.jitter.is_none_or(|jitter| (0.0..=s.max - s.min + 1e-9).contains(&jitter)));
            } else {
                prop_assert!(trips.iter().all(Option::is_none));
            }
        }
    }
}
