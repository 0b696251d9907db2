//! Where series come from: the head in memory, sealed segments, a test.

use super::eval::EvalError;
use super::functions::Point;
use super::labels::Labels;
use super::selector::Selector;
use crate::sample::{Timestamp, is_stale};

/// A time that excludes its start and includes its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Everything is later than this.
    pub after: Timestamp,
    /// Nothing is later than this.
    pub until: Timestamp,
    /// What is made of the samples, for sources that do not have all of them any more.
    pub summary: Summary,
}

/// What a source gives for a time of which it has no samples but sums of minutes or hours: a point
/// for each of them. Where it has samples it gives those, and 1 for each where they are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Summary {
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// Their mean; of a counter, the last.
    #[default]
    Mean,
    /// Their sum; of a counter, as if all had been the last.
    Sum,
    /// How many there were.
    Count,
}

/// Anything that has series.
pub trait Source {
    /// Adds to `found` every series the selector means that has samples in a window, with those
    /// samples in the order of time, stale marks included. A series is added once. The selector's
    /// `offset` and `@` are in the window already.
    ///
    /// # Errors
    /// What [`SeriesSet::push`] says, or that reading failed.
    fn select(
        &self,
        selector: &Selector,
        window: Window,
        found: &mut SeriesSet,
    ) -> Result<(), EvalError>;

    /// Whether it has no more than [summaries](Summary) of a part of a window.
    fn is_summed_up(&self, _: Window) -> bool {
        false
    }
}

/// Series and their samples, all in two pieces of memory.
#[derive(Debug, Default)]
pub struct SeriesSet {
    labels: Vec<Labels>,
    /// Where the samples of each series begin.
    begins: Vec<usize>,
    points: Vec<Point>,
    points_max: usize,
}

impl SeriesSet {
    /// A set that takes no more than a number of samples.
    #[must_use]
    pub fn new(points_max: usize) -> Self {
        Self { points_max, ..Self::default() }
    }

    /// How many samples more it takes: a source need not read more.
    #[must_use]
    pub fn room(&self) -> usize {
        self.points_max - self.points.len().min(self.points_max)
    }

    /// What [`SeriesSet::push`] says when there is no room.
    #[must_use]
    pub fn too_many(&self) -> EvalError {
        EvalError::TooManySamples(self.points_max)
    }

    /// Begins a series; samples that are pushed from here on are its own. One that gets none is
    /// as if it had not been begun.
    pub fn begin(&mut self, labels: Labels) {
        self.drop_empty_last();
        self.labels.push(labels);
        self.begins.push(self.points.len());
    }

    /// Adds samples to the series begun last: later than those it has, in the order of time.
    ///
    /// # Errors
    /// [`EvalError::TooManySamples`]
    pub fn extend(&mut self, points: impl Iterator<Item = Point>) -> Result<(), EvalError> {
        self.points.extend(points.take(self.points_max + 1 - self.points.len()));
        self.check()
    }

    /// Adds one sample to the series begun last.
    ///
    /// # Errors
    /// [`EvalError::TooManySamples`]
    pub fn push(&mut self, point: Point) -> Result<(), EvalError> {
        self.points.push(point);
        self.check()
    }

    /// How many series there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len() - usize::from(self.begins.last() == Some(&self.points.len()))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The series and their samples.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Labels, &[Point])> {
        (0..self.len()).map(|at| {
            let end = self.begins.get(at + 1).copied().unwrap_or(self.points.len());
            (&self.labels[at], &self.points[self.begins[at]..end])
        })
    }

    /// The series, where the samples of each end, and all samples, without stale marks.
    pub(super) fn into_values(mut self) -> (Vec<Labels>, Vec<usize>, Vec<Point>) {
        self.drop_empty_last();
        let Self { labels, begins, mut points, .. } = self;
        let mut ends: Vec<usize> = begins.into_iter().skip(1).collect();
        ends.resize(labels.len(), points.len());
        if points.iter().any(|point| is_stale(point.value)) {
            let (mut kept, mut at) = (0, 0);
            for end in &mut ends {
                while at < *end {
                    points[kept] = points[at];
                    kept += usize::from(!is_stale(points[at].value));
                    at += 1;
                }
                *end = kept;
            }
            points.truncate(kept);
        }
        (labels, ends, points)
    }

    fn check(&self) -> Result<(), EvalError> {
        if self.points.len() > self.points_max {
            return Err(self.too_many());
        }
        Ok(())
    }

    fn drop_empty_last(&mut self) {
        if self.begins.last() == Some(&self.points.len()) {
            self.begins.pop();
            self.labels.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::STALE;

    fn point(seconds: i64) -> Point {
        Point { time: Timestamp::from_secs(seconds), value: 1.0 }
    }

    #[test]
    fn a_series_without_samples_is_none() {
        let mut set = SeriesSet::new(3);
        for (name, points) in [("a", 0), ("b", 2), ("c", 0), ("d", 1), ("e", 0)] {
            set.begin(Labels::new([("x", name)]));
            set.extend((0..points).map(point)).unwrap();
        }
        let found: Vec<_> = set.iter().map(|(l, p)| (l.get("x").unwrap(), p.len())).collect();
        assert_eq!(found, [("b", 2), ("d", 1)]);
        assert_eq!(set.push(point(9)), Err(EvalError::TooManySamples(3)));
    }

    #[test]
    fn values_come_without_stale_marks() {
        let mut set = SeriesSet::new(10);
        for values in [&[1.0, STALE, 2.0][..], &[STALE], &[3.0], &[]] {
            set.begin(Labels::new([("x", "y")]));
            let at = |value: &f64| Point { time: Timestamp::from_secs(1), value: *value };
            set.extend(values.iter().map(at)).unwrap();
        }
        let (labels, ends, points) = set.into_values();
        assert_eq!((labels.len(), ends), (3, vec![2, 2, 3]));
        assert_eq!(points.iter().map(|point| point.value).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
    }
}
