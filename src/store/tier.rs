//! Downsampling: what is kept of five minutes and of an hour, and how it is read again.
//!
//! A row stands for the time from its own to the next. Of a counter, by its name `…_total`, the
//! last value is kept in the place of the mean: the mean of a counter that was reset is nothing.
//!
//! A window that begins and ends where rows do has the minimum, maximum, sum, mean and count its
//! samples had; a sample at the very moment between two rows is in the later one. Of other windows,
//! a row of five minutes counts whole where its end is, and one of an hour by its five minutes: its
//! bounds and its mean hold for each, and each has a twelfth of its samples.

use super::Points;
use super::block::ABSENT;
use super::segment::Tier;
use crate::promql::source::Summary;
use crate::sample::is_stale;

/// The column of the mean, or the last of a counter.
pub(super) const MEAN: usize = 2;

/// The column of how many there were.
pub(super) const COUNT: usize = 3;

/// The column that has a summary; what is a sum, the means have to be multiplied for.
pub(super) fn column(summary: Summary) -> usize {
    match summary {
        Summary::Min => 0,
        Summary::Max => 1,
        Summary::Mean | Summary::Sum => MEAN,
        Summary::Count => COUNT,
    }
}

/// Whether a series is a counter, by the last part of its name.
pub(super) fn is_counter(field: &str) -> bool {
    field == "total" || field.ends_with("_total")
}

/// Sums up the points of each step from `from` on, `steps` of them; `put` gets the number of the
/// step and its columns. Steps without a value are left out.
pub(super) fn aggregate(
    points: &[(i64, f64)],
    (from, step, steps): (i64, i64, usize),
    is_counter: bool,
    mut put: impl FnMut(usize, [f64; 4]),
) {
    let mut rest = &points[points.partition_point(|(time, _)| *time < from)..];
    for number in 0..steps {
        let end = from + step * (number as i64 + 1);
        let (now, later) = rest.split_at(rest.partition_point(|(time, _)| *time < end));
        rest = later;
        let values = || now.iter().map(|(_, value)| *value).filter(|value| !is_stale(*value));
        let count = values().count();
        if let Some(last) = values().next_back() {
            // A NaN among them is passed over, unless there is nothing else.
            let min = values().fold(f64::NAN, f64::min);
            let max = values().fold(f64::NAN, f64::max);
            let mean = if is_counter { last } else { mean(values(), count) };
            put(number, [min, max, mean, count as f64]);
        }
    }
}

/// The mean, moved along so that large values do not overflow, and within their bounds.
fn mean(values: impl Iterator<Item = f64> + Clone, count: usize) -> f64 {
    let sum: f64 = values.clone().sum();
    if sum.is_finite() {
        return sum / count as f64;
    }
    values.map(|value| value / count as f64).sum()
}

/// The longest a sample counts for a query: rows further apart are dealt out at this distance.
const DEAL_MILLIS: i64 = 300_000;

/// What becomes of a row's value in a part of its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Deal {
    /// It is so in every part.
    Holds,
    /// It comes there evenly from the row before.
    Grows,
    /// Each part has its share.
    Shares,
}

impl Deal {
    pub(super) fn of(summary: Summary, is_counter: bool) -> Self {
        match summary {
            Summary::Sum | Summary::Count => Self::Shares,
            Summary::Min | Summary::Max | Summary::Mean if is_counter => Self::Grows,
            Summary::Min | Summary::Max | Summary::Mean => Self::Holds,
        }
    }
}

/// Makes points of the rows of a tier. Those of an hour are dealt out at five minutes, so that a
/// query that looks back five minutes finds one.
pub(super) fn deal(
    rows: &Points,
    tier: Tier,
    deal: Deal,
    (from, to): (i64, i64),
    out: &mut Points,
) {
    let step = tier.step_millis();
    let parts = (step / DEAL_MILLIS).max(1);
    for (at, (time, value)) in rows.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| rows[before]);
        let grown = before
            .filter(|(earlier, lower)| earlier + step == *time && lower <= value)
            .filter(|_| deal == Deal::Grows);
        let value = if deal == Deal::Shares { value / parts as f64 } else { *value };
        for part in 1..=parts {
            // The last moment of its time, since what is summed up is known only then.
            let time = time + step * part / parts - 1;
            if time < from || time > to {
                continue;
            }
            let share = part as f64 / parts as f64;
            let value = grown.map_or(value, |(_, lower)| lower + (value - lower) * share);
            out.push((time, value));
        }
    }
}

/// A row without anything, to be filled.
pub(super) const EMPTY: [f64; 4] = [ABSENT; 4];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::STALE;

    fn sums(points: &[(i64, f64)], is_counter: bool) -> Vec<(usize, [f64; 4])> {
        let mut out = Vec::new();
        aggregate(points, (0, 100, 4), is_counter, |at, row| out.push((at, row)));
        out
    }

    #[test]
    fn each_step_has_its_bounds_its_mean_and_its_count() {
        let points =
            [(-1, 9.0), (0, 1.0), (50, 3.0), (99, STALE), (100, 5.0), (350, STALE), (400, 1.0)];
        assert_eq!(sums(&points, false), [(0, [1.0, 3.0, 2.0, 2.0]), (1, [5.0, 5.0, 5.0, 1.0])]);
        assert_eq!(sums(&points, true)[0], (0, [1.0, 3.0, 3.0, 2.0]));
    }

    #[test]
    fn large_values_have_a_mean_and_nan_is_passed_over() {
        let sums = sums(&[(0, f64::MAX), (1, f64::MAX), (100, f64::NAN), (101, 2.0)], false);
        assert_eq!(sums[0].1[2], f64::MAX);
        assert_eq!(sums[1].1[..2], [2.0, 2.0]);
    }

    #[test]
    fn an_hour_is_dealt_out_at_five_minutes() {
        let rows = vec![(0, 12.0), (3_600_000, 24.0)];
        let mut gauge = Points::new();
        deal(&rows, Tier::Hour, Deal::Holds, (0, i64::MAX), &mut gauge);
        assert_eq!(gauge.len(), 24);
        assert_eq!(gauge[0], (299_999, 12.0));
        assert_eq!(gauge[23], (7_199_999, 24.0));
        assert!(gauge.windows(2).all(|pair| pair[1].0 - pair[0].0 == 300_000));
        let mut counter = Points::new();
        deal(&rows, Tier::Hour, Deal::Grows, (3_600_000, i64::MAX), &mut counter);
        assert_eq!((counter[0].1, counter[11].1), (13.0, 24.0));
        let mut counts = Points::new();
        deal(&rows, Tier::Hour, Deal::Shares, (0, i64::MAX), &mut counts);
        assert_eq!((counts[0].1, counts[12].1), (1.0, 2.0));
    }
}
