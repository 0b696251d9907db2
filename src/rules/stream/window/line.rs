//! `deriv` and `predict_linear`: a line through the points, by least squares.

use super::{Function, Reading, Span};
use crate::rules::stream::ring::{Point, Ring};
use crate::rules::stream::sum::Sum;

/// The sums of a linear regression. Times count in nanoseconds from `origin`, which a double holds
/// exactly for [`ORIGIN_AGE_MAX`].
#[derive(Debug, Default)]
pub(super) struct Line {
    origin: Option<i64>,
    x: Sum,
    y: Sum,
    xy: Sum,
    xx: Sum,
    /// How many neighbours differ: a line that does not move is exactly flat.
    steps: u32,
    stretched: bool,
}

/// Up to here a number of nanoseconds is exact in a double, with room for sums of products: 13
/// days. Then the sums are made anew from a later origin.
const ORIGIN_AGE_MAX: i64 = 1 << 50;

impl Line {
    #[inline]
    pub(super) fn enter(&mut self, last: Option<Point>, point: Point) {
        let at = point.time.as_nanos();
        let age = at - *self.origin.get_or_insert(at);
        self.stretched |= age > ORIGIN_AGE_MAX;
        self.steps += u32::from(last.is_some_and(|last| last.value != point.value));
        self.count(age as f64, point.value, 1.0);
    }

    #[inline]
    pub(super) fn leave(&mut self, point: Point, next: Option<Point>) {
        let age = point.time.as_nanos() - self.origin.unwrap_or_default();
        self.steps -= u32::from(next.is_some_and(|next| next.value != point.value));
        self.count(age as f64, point.value, -1.0);
    }

    #[inline]
    fn count(&mut self, x: f64, y: f64, sign: f64) {
        self.x.add(sign * x);
        self.xx.add_product(sign * x, x);
        if y.is_finite() {
            self.y.add(sign * y);
            self.xy.add_product(sign * y, x);
        } else if sign > 0.0 {
            self.y.add(y);
        } else {
            self.y.remove(y);
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
        let (slope, level, flat) = self.line(first.value, ring.len() as f64, span.at.as_nanos());
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
    fn line(&self, first: f64, count: f64, at: i64) -> (f64, f64, bool) {
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
        let (mean_x, mean_y) = (self.x.value() / count, self.y.value() / count);
        // What the mean was rounded by counts: times are long, and windows short.
        let mut rest = self.x;
        rest.add_product(-count, mean_x);
        let covariance = self.xy.minus_product(mean_x, &self.y).value() - mean_y * rest.value();
        let variance = self.xx.minus_product(mean_x, &self.x).minus_product(mean_x, &rest).value();
        let slope = covariance / variance;
        let distance =
            (at - self.origin.unwrap_or_default()) as f64 - mean_x - rest.value() / count;
        (slope * 1e9, mean_y + slope * distance, false)
    }
}
