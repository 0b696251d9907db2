//! `sum`, `avg`, `stddev` and `stdvar` over time.

use super::Function;
use crate::rules::stream::ring::Ring;
use crate::rules::stream::sum::Sum;

/// Sums of the values and of their squares.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments {
    sum: Sum,
    squares: Sum,
}

impl Moments {
    #[inline]
    pub(super) fn enter(&mut self, value: f64, with_squares: bool) {
        self.sum.add(value);
        if with_squares && value.is_finite() {
            self.squares.add_product(value, value);
        }
    }

    #[inline]
    pub(super) fn leave(&mut self, value: f64, with_squares: bool) {
        self.sum.remove(value);
        if with_squares && value.is_finite() {
            self.squares.add_product(-value, value);
        }
    }

    pub(super) fn read(&self, function: Function, ring: &Ring) -> f64 {
        let count = ring.len() as f64;
        let sum = self.sum.value();
        match function {
            Function::Sum if self.sum.is_sound() => sum,
            Function::Sum => ring.iter().map(|point| point.value).sum(),
            Function::Avg if self.sum.is_sound() => sum / count,
            // Sums too large for a double still have a mean.
            Function::Avg => ring.iter().map(|point| point.value / count).sum(),
            _ if self.sum.has_non_finite() => f64::NAN,
            Function::Stddev => self.variance(count).sqrt(),
            _ => self.variance(count),
        }
    }

    fn variance(&self, count: f64) -> f64 {
        variance(&self.sum, &self.squares, count)
    }
}

/// The variance of what went into a sum and a sum of squares.
pub(in crate::rules::stream) fn variance(sum: &Sum, squares: &Sum, count: f64) -> f64 {
    let mean = sum.value() / count;
    // The sum of (x - mean)²: squares - 2 mean sum + count mean².
    let mut rest = squares.minus_product(2.0 * mean, sum);
    rest.add_square(mean, count);
    (rest.value() / count).max(0.0)
}
