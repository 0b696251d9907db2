//! `sum`, `avg`, `stddev` and `stdvar` over time.

use super::Function;
use crate::rules::stream::ring::Ring;
use crate::rules::stream::sum::Sum;

/// `sum` or `avg`, by the sum of the points inside.
#[inline]
pub(super) fn read(sum: &Sum, function: Function, ring: &Ring) -> f64 {
    let count = ring.len() as f64;
    match function {
        Function::Sum if sum.is_sound() => sum.value(),
        Function::Sum => ring.iter().map(|point| point.value).sum(),
        _ if sum.is_sound() => sum.value() / count,
        // Sums too large for a double still have a mean.
        _ => ring.iter().map(|point| point.value / count).sum(),
    }
}

/// Sums of the values and of their squares.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moments {
    sum: Sum,
    squares: Sum,
}

impl Moments {
    #[inline]
    pub(super) fn enter(&mut self, value: f64) {
        self.sum.add(value);
        if value.is_finite() {
            self.squares.add_product(value, value);
        }
    }

    #[inline]
    pub(super) fn leave(&mut self, value: f64) {
        self.sum.remove(value);
        if value.is_finite() {
            self.squares.add_product(-value, value);
        }
    }

    #[inline]
    pub(super) fn read(&self, function: Function, ring: &Ring) -> f64 {
        if self.sum.has_non_finite() {
            return f64::NAN;
        }
        let variance = variance(&self.sum, &self.squares, ring.len() as f64);
        if function == Function::Stddev { variance.sqrt() } else { variance }
    }
}

/// The variance of what went into a sum and a sum of squares.
#[inline]
pub(in crate::rules::stream) fn variance(sum: &Sum, squares: &Sum, count: f64) -> f64 {
    let mean = sum.value() / count;
    // What the mean was rounded by counts where values are large and lie close together.
    let mut rest = *sum;
    rest.add_product(-count, mean);
    // The sum of (x - mean)²: squares - mean sum - mean (sum - count mean).
    let mut all = squares.minus_product(mean, sum);
    all.add_product(-mean, rest.value());
    (all.value() / count).max(0.0)
}
