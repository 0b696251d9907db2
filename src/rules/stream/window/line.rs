//! `deriv` and `predict_linear`: a line through the points, by least squares.

use super::{Function, Reading, Span};
use crate::rules::stream::ring::{Point, Ring};
use crate::rules::stream::sum::Sum;

/// The sums of a linear regression. Times count in whole nanoseconds from `origin`: their own sums
/// are exact, and a double holds each exactly for [`ORIGIN_AGE_MAX`].
#[derive(Debug, Default)]
pub(super) struct Line {
    origin: Option<i64>,
    x: i128,
    xx: i128,
    y: Sum,
    xy: Sum,
    /// How many neighbours differ: a line that does not move is exactly flat.
    steps: u32,
    stretched: bool,
}

/// Up to here a number of nanoseconds is exact in a double, and the squares of a hundred million
/// fit into their sum: 13 days. Then the sums are made anew from a later origin.
const ORIGIN_AGE_MAX: i64 = 1 << 50;

impl Line {
    #[inline]
    pub(super) fn enter(&mut self, last: Option<Point>, point: Point) {
        let at = point.time.as_nanos();
        let age = at - *self.origin.get_or_insert(at);
        self.stretched |= age > ORIGIN_AGE_MAX;
        self.steps += u32::from(last.is_some_and(|last| last.value != point.value));
        self.x += i128::from(age);
        self.xx += i128::from(age) * i128::from(age);
        self.y.add(point.value);
        if point.value.is_finite() {
            self.xy.add_product(point.value, age as f64);
        }
    }

    #[inline]
    pub(super) fn leave(&mut self, point: Point, next: Option<Point>) {
        let age = point.time.as_nanos() - self.origin.unwrap_or_default();
        self.steps -= u32::from(next.is_some_and(|next| next.value != point.value));
        self.x -= i128::from(age);
        self.xx -= i128::from(age) * i128::from(age);
        self.y.remove(point.value);
        if point.value.is_finite() {
            self.xy.add_product(-point.value, age as f64);
        }
    }

    /// Whether no time has become too far from the origin, and nothing has overflowed.
    pub(super) fn is_sound(&self) -> bool {
        !self.stretched
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
        if self.y.has_non_finite() {
            return (f64::NAN, f64::NAN, true);
        }
        // About the mean time, in whole nanoseconds, and the sum of what lies off it: so near that
        // the sums about it are small, and found without dividing numbers of sixteen bytes.
        let (exact_count, count) = (count as i128, count as f64);
        let mean_x = i128::from((self.x as f64 / count) as i64);
        let rest = (self.x - exact_count * mean_x) as f64;
        let squares = (self.xx - mean_x * (2 * self.x - exact_count * mean_x)) as f64;
        let mean_y = self.y.value() / count;
        let covariance = self.xy.minus_product(mean_x as f64, &self.y).value() - mean_y * rest;
        let slope = covariance / (squares - rest * rest / count);
        let age = i128::from(at - self.origin.unwrap_or_default());
        let distance = (age - mean_x) as f64 - rest / count;
        (slope * 1e9, mean_y + slope * distance, false)
    }
}
