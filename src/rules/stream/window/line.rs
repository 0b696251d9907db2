//! `deriv` and `predict_linear`: a line through the points, by least squares.

use super::{Function, Reading, Span};
use crate::rules::stream::ring::{Point, Ring};
use crate::rules::stream::sum::Exact;

/// The sums of a linear regression. Times count in whole nanoseconds from `origin`: their own sums
/// are exact, and a double holds each exactly for [`ORIGIN_AGE_MAX`].
#[derive(Debug, Default)]
pub(super) struct Line {
    origin: i64,
    /// How many neighbours differ: a line that does not move is exactly flat.
    steps: u32,
    /// How many values are not finite; they are in no sum.
    others: u32,
    x: i128,
    xx: i128,
    y: Exact,
    xy: Exact,
}

/// Up to here a number of nanoseconds is exact in a double, and the squares of a hundred million
/// fit into their sum: 13 days. Then the sums are made anew from a later origin.
const ORIGIN_AGE_MAX: i64 = 1 << 50;

impl Line {
    #[inline]
    pub(super) fn enter(&mut self, last: Option<Point>, point: Point) {
        let at = point.time.as_nanos();
        match last {
            Some(last) => self.steps += u32::from(last.value != point.value),
            None => *self = Self { origin: at, ..Self::default() },
        }
        let age = at - self.origin;
        self.x += i128::from(age);
        self.xx += i128::from(age) * i128::from(age);
        if point.value.is_finite() {
            self.y.add(point.value, 0.0);
            self.xy.add_product(point.value, age as f64);
        } else {
            self.others += 1;
        }
    }

    #[inline]
    pub(super) fn leave(&mut self, point: Point, next: Option<Point>) {
        let age = point.time.as_nanos() - self.origin;
        self.steps -= u32::from(next.is_some_and(|next| next.value != point.value));
        self.x -= i128::from(age);
        self.xx -= i128::from(age) * i128::from(age);
        if point.value.is_finite() {
            self.y.add(-point.value, 0.0);
            self.xy.add_product(-point.value, age as f64);
        } else {
            self.others -= 1;
        }
    }

    /// Whether no time has become too far from the origin, and nothing has overflowed.
    #[inline]
    pub(super) fn is_sound(&self, ring: &Ring) -> bool {
        ring.last().is_none_or(|last| last.time.as_nanos() - self.origin <= ORIGIN_AGE_MAX)
    }

    pub(super) fn read(&self, function: Function, ring: &Ring, span: &Span) -> Reading {
        let (Some(first), 2..) = (ring.first(), ring.len()) else {
            return Reading { value: None, ..Reading::until_first_leaves(0.0, ring, span) };
        };
        let (slope, level, flat) = self.line(first.value, ring.len(), span.at.as_nanos());
        let value = match function {
            Function::PredictLinear(ahead) => slope * ahead.0 + level,
            _ => slope,
        };
        let mut reading = Reading::until_first_leaves(value, ring, span);
        reading.drifts = function != Function::Deriv && !flat && !value.is_nan();
        reading
    }

    /// The slope a second, the line's value at a time, and whether it is flat
    /// (promql/functions.go, linearRegression).
    fn line(&self, first: f64, count: usize, at: i64) -> (f64, f64, bool) {
        if self.steps == 0 {
            return if first.is_infinite() {
                (f64::NAN, f64::NAN, true)
            } else {
                (0.0, first, true)
            };
        }
        if self.others > 0 {
            return (f64::NAN, f64::NAN, true);
        }
        // About the mean time, in whole nanoseconds, and the sum of what lies off it: so near that
        // the sums about it are small, and found without dividing numbers of sixteen bytes. The
        // mean is off by its rounding alone, hence that sum is no more than there are points.
        let (exact_count, count) = (count as i128, count as f64);
        let mean_x = (self.x as f64 / count) as i64;
        let wide_mean = i128::from(mean_x);
        let rest = (self.x - exact_count * wide_mean) as i64 as f64;
        let squares = (self.xx - wide_mean * (2 * self.x - exact_count * wide_mean)) as f64;
        let mean_y = self.y.value() / count;
        let covariance = self.xy.minus_product(mean_x as f64, self.y).value() - mean_y * rest;
        let slope = covariance / (squares - rest * rest / count);
        let distance = (at - self.origin - mean_x) as f64 - rest / count;
        (slope * 1e9, mean_y + slope * distance, false)
    }
}
