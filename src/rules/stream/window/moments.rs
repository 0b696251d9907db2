//! `sum`, `avg`, `stddev` and `stdvar` over time.

use super::Function;
use crate::promql::functions::statistics::Moments;
use crate::rules::stream::ring::Ring;
use crate::rules::stream::spread::Spread;
use crate::rules::stream::sum::Sum;

/// `sum` or `avg`, by the sum of the points inside.
#[inline]
pub(super) fn sum(sum: &Sum, function: Function, ring: &Ring) -> f64 {
    let count = ring.len() as f64;
    match function {
        Function::Sum if sum.is_sound() => sum.value(),
        Function::Sum => ring.iter().map(|point| point.value).sum(),
        _ if sum.is_sound() => sum.value() / count,
        // Sums too large for a double still have a mean.
        _ => ring.iter().map(|point| point.value / count).sum(),
    }
}

/// `stddev` or `stdvar`.
#[inline]
pub(super) fn deviation(spread: &Spread, function: Function, ring: &Ring) -> f64 {
    let anew = || ring.iter().map(|point| point.value).collect::<Moments>().variance();
    let variance = spread.variance().unwrap_or_else(anew);
    if function == Function::Stddev { variance.sqrt() } else { variance }
}
