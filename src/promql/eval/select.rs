//! Reads selectors: the newest value at each step, or a window of samples.

use super::grid::{Grid, Key, Steps};
use super::{EvalError, Evaluator, nanos};
use crate::promql::expr::{Expr, ExprKind, RangeSelector, Subquery};
use crate::promql::functions::Point;
use crate::promql::selector::{At, Selector};
use crate::promql::source::{SeriesSet, Summary, Window};
use crate::sample::{Timestamp, is_stale};

/// The samples of series, and the window of them each step looks at.
#[derive(Debug)]
pub(super) struct Windows {
    /// Whose samples.
    pub(super) keys: Vec<Key>,
    /// All of them, without stale marks, series after series.
    points: Vec<Point>,
    /// Where the samples of each series end.
    ends: Vec<usize>,
    pub(super) moved: Moved,
    /// How long a window is, in nanoseconds.
    pub(super) range: i64,
}

/// The steps as a selector sees them: moved by its `offset`, or held by its `@`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moved {
    steps: Steps,
    held_at: Option<Timestamp>,
    offset: i64,
}

impl Moved {
    /// The time a step looks at.
    pub(super) fn time(self, step: usize) -> Timestamp {
        let time = self.held_at.unwrap_or_else(|| self.steps.time(step));
        time.shifted(self.offset.saturating_neg())
    }

    fn first(self) -> Timestamp {
        self.time(0)
    }

    /// All that the steps look at, each so far back.
    fn window(self, back: i64, summary: Summary) -> Window {
        Window { after: self.first().shifted(back.saturating_neg()), until: self.last(), summary }
    }

    fn last(self) -> Timestamp {
        self.time(self.steps.count.saturating_sub(1))
    }
}

impl Evaluator<'_> {
    /// The newest sample of each series at each step, if it is not too old and not the stale mark.
    pub(super) fn newest(
        &mut self,
        selector: &Selector,
        steps: Steps,
        shown: impl Fn(Point) -> f64,
    ) -> Result<Grid, EvalError> {
        let moved = self.moved(steps, selector.at, selector.offset);
        let lookback = nanos(self.options.lookback);
        let found = self.select(selector, moved, lookback, Summary::default())?;
        let mut grid = self.grid(found.len(), steps)?;
        for (labels, points) in found.iter() {
            let mut next = 0;
            let key = Key { labels: labels.clone(), drops_name: false };
            grid.push(key, |step| {
                let time = moved.time(step);
                next += points[next..].iter().take_while(|point| point.time <= time).count();
                let newest = points[..next].last()?;
                let fresh = newest.time > time.shifted(lookback.saturating_neg());
                (fresh && !is_stale(newest.value)).then(|| shown(*newest))
            });
        }
        Ok(grid)
    }

    /// The windows of an expression of the type range vector, and what is to be made of them.
    pub(super) fn windows(
        &mut self,
        expr: &Expr,
        steps: Steps,
        summary: Summary,
    ) -> Result<Windows, EvalError> {
        match &expr.kind {
            ExprKind::Range(range) => self.range_windows(range, steps, summary),
            ExprKind::Subquery(subquery) => self.subquery_windows(subquery, steps),
            _ => unreachable!("expressions are checked: this is a range vector"),
        }
    }

    fn range_windows(
        &mut self,
        selector: &RangeSelector,
        steps: Steps,
        summary: Summary,
    ) -> Result<Windows, EvalError> {
        let RangeSelector { selector, range } = selector;
        let moved = self.moved(steps, selector.at, selector.offset);
        let found = self.select(selector, moved, *range, summary)?;
        let (labels, ends, points) = found.into_values();
        let keys = labels.into_iter().map(|labels| Key { labels, drops_name: false }).collect();
        Ok(Windows { keys, points, ends, moved, range: *range })
    }

    /// Evaluates at multiples of the subquery's step, whatever the query's steps are, so that the
    /// same times are looked at by each of them.
    fn subquery_windows(
        &mut self,
        subquery: &Subquery,
        steps: Steps,
    ) -> Result<Windows, EvalError> {
        let moved = self.moved(steps, subquery.at, subquery.offset);
        let step = subquery.step.unwrap_or_else(|| nanos(self.options.subquery_step)).max(1);
        let before = moved.first().as_nanos().saturating_sub(subquery.range);
        let start = Timestamp::from_nanos((before.div_euclid(step) + 1).saturating_mul(step));
        let step = std::time::Duration::from_nanos(step.unsigned_abs());
        let max = self.options.limits.values_max;
        let inner = Steps::between(start, moved.last(), step)
            .filter(|inner| inner.count <= max)
            .ok_or(EvalError::TooManyValues(max))?;
        let grid = if inner.count == 0 || steps.count == 0 {
            Grid::with_capacity(0, 0)
        } else {
            self.vector(&subquery.expr, inner)?
        };
        let mut windows = Windows::empty(moved, subquery.range, grid.rows());
        for (key, values) in grid.iter() {
            let points = inner.times().zip(values).filter(|(_, value)| !is_stale(**value));
            windows.push(key.clone(), points.map(|(time, value)| Point { time, value: *value }));
        }
        Ok(windows)
    }

    fn select(
        &self,
        selector: &Selector,
        moved: Moved,
        back: i64,
        summary: Summary,
    ) -> Result<SeriesSet, EvalError> {
        let mut found = SeriesSet::new(self.options.limits.samples_max);
        if moved.steps.count > 0 {
            self.source.select(selector, moved.window(back, summary), &mut found)?;
        }
        (self.check)()?;
        Ok(found)
    }

    /// Whether windows of these samples are of [summaries](Summary) in part.
    pub(super) fn is_summed_up(&self, expr: &Expr, steps: Steps) -> bool {
        let ExprKind::Range(RangeSelector { selector, range }) = &expr.kind else { return false };
        let moved = self.moved(steps, selector.at, selector.offset);
        steps.count > 0 && self.source.is_summed_up(moved.window(*range, Summary::default()))
    }

    fn moved(&self, steps: Steps, at: Option<At>, offset: i64) -> Moved {
        let held_at = at.map(|at| match at {
            At::Start => self.query.start,
            At::End => self.query.end(),
            At::Time(time) => time,
        });
        Moved { steps, held_at, offset }
    }
}

impl Windows {
    fn empty(moved: Moved, range: i64, series: usize) -> Self {
        Self {
            keys: Vec::with_capacity(series),
            points: Vec::new(),
            ends: Vec::with_capacity(series),
            moved,
            range,
        }
    }

    fn push(&mut self, key: Key, points: impl Iterator<Item = Point>) {
        self.keys.push(key);
        self.points.extend(points);
        self.ends.push(self.points.len());
    }

    /// All samples of a series.
    pub(super) fn points(&self, row: usize) -> &[Point] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.points[start..self.ends[row]]
    }

    /// The bounds of the window of a step.
    pub(super) fn bounds(&self, step: usize) -> (Timestamp, Timestamp) {
        let end = self.moved.time(step);
        (end.shifted(self.range.saturating_neg()), end)
    }
}

/// Where the window of a step lies in the samples of one series. Steps must be asked for in their
/// order: the window only slides forward.
#[derive(Debug, Default)]
pub(super) struct Slide {
    from: usize,
    to: usize,
}

impl Slide {
    /// The samples after `start`, up to and including `end`.
    #[inline]
    pub(super) fn window<'p>(
        &mut self,
        points: &'p [Point],
        (start, end): (Timestamp, Timestamp),
    ) -> &'p [Point] {
        while points.get(self.to).is_some_and(|point| point.time <= end) {
            self.to += 1;
        }
        while self.from < self.to && points[self.from].time <= start {
            self.from += 1;
        }
        &points[self.from..self.to]
    }
}
